"""Shards: the signals of target and references, block of records by block."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
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


def target(job: Job) -> Shard:
    """Read all shards of the target's signals as one, in the order of their rows.

    Raises:
        AuditError: as `arrays.read`, for the first bad shard.
    """
    complete = documents.upstream(job, "features", Complete)
    folder = job.folder("features") / TARGET
    paths = [shard_path(folder, index) for index in range(complete.shards)]
    return joined(paths, key=complete.folders[TARGET], fix=job.remake("features"))


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


def joined(paths: Sequence[Path], *, key: str, fix: str) -> Shard:
    """Read the target's shards as one, in the order given.

    Raises:
        AuditError: as `arrays.read`, for the first bad shard.
    """
    shards = [arrays.read(path, Shard, key=key, fix=fix) for path in paths]
    columns = {
        field.name: np.concatenate([getattr(shard, field.name) for shard in shards])
        for field in fields(Shard)
    }
    return Shard(**columns)
