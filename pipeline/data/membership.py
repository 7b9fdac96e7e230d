"""Membership: a user's own arrays that say something of each record of a source."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.modules import summary
from pipeline.errors import AuditError

# Ids of fewer than this are not ids, but signs that there are none.
LEAST_ID = 0
MOST_GROUPS = 1000  # each has a line in the report


def read(path: Path, source: str, n_models: int, n_source: int) -> NDArray[np.bool_]:
    """Read which records of a source each model was trained on.

    Args:
        path: a .npy file.
        source: its name, for errors.
        n_models: rows that the file must have.
        n_source: records of the source, audited or not.

    Returns:
        (n_models, n_source).

    Raises:
        AuditError: if the file is unreadable, or holds anything else.
    """
    try:
        array: Any = np.load(path, allow_pickle=False)
    except Exception as error:  # a damaged file may raise anything
        problem = f"cannot be read ({summary(error)})"
        raise AuditError(path, problem, "save a bool array by numpy.save") from error
    _check(path, array, source, n_models, n_source, "numpy.save")
    return np.asarray(array)


def named(
    path: Path, source: str, names: Sequence[str], n_source: int
) -> NDArray[np.bool_]:
    """Read which records each model was trained on, from rows that have names.

    Args:
        path: an .npz file with the arrays `names` and `member`.
        source: its name, for errors.
        names: of the checkpoints.
        n_source: records of the source, audited or not.

    Returns:
        (n_models, n_source) in the order of the checkpoints.

    Raises:
        AuditError: if the file is unreadable, or its rows are not those of the
            checkpoints.
    """
    fix = "save names and member by numpy.savez, a file name for each row"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("names", "member") if name in file}
        rows = arrays.get("names", np.empty(0))
        if rows.dtype.kind == "S":
            rows = np.char.decode(rows, "utf-8")
    except Exception as error:  # a damaged file may raise anything
        problem = f"cannot be read ({summary(error)})"
        raise AuditError(path, problem, fix) from error
    for name in ("names", "member"):
        if name not in arrays:
            raise AuditError(path, f"has no array {name!r}", fix)
    if rows.dtype.kind != "U" or rows.ndim != 1:
        problem = f"has names of type {rows.dtype} and shape {rows.shape}"
        raise AuditError(path, problem, fix)
    in_table = rows.tolist()
    for name in in_table:
        if name not in names:
            problem = f"names {name!r}, which is no checkpoint beside it"
            raise AuditError(
                path, problem, "give the names of the files, .ckpt and all"
            )
        if in_table.count(name) > 1:
            raise AuditError(path, f"names {name!r} twice", "give each file one row")
    for name in names:
        if name not in in_table:
            problem = f"does not name {name!r}, which lies beside it"
            raise AuditError(path, problem, "give each file one row")
    member: Any = arrays["member"]
    _check(path, member, source, len(names), n_source, "numpy.savez")
    order = [in_table.index(name) for name in names]
    return np.asarray(member[order])


def _check(
    path: Path, array: Any, source: str, n_models: int, n_source: int, how: str
) -> None:
    """Refuse what is no table of bools with a row of each model."""
    shape: tuple[int, ...] = getattr(array, "shape", ())
    kind = getattr(array, "dtype", type(array).__name__)
    if kind != np.bool_ or len(shape) != 2:
        problem = f"has type {kind} and shape {shape}"
        fix = f"save bools of shape ({n_models}, {n_source}) by {how}"
        raise AuditError(path, problem, fix)
    if shape[0] != n_models:
        problem = f"has {shape[0]} rows, but {n_models} checkpoints lie beside it"
        fix = "give one row for each, in order of file name"
        raise AuditError(path, problem, fix)
    if shape[1] != n_source:
        problem = f"has {shape[1]} columns, but {source} has {n_source} records"
        fix = "give one column for each, audited or not"
        raise AuditError(path, problem, fix)


def groups(path: Path, n_source: int) -> NDArray[Any]:
    """Read a user's division of a source into groups, for figures of each.

    Args:
        path: a .npy file.
        n_source: records of the source, audited or not.

    Returns:
        (n_source,) whole numbers or strings.

    Raises:
        AuditError: if the file is unreadable, or holds anything else.
    """
    where = "report.groups"
    try:
        array: Any = np.load(path, allow_pickle=False)
        kind = getattr(array, "dtype", np.dtype(object))
        if kind.kind == "S":
            array = np.char.decode(array, "utf-8")
    except Exception as error:  # a damaged file may raise anything
        problem = f"{path} cannot be read ({summary(error)})"
        raise AuditError(where, problem, "save an array by numpy.save") from error
    shape: tuple[int, ...] = getattr(array, "shape", ())
    if shape != (n_source,) or kind.kind not in "biuUS":
        problem = f"{path} has type {kind} and shape {shape}"
        fix = f"save whole numbers or strings of shape ({n_source},), one for each"
        raise AuditError(where, problem, f"{fix} record of the source")
    if (n_groups := len(np.unique(array))) > MOST_GROUPS:
        problem = f"{path} has {n_groups} groups"
        raise AuditError(where, problem, f"give at most {MOST_GROUPS}")
    return np.asarray(array)


def units(path: Path, n_source: int) -> NDArray[Any]:
    """Read which unit, a person for instance, each record of a source belongs to.

    Args:
        path: a .npy file.
        n_source: records of the source, audited or not.

    Returns:
        (n_source,) ids, as `checked_units`.

    Raises:
        AuditError: if the file is unreadable, or holds anything else.
    """
    where = "data.units"
    try:
        array: Any = np.load(path, allow_pickle=False)
    except Exception as error:  # a damaged file may raise anything
        problem = f"{path} cannot be read ({summary(error)})"
        fix = "save whole numbers or strings by numpy.save"
        raise AuditError(where, problem, fix) from error
    return checked_units(where, str(path), array, n_source)


def checked_units(where: object, what: str, array: Any, n_source: int) -> NDArray[Any]:
    """Return ids of units, if they are ids and each record of a source has one.

    Args:
        where: they come from, for errors.
        what: names them there.
        array: as it was read.
        n_source: records of the source, audited or not.

    Returns:
        (n_source,) whole numbers or strings.

    Raises:
        AuditError: if they are not, or some are missing.
    """
    shape: tuple[int, ...] = getattr(array, "shape", ())
    dtype = getattr(array, "dtype", np.dtype(object))
    if shape != (n_source,) or dtype.kind not in "iuUS":
        problem = f"{what} has type {dtype} and shape {shape}"
        fix = f"save whole numbers or strings of shape ({n_source},), one id for each"
        raise AuditError(where, problem, f"{fix} record of the source")
    if dtype.kind == "S":
        try:
            array = np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            problem = f"{what} has ids that are no text ({summary(error)})"
            raise AuditError(where, problem, "encode them as UTF-8") from error
    missing = array < LEAST_ID if dtype.kind in "iu" else np.char.strip(array) == ""
    if n_missing := int(missing.sum()):
        sign = "negative" if dtype.kind in "iu" else "empty"
        problem = f"{what} has {n_missing} ids that are {sign}"
        fix = "give every record an id; a record of nobody else's, one of its own"
        raise AuditError(where, problem, fix)
    return np.asarray(array)
