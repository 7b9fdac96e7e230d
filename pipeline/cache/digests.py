"""Digests: of files, remembered while a file's size and times stay the same."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.cache import files, keys
from pipeline.data import modules, own
from pipeline.errors import AuditError

# A file whose time is this near to the moment of its hashing may change once more
# within the same tick of the clock, so its digest is not remembered. Seconds.
RACY = 2.0


def checkpoint(path: Path, digest_of: Callable[[Path], str] = files.sha256) -> str:
    """Return the digest of a checkpoint, the parts that an index names included.

    Args:
        path: of the checkpoint, or of the index of its parts.
        digest_of: returns the digest of a file.

    Raises:
        AuditError: if the index is not one, or a part is missing.
    """
    if not own.is_index(path):
        return digest_of(path)
    parts = {name: digest_of(path.with_name(name)) for name in own.parts(path)}
    return keys.digest({"index": digest_of(path), "parts": parts})


class Digests:
    """Digests of files, with a memory on disk that only saves time.

    Args:
        path: of the memory.

    Raises:
        AuditError: if the memory is corrupt.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, list[Any]] = {}
        if path.exists():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                whole = keys.digest(content["files"]) == content["sha256"]
                self._known = dict(content["files"])
            except (OSError, ValueError, KeyError, TypeError):
                whole = False
            if not whole:
                fix = f"run `rm {path}`; only time is lost"
                raise AuditError(path, "is corrupt", fix)
        self._before = dict(self._known)

    def content(self, path: Path) -> str:
        """Return the digest of a file's content."""
        return self._of(path, str(path.resolve()), files.sha256)

    def checkpoint(self, path: Path) -> str:
        """Return the digest of a checkpoint, the parts that an index names included."""
        return checkpoint(path, self.content)

    def code(self, path: Path) -> str:
        """Return the digest of what a Python file does; see `modules.code_digest`."""
        return self._of(path, f"code of {path.resolve()}", modules.code_digest)

    def _of(self, path: Path, name: str, digest_of: Callable[[Path], str]) -> str:
        state = path.stat()
        mark = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
        if name in self._known and self._known[name][1:] == mark:
            return str(self._known[name][0])
        digest = digest_of(path)
        newest = max(state.st_mtime, state.st_ctime)
        if time.time() - newest > RACY:
            self._known[name] = [digest, *mark]
        return digest

    def save(self) -> None:
        """Write the memory, if it has changed."""
        if self._known != self._before:
            content = {"files": self._known, "sha256": keys.digest(self._known)}
            files.write_json(self._path, content)
