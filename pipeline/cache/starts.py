"""Starts: the folder of a new audit, made whole or not at all."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from pipeline.cache import runs
from pipeline.errors import AuditError

TEMPLATES = Path(__file__).resolve().parents[2] / "configs" / "new"
CONFIG = "audit.toml"  # of a template; a new one has the name of its folder
SUFFIXES = (".py", ".toml")


def config_of(name: str) -> Path:
    """Return where the config of a new audit goes.

    Args:
        name: of its folder, or the path of it.

    Raises:
        AuditError: if the name is empty, cannot be that of an audit, or is taken.
    """
    if not name:
        problem = "is missing"
        raise AuditError("NAME", problem, "pass NAME=mine, the folder to be made")
    folder = Path(name)
    if not runs.NAME.fullmatch(folder.name):
        problem = f"the name {folder.name!r} is not that of an audit"
        fix = "use letters, digits, '.', '_' and '-', the first a letter or a digit"
        raise AuditError("NAME", problem, fix)
    if folder.exists() or folder.is_symlink():
        fix = "choose another name, or move it away"
        raise AuditError("NAME", f"{folder} exists", fix)
    config = folder / f"{folder.name}.toml"
    run = runs.folder(config)
    if run.exists():
        problem = f"{run} holds the artifacts of an audit of this name"
        raise AuditError("NAME", problem, "choose another name, or move them away")
    return config


@contextmanager
def making(config: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes the config's own if the block succeeds.

    Args:
        config: from `config_of`.

    Raises:
        AuditError: if the disk is full or cannot be written.
    """
    folder = config.parent
    # A sibling, since a rename is atomic only within one file system.
    temporary = folder.with_name(f".{folder.name}.{uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.rename(folder)
    except OSError as error:
        fix = "free some space, or choose a folder that can be written"
        problem = f"cannot be written ({error.strerror or error})"
        raise AuditError(folder, problem, fix) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def fill(folder: Path, config: Path, layers: Sequence[str]) -> None:
    """Copy the files of templates into a folder.

    Args:
        folder: from `making`.
        config: of the new audit.
        layers: names of templates; the files of a later one replace those of an
            earlier one.
    """
    for layer in layers:
        for path in sorted((TEMPLATES / layer).iterdir()):
            if path.suffix in SUFFIXES:
                name = config.name if path.name == CONFIG else path.name
                text = path.read_text(encoding="utf-8")
                (folder / name).write_text(
                    text.replace(CONFIG, str(config)), encoding="utf-8"
                )
