"""Slices: an attack on a part of the records at a time, corrected for their number."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import corrections, estimates, metrics


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
    parts = [
        (kind, value, values == value)
        for kind, values in kinds.items()
        for value in np.unique(values)
    ]
    measured = [own for _, _, own in parts if 0 < member[own].sum() < own.sum()]
    each = 1 - (1 - confidence) / max(len(measured), 1)
    p = np.array([metrics.p_value(score[own], member[own]) for own in measured])
    adjusted = iter(corrections.holm(p))
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    for kind, value, own in parts:
        n, n_others = int(member[own].sum()), int((own & ~member).sum())
        about = {"value": value.item(), "members": n, "nonmembers": n_others}
        if n and n_others:
            interval = estimates.auc_interval(score[own], member[own], each)
            about["auc"] = metrics.auc(score[own], member[own])
            about["auc_interval"] = None if interval is None else list(interval)
            about["p_value"] = float(next(adjusted))
            if interval is None:
                about["reason"] = "an interval needs 2 records of either side"
        else:
            about |= {"auc": None, "auc_interval": None, "p_value": None}
            about["reason"] = "has records of one side only"
        found[kind].append(about)
    return found
