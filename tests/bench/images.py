"""Images: CIFAR-100's files with drawn images in place of photographs.

Each image is the picture of its class under a picture of its own, both of broad patches
of colour: a network learns some of the classes, and the rest of its members by heart.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

N_CLASSES = 100
# Images of each of the real files.
FILES = {"train.bin": 50_000, "test.bin": 10_000}
SHAPE = (3, 32, 32)
BLOCK = 5000  # images written at once
PATCHES = 8  # on each side of a picture
# Standard deviations, of 255.
OF_CLASS, OF_IMAGE, NOISE = 14.0, 36.0, 8.0


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
    classes = patches(rng, N_CLASSES, OF_CLASS)
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
                picture = classes[fine] + patches(rng, n, OF_IMAGE)
                image = np.clip(picture + noise, 0, 255).astype(np.uint8)
                labels = np.stack((fine // 5, fine), axis=1).astype(np.uint8)
                rows = np.concatenate((labels, image.reshape(n, -1)), axis=1)
                file.write(rows.tobytes())
            file.truncate(n_bytes)


def patches(rng: np.random.Generator, n: int, spread: float) -> NDArray[np.float32]:
    """Draw n pictures of square patches, each of one colour.

    Args:
        rng: of the draw.
        n: pictures.
        spread: standard deviation of a colour, of 255.

    Returns:
        (n, 3, 32, 32).
    """
    n_channels, side, _ = SHAPE
    drawn = rng.normal(0, spread, (n, n_channels, PATCHES, PATCHES))
    each = side // PATCHES
    return drawn.astype(np.float32).repeat(each, axis=2).repeat(each, axis=3)
