"""Write the example's images: digits, a quarter of them in the folder of a wrong class.

Only by heart can a model learn a wrong label, so there is something to find. Remove
this file when the images are your own.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

N_RECORDS = 600


def main() -> None:
    """Write 300 members and 300 others below the folder images."""
    digits = load_digits()
    rng = np.random.default_rng(1)
    chosen = rng.permutation(len(digits.target))[:N_RECORDS]
    for place, record in enumerate(chosen):
        label = digits.target[record]
        if rng.random() < 0.25:
            label = (label + rng.integers(1, 10)) % 10
        side = "members" if place < N_RECORDS // 2 else "nonmembers"
        folder = Path("images", side, str(label))
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (digits.images[record] * 15).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{place:03d}.png")


if __name__ == "__main__":
    main()
