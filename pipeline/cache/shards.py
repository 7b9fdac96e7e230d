"""Shards: the signals of target and references, block of records by block."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.cache import arrays, documents
from pipeline.cache.kinds import References, ReferenceShard, Shard
from pipeline.cache.stamps import Job
from pipeline.cache.summaries import Complete

TARGET = "target"  # the folder of the target's shards


@dataclass(frozen=True)
class ReferenceBlock:
    """The signals of all references on a block of audited records."""

    rows: slice  # of the audited records
    member: NDArray[np.bool_]  # (n_references, n_rows)
    margin: NDArray[np.floating[Any]]  # (n_references, n_rows, n_views) nats
    recalibrated: NDArray[np.float32]  # (n_references, n_rows, n_views) nats


def shard_path(folder: Path, index: int) -> Path:
    """Return where the shard of that index lies."""
    return folder / f"{index:05d}.h5"


def row_blocks(n_records: int, n_rows: int) -> list[NDArray[np.int64]]:
    """Return the rows of each block of at most `n_rows`, in order."""
    return [
        np.arange(first, min(first + n_rows, n_records))
        for first in range(0, n_records, n_rows)
    ]


def target_blocks(job: Job) -> Iterator[tuple[slice, Shard]]:
    """Yield the target's signals, block by block, and the rows of each, in order.

    Raises:
        AuditError: as `arrays.read`, for the first bad shard.
    """
    complete = documents.upstream(job, "features", Complete)
    folder, fix = job.folder("features") / TARGET, job.remake("features")
    for index in range(complete.shards):
        path = shard_path(folder, index)
        shard = arrays.read(path, Shard, key=complete.folders[TARGET], fix=fix)
        first = index * complete.shard_rows
        yield slice(first, first + len(shard.id)), shard


def target_margin(job: Job) -> NDArray[np.floating[Any]]:
    """Read the target's (n_records, n_views) margins, in nats.

    Raises:
        AuditError: as `arrays.read`, for the first bad shard.
    """
    return np.concatenate([shard.margin for _, shard in target_blocks(job)])


def reference_blocks(job: Job) -> Iterator[ReferenceBlock]:
    """Yield the references' signals, block by block of audited records, in order.

    Few blocks need be in memory at once, however many records there are.

    Raises:
        AuditError: as `arrays.read`, for the first bad shard.
    """
    complete = documents.upstream(job, "features", Complete)
    member = arrays.upstream(job, "references", References).member
    fix = job.remake("features")
    first = 0
    for index in range(complete.shards):
        shards = [
            arrays.read(
                shard_path(job.folder("features") / name, index),
                ReferenceShard,
                key=complete.folders[name],
                fix=fix,
            )
            for name in map(reference_name, range(len(member)))
        ]
        n_rows = min(complete.shard_rows, complete.records - first)
        rows = slice(first, first + n_rows)
        empty = np.empty((0, n_rows, complete.views), dtype=np.float32)
        margin, recalibrated = (
            np.stack([getattr(shard, name) for shard in shards]) if shards else empty
            for name in ("margin", "recalibrated")
        )
        yield ReferenceBlock(rows, member[:, rows], margin, recalibrated)
        first += n_rows


def reference_name(model: int) -> str:
    """Return the name of a reference, in its files and folders."""
    return f"reference-{model:03d}"


def reference_path(job: Job, file: str) -> Path:
    """Return where the checkpoint of a reference lies, trained here or a user's own."""
    return Path(job.paths.get("folder", job.folder("references"))) / file
