"""Curves: what is drawn of an attack's scores, as numbers."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.statistics import intervals
from pipeline.statistics.units import Units


class Curve(NamedTuple):
    """Points of a curve, in order."""

    x: NDArray[np.float64]  # (n_points,)
    y: NDArray[np.float64]  # (n_points,)


class Band(NamedTuple):
    """An interval at each of several places."""

    x: NDArray[np.float64]  # (n_points,)
    low: NDArray[np.float64]  # (n_points,)
    high: NDArray[np.float64]  # (n_points,)


class Histogram(NamedTuple):
    """How members and non-members spread over the same bins."""

    edge: NDArray[np.float64]  # (n_bins + 1,)
    members: NDArray[np.float64]  # (n_bins,) share of the members in each
    nonmembers: NDArray[np.float64]  # (n_bins,) share of the non-members in each


def roc(score: NDArray[np.floating[Any]], member: NDArray[np.bool_]) -> Curve:
    """Return the ROC curve by its corners: false-positive and true-positive rates.

    Points on a straight stretch are left out, so that the curve through the corners is
    the curve through all points.

    Args:
        score: (n_records,) higher for a likelier member.
        member: (n_records,) whether a record is a member; some are and some are not.
    """
    order = np.argsort(-score, kind="stable")
    inside = member[order]
    # Records of one score pass the threshold together.
    last = np.append(np.diff(score[order]) != 0, True)
    hits = np.concatenate(([0], np.cumsum(inside)[last]))
    alarms = np.concatenate(([0], np.cumsum(~inside)[last]))
    step_x, step_y = np.diff(alarms), np.diff(hits)
    turns = step_x[1:] * step_y[:-1] != step_x[:-1] * step_y[1:]
    corner = np.concatenate(([True], turns, [True]))
    n_members = int(member.sum())
    fpr = alarms[corner] / (len(member) - n_members)
    return Curve(fpr, hits[corner] / n_members)


def thinned(curve: Curve, step: float) -> Curve:
    """Return a curve without the points that nobody would see.

    Args:
        curve: in the units it is drawn in.
        step: a point is left out if it and all after the last one kept lie within this
            distance of that one, along both axes.
    """
    kept = [0]
    for i in range(1, len(curve.x)):
        moved = max(
            abs(curve.x[i] - curve.x[kept[-1]]), abs(curve.y[i] - curve.y[kept[-1]])
        )
        if moved > step:
            # The point before it too: a long straight line starts there.
            kept += [i] if kept[-1] == i - 1 else [i - 1, i]
    kept += [len(curve.x) - 1] if kept[-1] < len(curve.x) - 1 else []
    return Curve(curve.x[kept], curve.y[kept])


def band(
    score: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
    confidence: float,
    n_points: int,
    unit: Units = None,
) -> Band:
    """Return the intervals of the true-positive rate along the false-positive rate.

    Each holds by itself; that all hold together is not claimed.

    Args:
        score: (n_records,) higher for a likelier member.
        member: (n_records,) whether a record is a member; some are and some are not.
        confidence: of each interval, in (0, 1).
        n_points: how many, at most: from one false positive to half of all.
        unit: (n_records,) or None.
    """
    n_others = int((~member).sum())
    alarms = np.unique(np.geomspace(1, max(1, n_others // 2), n_points).astype(int))
    ends = [
        intervals.tpr_at_fpr(score, member, alarm / n_others, confidence, unit)
        for alarm in alarms
    ]
    low, high = np.array(ends, dtype=np.float64).T
    return Band(alarms / n_others, low, high)


def histogram(
    values: NDArray[np.floating[Any]], member: NDArray[np.bool_], n_bins: int
) -> Histogram:
    """Return how two sides spread over bins of equal width.

    The bins reach from the 0.5 % to the 99.5 % quantile, and what lies outside falls
    into the first and the last, so that a single outlier does not flatten the rest.

    Args:
        values: (n_records,) finite or infinite, not NaN.
        member: (n_records,) whether a record is a member; some are and some are not.
        n_bins: how many.
    """
    finite = values[np.isfinite(values)]
    low, high = np.quantile(finite, (0.005, 0.995)) if len(finite) else (0.0, 0.0)
    if high <= low:
        low, high = low - 0.5, low + 0.5
    edge = np.linspace(low, high, n_bins + 1)
    held = np.clip(values, low, high)
    shares = [
        np.histogram(held[side], edge)[0] / side.sum() for side in (member, ~member)
    ]
    return Histogram(edge, *shares)


def rule(
    threshold: float, share: float, fpr: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return from which true-positive rate on the tutorial's rule calls a leak one.

    That is where accuracy, precision and recall all reach the threshold.

    Args:
        threshold: of the three, in [0, 1).
        share: of members among the records judged, in (0, 1).
        fpr: (n_points,) false-positive rates.

    Returns:
        (n_points,) rates; above 1 where no rate is enough.
    """
    by_precision = threshold / (1 - threshold) * (1 - share) / share * fpr
    by_accuracy = (threshold - (1 - share) * (1 - fpr)) / share
    return np.maximum(np.maximum(by_precision, by_accuracy), threshold)
