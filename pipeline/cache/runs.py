"""Runs: the folder of an audit's artifacts, marked as ours, held by one at a time."""

import fcntl
import json
import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

from pipeline.cache import files
from pipeline.errors import AuditError

ARTIFACTS = Path("artifacts")
MARK = "audit.json"  # in every run's folder: whose it is
FORMAT = "membership-audit/run"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def folder(config: Path) -> Path:
    """Return the folder of a config's artifacts, whether it exists or not.

    Args:
        config: a TOML file, whose name without the ending is that of the audit.

    Raises:
        AuditError: if the name cannot be that of a folder of ours.
    """
    name = config.stem
    if config.suffix != ".toml" or not NAME.fullmatch(name):
        problem = f"the name {config.name!r} is not that of an audit"
        fix = "name the config NAME.toml, NAME of letters, digits, '.', '_' and '-'"
        raise AuditError("CONFIG", problem, f"{fix}, the first a letter or a digit")
    return ARTIFACTS / name


def digests(run: Path) -> Path:
    """Return the file in which a run remembers digests of files."""
    return run / "stamps" / "digests.json"


def devices(run: Path) -> Path:
    """Return the file in which a run remembers what "auto" means."""
    return run / "stamps" / "devices.json"


def check(run: Path, config: Path) -> None:
    """Refuse a folder that is not this config's own; one that is absent is fine.

    Raises:
        AuditError: if it was not made by this project, or belongs to another config.
    """
    if not run.exists() and not run.is_symlink():
        return
    owner = _owner(run)
    if owner is None:
        problem = f"was not made by this project (it has no {MARK})"
        fix = "move it away, or give the config another name"
        raise AuditError(run, problem, fix)
    if owner.exists() and owner.resolve() != config.resolve():
        problem = f"holds the artifacts of {owner}, not of {config}"
        raise AuditError(run, problem, "give one of the two configs another name")


def claim(run: Path, config: Path) -> None:
    """Make the folder of a config's artifacts, and mark it as such.

    Raises:
        AuditError: as `check`, or if the folder cannot be written.
    """
    check(run, config)
    if not (run / MARK).exists() or _owner(run) != config:
        files.write_json(run / MARK, {"format": FORMAT, "config": str(config)})


def hold(run: Path, wait: Callable[[], None]) -> int:
    """Hold a run's folder until this process, and what it becomes, has ended.

    Args:
        run: a folder that is claimed.
        wait: called once if another process holds it, before it is waited for.

    Returns:
        The file descriptor that holds the lock; programs that are executed inherit it.

    Raises:
        AuditError: if the folder cannot be written.
    """
    path = run / "lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        fix = "make the folder writable, and run make again"
        raise AuditError(path, f"cannot be written ({error.strerror})", fix) from error
    os.set_inheritable(descriptor, True)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        wait()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def remove(run: Path, config: Path) -> bool:
    """Remove a config's artifacts; return whether there were any.

    Raises:
        AuditError: as `check`.
    """
    check(run, config)
    if not run.exists():
        return False
    shutil.rmtree(run)
    return True


def _owner(run: Path) -> Path | None:
    """Return the config that a folder is marked with; None if it is not marked."""
    if run.is_symlink():
        return None
    mark, before = run / MARK, run / "stamps" / "paths.json"
    try:
        if mark.exists():
            content = json.loads(mark.read_text(encoding="utf-8"))
            is_ours = content["format"] == FORMAT
            return Path(content["config"]) if is_ours else None
        # Before there were marks, the arguments of make stood beside the stamps.
        content = json.loads(before.read_text(encoding="utf-8"))
        name, _, path = shlex.split(content["arguments"])[0].partition("=")
        return Path(path) if name == "CONFIG" else None
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None
