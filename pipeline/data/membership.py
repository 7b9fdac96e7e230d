"""Membership: which records references were trained on, and what is odd about it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.modules import summary
from pipeline.errors import AuditError
from pipeline.statistics import metrics

# Shares of the audited records that references are trained on, about a half, between
# which nothing is said.
USUAL = (0.25, 0.75)
# Standard deviations from one half at which the counts' AUC is no accident.
FAR = 5.0
MOST_GROUPS = 1000  # each of which the report tells
NAMES_SHOWN = 3  # of the models that a remark is about


def read(path: Path, source: str, n_models: int, n_source: int) -> NDArray[np.bool_]:
    """Read which records of a source each model was trained on.

    Args:
        path: a .npy file.
        source: its name, for errors.
        n_models: that the file must tell of.
        n_source: records of the source, audited or not.

    Returns:
        (n_models, n_source).

    Raises:
        AuditError: if the file is unreadable, or holds anything else.
    """
    try:
        found: Any = np.load(path, allow_pickle=False)
    except Exception as error:  # a damaged file may raise anything
        problem = f"cannot be read ({summary(error)})"
        raise AuditError(path, problem, "save a bool array by numpy.save") from error
    shape: tuple[int, ...] = getattr(found, "shape", ())
    kind = getattr(found, "dtype", type(found).__name__)
    if kind != np.bool_ or len(shape) != 2:
        problem = f"has type {kind} and shape {shape}"
        fix = f"save bools of shape ({n_models}, {n_source}) by numpy.save"
        raise AuditError(path, problem, fix)
    if shape[0] != n_models:
        problem = f"has {shape[0]} rows, but {n_models} checkpoints lie beside it"
        fix = "give one row for each, in order of file name"
        raise AuditError(path, problem, fix)
    if shape[1] != n_source:
        problem = f"has {shape[1]} columns, but {source} has {n_source} records"
        fix = "give one column for each, audited or not"
        raise AuditError(path, problem, fix)
    return np.asarray(found)


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
        found: Any = np.load(path, allow_pickle=False)
        kind = getattr(found, "dtype", np.dtype(object))
        if kind.kind == "S":
            found = np.char.decode(found, "utf-8")
    except Exception as error:  # a damaged file may raise anything
        problem = f"{path} cannot be read ({summary(error)})"
        raise AuditError(where, problem, "save an array by numpy.save") from error
    shape: tuple[int, ...] = getattr(found, "shape", ())
    if shape != (n_source,) or kind.kind not in "biuUS":
        problem = f"{path} has type {kind} and shape {shape}"
        fix = f"save whole numbers or strings of shape ({n_source},), one for each"
        raise AuditError(where, problem, f"{fix} record of the source")
    if (n_groups := len(np.unique(found))) > MOST_GROUPS:
        problem = f"{path} has {n_groups} groups"
        raise AuditError(where, problem, f"give at most {MOST_GROUPS}")
    return np.asarray(found)


def remarks(
    names: Sequence[str], member: NDArray[np.bool_], label: NDArray[np.int32]
) -> list[str]:
    """Say in what references differ from those that attacks do best with.

    Args:
        names: of the models.
        member: (n_models, n_records) whether a model was trained on a record.
        label: (n_records,) classes.

    Returns:
        A sentence for each difference that some model shows.
    """
    classes = np.unique(label)
    told: dict[str, list[str]] = {
        "trained on no audited record, so of use to offline attacks only": [],
        "trained on every audited record, so of no use to offline attacks": [],
        "trained on less than a quarter of the audited records": [],
        "trained on more than three quarters of the audited records": [],
        "trained on no audited record of some class": [],
    }
    nothing, everything, few, many, lacking = told.values()
    for name, half in zip(names, member, strict=True):
        share = half.mean()
        missing = np.setdiff1d(classes, label[half])
        if not half.any():
            nothing.append(name)
        elif half.all():
            everything.append(name)
        elif share < USUAL[0]:
            few.append(f"{name} ({share:.2f})")
        elif share > USUAL[1]:
            many.append(f"{name} ({share:.2f})")
        if half.any() and len(missing):
            lacking.append(f"{name} (class {missing[0]})")
    return [f"{fact}: {_listed(models)}" for fact, models in told.items() if models]


def gaps(member: NDArray[np.bool_]) -> list[str]:
    """Say how many records lack references on a side.

    Args:
        member: (n_models, n_records) whether a reference was trained on a record.
    """
    told = {
        "OUT": "attacks go by the other side, or by what is usual",
        "IN": "online attacks go by the other side, or by what is usual",
    }
    counts = {"OUT": (~member).sum(axis=0), "IN": member.sum(axis=0)}
    return [
        f"{lacking} of {member.shape[1]} records have no reference that they are "
        f"{side} of: {told[side]}"
        for side, count in counts.items()
        if (lacking := int((count == 0).sum()))
    ]


def tells(member: NDArray[np.bool_], target: NDArray[np.bool_]) -> bool:
    """Return whether the number of references that know a record tells the target's.

    It does where records were given to a fixed number of models, the target among them
    (as in Carlini et al. 2022, arXiv:2112.03570, with one of the models as the target),
    or where the target's complementary twin is a reference. An attack could then read
    memberships off the counts, with no look at any model.

    Args:
        member: (n_models, n_records) whether a reference was trained on a record.
        target: (n_records,) whether the target was.
    """
    count = member.sum(axis=0).astype(np.float64)
    n_in, n_out = int(target.sum()), int((~target).sum())
    # Of the AUC of counts that tell nothing: Mann and Whitney 1947, without ties.
    deviation = np.sqrt((n_in + n_out + 1) / (12 * n_in * n_out))
    return bool(abs(metrics.auc(count, target) - 0.5) > FAR * deviation)


def level(member: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    """Return which references to keep so that a record has as many IN as OUT.

    Args:
        member: (n_models, n_records) whether a reference was trained on a record.
        seed: of the draw of those that are dropped, from a record's larger side.

    Returns:
        (n_models, n_records).
    """
    draw = np.random.default_rng(seed).random(member.shape)
    fewest = np.minimum(member.sum(axis=0), (~member).sum(axis=0))
    kept = np.zeros_like(member)
    for side in (member, ~member):
        # Those of the other side come last, and so rank above all of this one.
        rank = np.where(side, draw, 2.0).argsort(axis=0).argsort(axis=0)
        kept |= side & (rank < fewest)
    return kept


def _listed(models: Sequence[str]) -> str:
    more = len(models) - NAMES_SHOWN
    return ", ".join(models[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
