"""Store: the files between the stages. Their formats stand in artifacts/README.md."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline import files, plan
from pipeline.errors import AuditError

FORMAT = "membership-audit"
VERSION = 1
# Small enough that one checksum covers little, large enough that reading stays fast.
CHUNK_ROWS = 1024


@dataclass(frozen=True)
class Records:
    """The audited records, in ascending order of id."""

    id: NDArray[np.int64]  # (n_records,) position in the source
    label: NDArray[np.int32]  # (n_records,) class the target is asked for
    member: NDArray[np.bool_]  # (n_records,) whether the target was trained on it
    canary: NDArray[np.bool_]  # (n_records,) whether its label was changed
    content: NDArray[np.bytes_]  # (n_records,) hash of its input; empty for arrays
    duplicates_dropped: NDArray[np.int64]  # () non-members that equalled a member
    n_classes: NDArray[np.int64]  # () classes the labels come from


@dataclass(frozen=True)
class Split:
    """The two sides of the attack, as record ids in ascending order."""

    attack_train: NDArray[np.int64]  # (n_train,)
    attack_eval: NDArray[np.int64]  # (n_eval,)


@dataclass(frozen=True)
class Shard:
    """The target's signals on a block of audited records."""

    id: NDArray[np.int64]  # (n_rows,)
    label: NDArray[np.int32]  # (n_rows,)
    logits: NDArray[np.float32]  # (n_rows, n_classes)
    margin: NDArray[np.floating[Any]]  # (n_rows,) nats
    loss: NDArray[np.float64]  # (n_rows,) nats


@dataclass(frozen=True)
class Scores:
    """What the attacks say of the attack-eval records."""

    id: NDArray[np.int64]  # (n_eval,)
    member: NDArray[np.bool_]  # (n_eval,)
    method: NDArray[np.bytes_]  # (n_methods,) in the config's order
    score: NDArray[np.float64]  # (n_methods, n_eval) higher for a likelier member
    decision: NDArray[np.bool_]  # (n_methods, n_eval) taken for a member


Artifact = TypeVar("Artifact", Records, Split, Shard, Scores)


def write_arrays(path: Path, artifact: Artifact, *, key: str) -> None:
    """Write an artifact of arrays with the digest `key` of all it was computed from.

    Equal artifacts give equal bytes.

    Raises:
        AuditError: if the disk is full or cannot be written.
    """
    # Made in memory: where the disk is full, HDF5 does not fail, it crashes.
    with h5py.File(path.name, "w", driver="core", backing_store=False) as file:
        file.attrs.update({"format": _format(type(artifact)), "version": VERSION})
        file.attrs["key"] = key
        for field in fields(artifact):
            array: NDArray[Any] = np.asarray(getattr(artifact, field.name))
            options: dict[str, Any] = {}
            # HDF5 checks sums by chunk, and scalars and empty arrays have none.
            if array.ndim and array.size:
                chunk = (min(CHUNK_ROWS, len(array)), *array.shape[1:])
                options = {"chunks": chunk, "fletcher32": True}
            # Times would make equal artifacts differ in their bytes.
            file.create_dataset(field.name, data=array, track_times=False, **options)
        file.flush()
        image = file.id.get_file_image()
    files.write(path, image)


def read_arrays(path: Path, kind: type[Artifact], *, key: str, fix: str) -> Artifact:
    """Read an artifact of arrays, every checksum checked.

    Args:
        path: the file.
        kind: the class of the artifact.
        key: of the inputs it must have been made from.
        fix: what mends it, for the error.

    Raises:
        AuditError: if it is missing, corrupt, of another format or version, or made
            from other inputs.
    """
    try:
        with h5py.File(path, "r") as file:
            expected = {"format": _format(kind), "version": VERSION}
            for name, value in expected.items():
                found = file.attrs.get(name)
                if found != value:
                    problem = f"has {name} {found!s}, not {value}"
                    raise AuditError(path, problem, fix)
            files.check_key(path, file.attrs.get("key"), key, fix)
            return kind(**{f.name: np.asarray(file[f.name][()]) for f in fields(kind)})
    except FileNotFoundError:
        raise AuditError(path, "is missing", fix) from None
    except (OSError, KeyError, RuntimeError):
        raise AuditError(path, "is corrupt", fix) from None


def upstream(job: plan.Job, stage: str, kind: type[Artifact]) -> Artifact:
    """Read the artifact of a stage upstream.

    Raises:
        AuditError: as `read_arrays`, with the command that makes the artifact anew.
    """
    path, key, fix = job.artifact(stage), job.key_of(stage), job.remake(stage)
    return read_arrays(path, kind, key=key, fix=fix)


def upstream_json(job: plan.Job, stage: str) -> dict[str, Any]:
    """Read the JSON artifact of a stage upstream.

    Raises:
        AuditError: as `files.read_json`, with the command that makes it anew.
    """
    path, key, fix = job.artifact(stage), job.key_of(stage), job.remake(stage)
    return files.read_json(path, key=key, fix=fix)


def is_whole(path: Path, kind: type[Artifact], *, key: str) -> bool:
    """Return whether an artifact can be read and was made from these inputs."""
    try:
        read_arrays(path, kind, key=key, fix="")
    except AuditError:
        return False
    return True


def shard_path(folder: Path, index: int) -> Path:
    """Return where the shard of that index lies."""
    return folder / f"{index:05d}.h5"


def row_blocks(n_records: int, n_rows: int) -> list[NDArray[np.int64]]:
    """Return the rows of each block of at most `n_rows`, in order."""
    return [
        np.arange(first, min(first + n_rows, n_records))
        for first in range(0, n_records, n_rows)
    ]


def read_features(job: plan.Job) -> Shard:
    """Read all shards of the target's signals as one, in the order of their rows.

    Raises:
        AuditError: as `read_arrays`, for the first bad shard.
    """
    n_shards = upstream_json(job, "features")["shards"]
    paths = [shard_path(job.folder("features"), index) for index in range(n_shards)]
    return shards(paths, key=job.key_of("features"), fix=job.remake("features"))


def shards(paths: Sequence[Path], *, key: str, fix: str) -> Shard:
    """Read shards as one, in the order given.

    Raises:
        AuditError: as `read_arrays`, for the first bad shard.
    """
    found = [read_arrays(path, Shard, key=key, fix=fix) for path in paths]
    columns = {
        field.name: np.concatenate([getattr(shard, field.name) for shard in found])
        for field in fields(Shard)
    }
    return Shard(**columns)


def _format(kind: type[Artifact]) -> str:
    return f"{FORMAT}/{kind.__name__.lower()}"
