"""The images: those that the model was trained on, and others like them.

images/members/CLASS/*.png and images/nonmembers/CLASS/*.png; .jpg and .bmp do as well.
"""

from pathlib import Path

import mindspore.dataset as ds
from mindspore.dataset import vision

IMAGES = Path(__file__).with_name("images")
SIDES = ("members", "nonmembers")


def datasets() -> tuple[ds.Dataset, ds.Dataset]:
    """Return members and non-members, each with the columns image and label.

    They come in the same order each time: no shuffling, no random augmentation.
    """
    # Both sides have the same classes, numbered in the order of their names, as
    # ImageFolderDataset numbers those of a training folder.
    names = {folder.name for side in SIDES for folder in (IMAGES / side).iterdir()}
    classes = {name: number for number, name in enumerate(sorted(names))}

    def side(name: str) -> ds.Dataset:
        images = ds.ImageFolderDataset(
            str(IMAGES / name), shuffle=False, decode=True, class_indexing=classes
        )
        # REPLACE: the steps that images had in training, but for augmentation.
        steps = [vision.Resize((8, 8)), vision.Rescale(1 / 255, 0.0), vision.HWC2CHW()]
        return images.map(steps, input_columns="image")

    return side(SIDES[0]), side(SIDES[1])
