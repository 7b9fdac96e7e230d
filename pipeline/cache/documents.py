"""Documents: records as JSON files, each with the digest of its own content."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from pipeline.cache import files, keys
from pipeline.cache.stamps import Job
from pipeline.errors import AuditError
from pipeline.record import Record

AnyRecord = TypeVar("AnyRecord", bound=Record)
# What every document holds beside the fields of its record.
KEY, ORIGIN, DIGEST = "key", "origin", "sha256"


def write(
    path: Path, record: Record, *, key: str, origin: Mapping[str, str] | None = None
) -> None:
    """Write a record as a JSON file that is complete or absent.

    Equal records give equal bytes.

    Args:
        path: the file.
        record: its content.
        key: the digest of all that the record was computed from.
        origin: what it ran on: names of the device and of libraries, to versions.

    Raises:
        AuditError: if the disk is full or cannot be written.
        ValueError: if a number is not finite.
    """
    fields = record.model_dump(mode="json", by_alias=True)
    content = {KEY: key, ORIGIN: dict(origin or {}), **fields}
    content[DIGEST] = keys.digest(content)
    files.write_json(path, content)


def read(path: Path, kind: type[AnyRecord], *, key: str, fix: str) -> AnyRecord:
    """Read a record.

    Args:
        path: the file.
        kind: the class of the record.
        key: of the inputs it must have been made from.
        fix: what mends it, for the error.

    Raises:
        AuditError: if it is missing, corrupt, or made from other inputs.
    """
    return read_with_origin(path, kind, key=key, fix=fix)[0]


def read_with_origin(
    path: Path, kind: type[AnyRecord], *, key: str, fix: str
) -> tuple[AnyRecord, dict[str, str]]:
    """Read a record, and what its numbers ran on; see `read`."""
    content = checked(path, fix)
    files.check_key(path, content[KEY], key, fix)
    fields = {k: v for k, v in content.items() if k not in (KEY, ORIGIN, DIGEST)}
    try:
        # As JSON, where a tuple is a list and a whole number may be a float.
        record = kind.model_validate_json(json.dumps(fields))
    except ValidationError:
        raise AuditError(path, "is corrupt", fix) from None
    return record, content[ORIGIN]


def upstream(
    job: Job, stage: str, kind: type[AnyRecord], beside: str | None = None
) -> AnyRecord:
    """Read a record of a stage upstream.

    Args:
        job: that reads it.
        stage: that wrote it.
        kind: the class of the record.
        beside: name of a file beside the stage's artifact; None for the artifact.

    Raises:
        AuditError: as `read`, with the command that makes the artifact anew.
    """
    return upstream_with_origin(job, stage, kind, beside)[0]


def upstream_with_origin(
    job: Job, stage: str, kind: type[AnyRecord], beside: str | None = None
) -> tuple[AnyRecord, dict[str, str]]:
    """Read a record of a stage upstream, and what it ran on; see `upstream`."""
    path = job.folder(stage) / beside if beside else job.artifact(stage)
    key, fix = job.key_of(stage), job.remake(stage)
    return read_with_origin(path, kind, key=key, fix=fix)


def checked(path: Path, fix: str) -> dict[str, Any]:
    """Return the content of a document whose digest is right.

    Raises:
        AuditError: if it is missing or corrupt.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        digest = content.pop(DIGEST)
        whole = keys.digest(content) == digest and {KEY, ORIGIN} <= {*content}
    except FileNotFoundError:
        raise AuditError(path, "is missing", fix) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise AuditError(path, "is corrupt", fix) from None
    if not whole:
        raise AuditError(path, "is corrupt", fix)
    return dict(content)
