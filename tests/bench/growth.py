"""Growth: time and memory of attack and report as an audit grows."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.bench import configs, peaks
from tests.bench.sizes import Arrays
from tests.bench.workspace import Workspace, environment

STAGES = ("attack", "report")
KNOWN = 2.0  # logits by which a model knows a record that it learned
OWN = 1.0  # and one that it did not
BLOCK = 1 << 22  # numbers drawn at once


def measure(space: Workspace) -> dict[str, Any]:
    """Return the points of each curve."""
    curves = {name: of(space, steps) for name, steps in space.size.growth.items()}
    return {"growth": curves}


def large(space: Workspace) -> dict[str, Any]:
    """Return the points of the audits whose time and memory have targets."""
    return {"large": of(space, space.size.large)}


def of(space: Workspace, audits: Sequence[Arrays]) -> list[dict[str, Any]]:
    """Return seconds and bytes of attack and report for each audit.

    Arrays and artifacts of an audit are removed when it is done: they are large.
    """
    points = []
    for size in audits:
        audit = f"arrays-{size.records}-{size.classes}-{size.references}"
        path = space.folder / f"{audit}.h5"
        write(path, size)
        space.config(audit, configs.arrays(path))
        command = space.command(audit, "report")
        took = peaks.of(command, space.folder, environment())
        point: dict[str, Any] = asdict(size)
        for stage in STAGES:
            point[stage] = took[stage]._asdict()
        points.append(point)
        space.forget(audit)
        path.unlink()
    return points


def write(path: Path, size: Arrays, seed: int = 1) -> None:
    """Write logits that are drawn, block of records by block.

    The target is trained on a random half, references on complementary pairs of them.
    """
    rng = np.random.default_rng(seed)
    shape = size.references + 1, size.records
    member = np.empty(shape, dtype=bool)
    member[0] = rng.random(size.records) < 0.5
    member[1::2] = rng.random((size.references // 2, size.records)) < 0.5
    member[2::2] = ~member[1::2]
    label = rng.integers(0, size.classes, size.records)
    rows = max(min(BLOCK // (shape[0] * size.classes), size.records), 1)
    with h5py.File(path, "w") as file:
        logits = file.create_dataset(
            "logits", (*shape, size.classes), "f2", chunks=(1, rows, size.classes)
        )
        file["label"], file["member"] = label, member
        for first in range(0, size.records, rows):
            block = slice(first, min(first + rows, size.records))
            n_rows = block.stop - block.start
            drawn = rng.standard_normal((shape[0], n_rows, size.classes), np.float32)
            of_own = OWN + KNOWN * member[:, block]
            drawn[:, np.arange(n_rows), label[block]] += of_own
            logits[:, block] = drawn.astype(np.float16)
