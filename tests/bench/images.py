"""Images: CIFAR-100's files with drawn images in place of photographs.

Each class has a picture of its own, under noise: enough for a network to learn some of
it, and the rest by heart.
"""

from pathlib import Path

import numpy as np

N_CLASSES = 100
# Images of each of the real files.
FILES = {"train.bin": 50_000, "test.bin": 10_000}
SHAPE = (3, 32, 32)
BLOCK = 5000  # images written at once
NOISE, PICTURE = 50.0, 14.0  # standard deviations, of 255


def write(folder: Path, drawn: int, *, whole: bool) -> None:
    """Write both files, unless they are there.

    Args:
        folder: of the files.
        drawn: images at the start of each file.
        whole: whether black images follow, as many as the real files have; only
            MindSpore's reader wants them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    pictures = rng.normal(0, PICTURE, (N_CLASSES, *SHAPE)).astype(np.float32)
    record = 2 + int(np.prod(SHAPE))
    for name, n_records in FILES.items():
        path = folder / name
        n_bytes = (n_records if whole else min(drawn, n_records)) * record
        if path.exists() and path.stat().st_size == n_bytes:
            continue
        with path.open("wb") as file:
            for first in range(0, min(drawn, n_records), BLOCK):
                n = min(BLOCK, drawn - first, n_records - first)
                fine = rng.integers(0, N_CLASSES, n)
                noise = rng.normal(128, NOISE, (n, *SHAPE)).astype(np.float32)
                image = np.clip(pictures[fine] + noise, 0, 255).astype(np.uint8)
                labels = np.stack((fine // 5, fine), axis=1).astype(np.uint8)
                rows = np.concatenate((labels, image.reshape(n, -1)), axis=1)
                file.write(rows.tobytes())
            file.truncate(n_bytes)
