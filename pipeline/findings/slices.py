"""Slices: an attack on a part of the records at a time, corrected for their number."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.statistics import corrections, intervals, metrics


def told(
    kinds: Mapping[str, NDArray[Any]],
    score: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
    confidence: float,
) -> dict[str, list[dict[str, Any]]]:
    """Return how an attack does on each part of the records.

    Parts are many, and the worst of many looks bad by accident: the intervals hold for
    all of them at once (Bonferroni), and the p-values are Holm's over all.

    Args:
        kinds: (n_records,) whatever the records are divided by, under its name.
        score: (n_records,) of the attack, higher for a likelier member.
        member: (n_records,) whether a record is one.
        confidence: with which all intervals together cover, in (0, 1).

    Returns:
        Of each kind its slices in order of their value, with "value", "members",
        "nonmembers", "auc", "auc_interval" and "p_value"; where that is not to be had,
        null and the "reason".
    """
    # By the positions of their records: masks of many slices would take much room.
    parts = [
        (kind, value, rows)
        for kind, values in kinds.items()
        for value, rows in _divided(values)
    ]
    measured = [rows for *_, rows in parts if 0 < member[rows].sum() < len(rows)]
    each = 1 - (1 - confidence) / max(len(measured), 1)
    p = np.array([metrics.p_value(score[rows], member[rows]) for rows in measured])
    adjusted = iter(corrections.holm(p))
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    for kind, value, rows in parts:
        n = int(member[rows].sum())
        about = {"value": value, "members": n, "nonmembers": len(rows) - n}
        if 0 < n < len(rows):
            about["auc"] = metrics.auc(score[rows], member[rows])
            about["auc_interval"] = list(intervals.auc(score[rows], member[rows], each))
            about["p_value"] = float(next(adjusted))
        else:
            about |= {"auc": None, "auc_interval": None, "p_value": None}
            about["reason"] = "has records of one side only"
        found[kind].append(about)
    return found


def _divided(values: NDArray[Any]) -> list[tuple[Any, NDArray[np.int64]]]:
    """Return each different value, ascending, and the positions where it stands."""
    different, starts = np.unique(np.sort(values), return_index=True)
    rows = np.split(np.argsort(values, kind="stable"), starts[1:])
    return [(value.item(), own) for value, own in zip(different, rows, strict=False)]
