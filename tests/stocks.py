"""Small stocks of records, one of each kind of source that has inputs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import Data
from pipeline.data import sources

SOURCES = ("digits", "cifar100", "slices", "generator")
N = 90  # records of a user's source, and of the files of CIFAR


def data(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Data:
    """Return the settings of a source, which is made ready to be read."""
    if kind == "digits":
        return Data(source="digits")
    rng = np.random.default_rng(4)
    if kind == "cifar100":
        for name, n in (("train.bin", N // 2), ("test.bin", N // 2)):
            rows = rng.integers(0, 256, (n, 2 + 3072), dtype=np.uint8)
            rows[:, :2] = (np.arange(n) % 10)[:, None]
            (folder / name).write_bytes(rows.tobytes())
        return Data(source="cifar100", path=str(folder))
    image = rng.normal(size=(N, 3, 8, 8)).astype(np.float32)
    number = rng.integers(0, 99, N).astype(np.int32)
    label = (np.arange(N) % 10).astype(np.int32)
    columns = {"image": image, "number": number, "label": label}

    def part(rows: slice) -> Any:
        from mindspore import dataset as ds

        own = {name: column[rows] for name, column in columns.items()}
        if kind == "slices":
            return ds.NumpySlicesDataset(own, shuffle=False).batch(20)
        records = list(zip(*own.values(), strict=True))
        made = ds.GeneratorDataset(lambda: iter(records), [*own], shuffle=False)
        # Python's own code, which the pipeline's threads call.
        return made.map(lambda image: image + 1, input_columns="image")

    pair = part(slice(0, N // 2)), part(slice(N // 2, N))
    monkeypatch.setattr(sources.modules, "call", lambda _: pair)
    return Data(source="own.py:datasets", inputs=("image", "number"))
