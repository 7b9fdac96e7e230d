"""Slices: an attack on a part of the records at a time, corrected for their number."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.findings.schema import Slice
from pipeline.statistics import corrections, intervals, metrics, units
from pipeline.statistics.units import Units

ONE_SIDED = "has records of one side only"


def slices(
    kinds: Mapping[str, NDArray[Any]],
    score: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
    confidence: float,
    unit: Units = None,
) -> dict[str, tuple[Slice, ...]]:
    """Return how an attack does on each part of the records.

    The worst of many parts looks bad by accident. So the intervals hold for all of them
    at once (Bonferroni), and the p-values are Holm's over all.

    Args:
        kinds: (n_records,) each what the records are divided by, under its name.
        score: (n_records,) of the attack, higher for a likelier member.
        member: (n_records,) whether a record is a member.
        confidence: with which all intervals together cover, in (0, 1).
        unit: (n_records,) or None.

    Returns:
        The slices of each kind in ascending order of their value.
    """
    # By the positions of their records: masks of many slices would take much room.
    parts = [
        (kind, value, rows)
        for kind, values in kinds.items()
        for value, rows in _divided(values)
    ]
    measured = [rows for *_, rows in parts if 0 < member[rows].sum() < len(rows)]
    confidence_each = 1 - (1 - confidence) / max(len(measured), 1)
    p = np.array(
        [
            metrics.p_value(score[rows], member[rows], units.of(unit, rows))
            for rows in measured
        ]
    )
    adjusted = iter(corrections.holm(p))
    out: dict[str, list[Slice]] = {kind: [] for kind in kinds}
    for kind, value, rows in parts:
        n = int(member[rows].sum())
        is_measured = 0 < n < len(rows)
        part = score[rows], member[rows]
        out[kind].append(
            Slice(
                value=value,
                members=n,
                nonmembers=len(rows) - n,
                auc=metrics.auc(*part) if is_measured else None,
                auc_interval=(
                    intervals.auc(*part, confidence_each, units.of(unit, rows))
                    if is_measured
                    else None
                ),
                p_value=float(next(adjusted)) if is_measured else None,
                reason=None if is_measured else ONE_SIDED,
            )
        )
    return {kind: tuple(of_kind) for kind, of_kind in out.items()}


def _divided(values: NDArray[Any]) -> list[tuple[Any, NDArray[np.int64]]]:
    """Return each different value, ascending, and the positions where it stands."""
    different, starts = np.unique(np.sort(values), return_index=True)
    rows = np.split(np.argsort(values, kind="stable"), starts[1:])
    return [(value.item(), own) for value, own in zip(different, rows, strict=False)]
