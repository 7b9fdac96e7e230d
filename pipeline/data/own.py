"""Own: the files of a user's own target and references."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import AuditError

CHECKPOINTS = (".ckpt", ".safetensors")
# Of a checkpoint in several .safetensors files, the table of the part that holds each
# parameter: model.safetensors.index.json, or MindSpore's param_name_map.json.
INDEX = ".json"
# Beside the checkpoints: which records of the source each model was trained on, by rows
# in order of file name, or by rows with the files' names.
MEMBERSHIP = "membership.npy"
NAMED_MEMBERSHIP = "membership.npz"


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a user's own references, in order of file name.

    Raises:
        AuditError: if there are none, or it is not certain what they were trained on.
    """
    where = "references.folder"
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise AuditError(where, f"{folder} {problem}", "correct it")
    paths = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix in CHECKPOINTS and path.is_file() and path.name[0] != "."
    ]
    if not paths:
        problem = f"{folder} has no {' or '.join(CHECKPOINTS)} file"
        raise AuditError(where, problem, "put the checkpoints of your references there")
    tables = [name for name in (MEMBERSHIP, NAMED_MEMBERSHIP) if _is_in(folder, name)]
    if not tables:
        fix = "save there which records of the source each model was trained on"
        raise AuditError(where, f"{folder} has no {MEMBERSHIP}", fix)
    if len(tables) > 1:
        problem = f"{folder} has both {' and '.join(tables)}"
        raise AuditError(where, problem, "take out the wrong one")
    unsure = disordered([path.name for path in paths])
    if unsure and tables == [MEMBERSHIP]:
        problem = (
            f"{folder} has {unsure[0]} before {unsure[1]} by the order of strings and "
            f"after it by that of numbers, so which row of {MEMBERSHIP} is whose is "
            "not certain"
        )
        fix = (
            f"save {NAMED_MEMBERSHIP} in its place, with the arrays names and member, "
            "or write all numbers with as many digits, in the order of the rows"
        )
        raise AuditError(where, problem, fix)
    return paths


def table(folder: Path) -> Path:
    """Return the file that says which records each model was trained on."""
    named = _is_in(folder, NAMED_MEMBERSHIP)
    return folder / (NAMED_MEMBERSHIP if named else MEMBERSHIP)


def is_index(path: Path) -> bool:
    """Return whether a file is the index of a checkpoint in several files."""
    return path.suffix == INDEX


def parts(index: Path) -> dict[str, list[str]]:
    """Return the parameters in each part of a checkpoint, by the name of its file.

    Args:
        index: a JSON file with the ``weight_map`` from parameters to files beside it.

    Raises:
        AuditError: if it is no such index, or names a part that is not beside it.
    """
    fix = "copy the index and all its parts anew, into one folder"
    try:
        table = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = {str(parameter): str(file) for parameter, file in table.items()}
    except FileNotFoundError:
        raise AuditError(index, "does not exist", "correct target.checkpoint") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = "is not an index of .safetensors files (it has no weight_map)"
        raise AuditError(index, problem, fix) from error
    held: dict[str, list[str]] = {}
    for parameter, file in names.items():
        if Path(file).name != file or not file.endswith(".safetensors"):
            problem = f"names the part {file!r}, which is not a .safetensors file"
            raise AuditError(index, f"{problem} beside it", fix)
        if not index.with_name(file).is_file():
            raise AuditError(index, f"names the part {file}, which is missing", fix)
        held.setdefault(file, []).append(parameter)
    return held


def disordered(names: Sequence[str]) -> tuple[str, str] | None:
    """Return two names that stand otherwise by their numbers than by their letters.

    Args:
        names: in the order of strings.
    """
    by_text = sorted(names, key=_parts)
    for first, other in zip(by_text, sorted(by_text, key=by_number), strict=True):
        if first != other:
            return first, other
    return None


def by_number(name: str) -> list[str | int]:
    """Return what sorts names by the numbers in them, 2 before 10."""
    # Text and numbers take turns, so only like is compared with like.
    return [int(part) if place % 2 else part for place, part in enumerate(_parts(name))]


def _parts(name: str) -> list[str]:
    return re.split(r"([0-9]+)", name)


def _is_in(folder: Path, name: str) -> bool:
    return (folder / name).is_file()
