"""Files: written whole or not at all."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipeline.errors import AuditError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path`, put in its place if the block succeeds.

    Raises:
        AuditError: if the disk is full or cannot be written.
    """
    # A sibling, since a rename is atomic only within one file system.
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or error
        fix = "free some space, or make the folder writable, and run make again"
        raise AuditError(path, f"cannot be written ({reason})", fix) from error
    finally:
        _forget(temporary)


def _forget(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        # On a read-only disk there is nothing to remove; the first error says why.
        return


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file that is complete or absent, its keys in the given order.

    Raises:
        AuditError: if the disk is full or cannot be written.
        ValueError: if a number is not finite.
    """
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file that is complete or absent.

    Raises:
        AuditError: if the disk is full or cannot be written.
    """
    write(path, text.encode())


def write(path: Path, content: bytes | memoryview) -> None:
    """Write a file that is complete or absent.

    Raises:
        AuditError: if the disk is full or cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def sha256(path: Path) -> str:
    """Return the digest of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_key(path: Path, present: object, key: str, fix: str) -> None:
    """Refuse a file whose key is not the expected one.

    Raises:
        AuditError: naming both keys.
    """
    if present != key:
        problem = f"was made from other inputs ({present!s:.8}, not {key:.8})"
        raise AuditError(path, problem, fix)
