"""Store: the files between the stages. Their formats stand in artifacts/README.md."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.cache import files, plan
from pipeline.errors import AuditError

FORMAT = "membership-audit"
# Small enough that one checksum covers little, large enough that reading stays fast.
CHUNK_ROWS = 1024


@dataclass(frozen=True)
class Records:
    """The audited records and the population, in ascending order of id."""

    id: NDArray[np.int64]  # (n_records,) position in the source
    label: NDArray[np.int32]  # (n_records,) class the target is asked for
    member: NDArray[np.bool_]  # (n_records,) whether the target was trained on it
    population: NDArray[np.bool_]  # (n_records,) never audited, never a member
    canary: NDArray[np.bool_]  # (n_records,) whether its label was changed
    content: NDArray[np.bytes_]  # (n_records,) hash of its input; empty for arrays
    duplicates_dropped: NDArray[np.int64]  # () non-members that equalled a member
    n_classes: NDArray[np.int64]  # () classes the labels come from
    n_source: NDArray[np.int64]  # () records of the source, audited or not

    @property
    def nonmember(self) -> NDArray[np.bool_]:
        """(n_records,) whether it is audited as a non-member."""
        return ~self.member & ~self.population


@dataclass(frozen=True)
class Split:
    """The two sides of the attack, drawn once or several times."""

    id: NDArray[np.int64]  # (n_audited,) ascending
    # (n_draws, n_audited) on the attack-eval side; the first draw is the audit's.
    evaluation: NDArray[np.bool_]


@dataclass(frozen=True)
class References:
    """Which audited records each reference was trained on."""

    id: NDArray[np.int64]  # (n_records,)
    member: NDArray[np.bool_]  # (n_references, n_records)


@dataclass(frozen=True)
class Shard:
    """The target's signals on a block of audited records."""

    id: NDArray[np.int64]  # (n_rows,)
    label: NDArray[np.int32]  # (n_rows,)
    logits: NDArray[np.floating[Any]]  # (n_rows, n_views, n_classes)
    margin: NDArray[np.floating[Any]]  # (n_rows, n_views) nats
    loss: NDArray[np.float64]  # (n_rows, n_views) nats


@dataclass(frozen=True)
class ReferenceShard:
    """A reference's signals on a block of audited records; its logits are not kept."""

    id: NDArray[np.int64]  # (n_rows,)
    margin: NDArray[np.floating[Any]]  # (n_rows, n_views) nats
    log_probability: NDArray[np.floating[Any]]  # (n_rows, n_views) of the true class
    recalibrated: NDArray[np.float32]  # (n_rows, n_views) margin, logits corrected
    correct: NDArray[np.bool_]  # (n_rows,) its first view is put into the true class


@dataclass(frozen=True)
class Scores:
    """What the attacks say of the audited records."""

    id: NDArray[np.int64]  # (n_records,)
    label: NDArray[np.int32]  # (n_records,)
    member: NDArray[np.bool_]  # (n_records,)
    evaluation: NDArray[np.bool_]  # (n_records,) on the attack-eval side
    correct: NDArray[np.bool_]  # (n_records,) the target puts it into its class
    # (n_records,) that the target knows it no better than models not trained on it;
    # NaN without such models.
    p_value: NDArray[np.float64]
    method: NDArray[np.bytes_]  # (n_methods,)
    score: NDArray[np.float64]  # (n_methods, n_records) higher for a likelier member
    decision: NDArray[np.bool_]  # (n_methods, n_records) taken for a member
    # (n_methods, n_records) what the score means, in [0, 1], where it means something:
    # a p-value, or RMIA's share; else NaN.
    reading: NDArray[np.float64]


@dataclass(frozen=True)
class ReferenceBlock:
    """The signals of all references on a block of audited records."""

    rows: slice  # of the audited records
    member: NDArray[np.bool_]  # (n_references, n_rows)
    margin: NDArray[np.floating[Any]]  # (n_references, n_rows, n_views) nats
    recalibrated: NDArray[np.float32]  # (n_references, n_rows, n_views) nats


Artifact = TypeVar(
    "Artifact", Records, Split, References, Shard, ReferenceShard, Scores
)


# Raised when the arrays of a format change; those of one file format alone.
VERSIONS = {
    Records: 2,
    Split: 3,
    References: 2,
    Shard: 2,
    ReferenceShard: 2,
    Scores: 3,
}


def write_arrays(path: Path, artifact: Artifact, *, key: str) -> None:
    """Write an artifact of arrays with the digest `key` of all it was computed from.

    Equal artifacts give equal bytes.

    Raises:
        AuditError: if the disk is full or cannot be written.
    """
    # Made in memory: where the disk is full, HDF5 does not fail, it crashes.
    with h5py.File(path.name, "w", driver="core", backing_store=False) as file:
        version = VERSIONS[type(artifact)]
        file.attrs.update({"format": _format(type(artifact)), "version": version})
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
            expected = {"format": _format(kind), "version": VERSIONS[kind]}
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
    complete = upstream_json(job, "features")
    key, folder = complete["folders"]["target"], job.folder("features") / "target"
    paths = [shard_path(folder, index) for index in range(complete["shards"])]
    return shards(paths, key=key, fix=job.remake("features"))


def reference_blocks(job: plan.Job) -> Iterator[ReferenceBlock]:
    """Yield the references' signals, block by block of audited records, in order.

    Few blocks need be in memory at once, however many records there are.

    Raises:
        AuditError: as `read_arrays`, for the first bad shard.
    """
    complete, fix = upstream_json(job, "features"), job.remake("features")
    member = upstream(job, "references", References).member
    first = 0
    for index in range(complete["shards"]):
        found = [
            read_arrays(
                shard_path(job.folder("features") / reference_name(model), index),
                ReferenceShard,
                key=complete["folders"][reference_name(model)],
                fix=fix,
            )
            for model in range(len(member))
        ]
        n_rows = min(complete["shard_rows"], complete["records"] - first)
        rows = slice(first, first + n_rows)
        empty = np.empty((0, n_rows, complete["views"]), dtype=np.float32)
        margin, recalibrated = (
            np.stack([getattr(one, name) for one in found]) if found else empty
            for name in ("margin", "recalibrated")
        )
        yield ReferenceBlock(rows, member[:, rows], margin, recalibrated)
        first += n_rows


def reference_name(model: int) -> str:
    """Return the name of a reference, in its files and folders."""
    return f"reference-{model:03d}"


def reference_path(job: plan.Job, file: str) -> Path:
    """Return where the checkpoint of a reference lies, trained here or a user's own."""
    return Path(job.paths.get("folder", job.folder("references"))) / file


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
