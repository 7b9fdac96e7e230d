"""The records: those that the model was trained on, and others like them."""

from pathlib import Path

import mindspore.dataset as ds
import numpy as np

RECORDS = Path(__file__).with_name("records.npz")


def datasets() -> tuple[ds.Dataset, ds.Dataset]:
    """Return members and non-members, each with the columns image and label.

    `image` is what the network takes, `label` a whole number. Both must come in the
    same order each time: no shuffling, no random augmentation.
    """
    # REPLACE: your own pipelines, with the steps that they had in training but for
    # augmentation.
    with np.load(RECORDS) as arrays:
        image, label, member = arrays["image"], arrays["label"], arrays["member"]

    def side(rows: np.ndarray) -> ds.Dataset:
        columns = {"image": image[rows], "label": label[rows]}
        return ds.NumpySlicesDataset(columns, shuffle=False)

    return side(member), side(~member)
