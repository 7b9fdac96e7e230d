"""Arrays: artifacts as HDF5 files, each array with its checksums."""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.cache import files, keys
from pipeline.cache.kinds import (
    AttackScores,
    Records,
    References,
    ReferenceShard,
    Scores,
    Shard,
    Split,
)
from pipeline.cache.stamps import Job
from pipeline.errors import AuditError

FORMAT = "membership-audit"
# Small enough that one checksum covers little, large enough that reading stays fast.
CHUNK_ROWS = 1024
CHUNK_BYTES = 2**23  # unless a row is larger: a chunk is copied when it is read

Artifact = TypeVar(
    "Artifact", Records, Split, References, Shard, ReferenceShard, Scores, AttackScores
)
# Raised when the arrays of a format change; those of one file format alone.
VERSIONS = {
    Records: 4,
    Split: 4,
    References: 3,
    Shard: 3,
    ReferenceShard: 3,
    Scores: 6,
    AttackScores: 1,
}


def write(
    path: Path, artifact: Artifact, *, key: str, origin: Mapping[str, str]
) -> None:
    """Write an artifact of arrays with the digest `key` of all it was computed from.

    Equal artifacts give equal bytes.

    Args:
        path: the file.
        artifact: its arrays.
        key: the digest of all that they were computed from.
        origin: what they ran on: names of the device and of libraries, to versions.

    Raises:
        AuditError: if the disk is full or cannot be written.
    """
    # Made in memory: where the disk is full, HDF5 does not fail, it crashes.
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        kind = type(artifact)
        attributes = {
            "format": _format(kind),
            "version": VERSIONS[kind],
            "key": key,
            "origin": keys.canonical(origin),
        }
        file.attrs.update(attributes)
        arrays = _arrays_of(artifact)
        file.attrs["sha256"] = _digest(attributes, arrays)
        _fill(file, arrays)
    files.write(path, image.getbuffer())


def read(path: Path, kind: type[Artifact], *, key: str, fix: str) -> Artifact:
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
    return read_with_origin(path, kind, key=key, fix=fix)[0]


def read_with_origin(
    path: Path, kind: type[Artifact], *, key: str, fix: str
) -> tuple[Artifact, dict[str, str]]:
    """Read an artifact of arrays, and what its numbers ran on; see `read`."""
    try:
        with h5py.File(path, "r") as file:
            expected = {"format": _format(kind), "version": VERSIONS[kind]}
            for name, value in expected.items():
                present = file.attrs.get(name)
                if present != value:
                    problem = f"has {name} {present!s}, not {value}"
                    raise AuditError(path, problem, fix)
            files.check_key(path, file.attrs.get("key"), key, fix)
            artifact = kind(
                **{f.name: np.asarray(file[f.name][()]) for f in fields(kind)}
            )
            attributes = {**expected, "key": key, "origin": file.attrs["origin"]}
            if file.attrs["sha256"] != _digest(attributes, _arrays_of(artifact)):
                raise AuditError(path, "is corrupt", fix)
            return artifact, json.loads(attributes["origin"])
    except FileNotFoundError:
        raise AuditError(path, "is missing", fix) from None
    except (OSError, KeyError, RuntimeError, TypeError, ValueError):
        raise AuditError(path, "is corrupt", fix) from None


def upstream(job: Job, stage: str, kind: type[Artifact]) -> Artifact:
    """Read the artifact of a stage upstream.

    Raises:
        AuditError: as `read`, with the command that makes the artifact anew.
    """
    path, key, fix = job.artifact(stage), job.key_of(stage), job.remake(stage)
    return read(path, kind, key=key, fix=fix)


def is_whole(path: Path, kind: type[Artifact], *, key: str) -> bool:
    """Return whether an artifact can be read and was made from these inputs."""
    try:
        read(path, kind, key=key, fix="")
    except AuditError:
        return False
    return True


def _fill(file: h5py.File, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Give a file a dataset for each array."""
    for name, array in arrays.items():
        options: dict[str, Any] = {}
        # HDF5 checks sums by chunk, and scalars and empty arrays have none.
        if array.ndim and array.size:
            rows = min(CHUNK_ROWS, CHUNK_BYTES * len(array) // array.nbytes, len(array))
            chunk = (max(rows, 1), *array.shape[1:])
            options = {"chunks": chunk, "fletcher32": True}
        # Times would make equal artifacts differ in their bytes.
        file.create_dataset(name, data=array, track_times=False, **options)


def _arrays_of(artifact: Any) -> dict[str, NDArray[Any]]:
    return {f.name: np.asarray(getattr(artifact, f.name)) for f in fields(artifact)}


def _digest(attributes: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of all that a file holds, scalars and empty arrays too."""
    digest = hashlib.sha256(keys.canonical(attributes).encode())
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        if array.size:
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _format(kind: type[Artifact]) -> str:
    return f"{FORMAT}/{kind.__name__.lower()}"
