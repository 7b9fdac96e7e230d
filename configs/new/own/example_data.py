"""Write the example's records: digits, a quarter of them with a wrong label.

Only by heart can a model learn a wrong label, so there is something to find. Remove
this file when the records are your own.
"""

import numpy as np
from sklearn.datasets import load_digits

N_RECORDS = 600


def main() -> None:
    """Write 300 members and 300 others to records.npz."""
    digits = load_digits()
    rng = np.random.default_rng(1)
    chosen = rng.permutation(len(digits.target))[:N_RECORDS]
    label = digits.target[chosen]
    wrong = rng.random(N_RECORDS) < 0.25
    label[wrong] = (label[wrong] + rng.integers(1, 10, wrong.sum())) % 10
    np.savez_compressed(
        "records.npz",
        image=(digits.images[chosen] / 16).astype(np.float32),
        label=label.astype(np.int32),
        member=np.arange(N_RECORDS) < N_RECORDS // 2,
    )


if __name__ == "__main__":
    main()
