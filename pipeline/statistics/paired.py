"""Paired: how the figures of two models differ on the same records.

Two models find the same records easy and the same ones hard, so that a difference is
known better than either figure. Every difference is that of the second less the first.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pipeline.statistics import intervals, metrics, units
from pipeline.statistics.intervals import Interval
from pipeline.statistics.units import Units

# No p-value that is read off intervals is smaller, nor known better than by a factor.
LEAST_P, P_FACTOR = 1e-6, 1.02


class Change(NamedTuple):
    """A figure of two models, and how it differs."""

    first: float
    second: float
    difference: float
    interval: Interval  # of the difference
    p_value: float  # two-sided, that there is no difference


def auc(
    first: NDArray[np.floating[Any]],
    second: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
    confidence: float,
    unit: Units = None,
) -> Change:
    """Return how the AUC differs.

    Where fewer than `intervals.FEW` records of a side, or units, changed their
    placement otherwise than most of the side, the variance of the difference cannot be
    estimated. Then the interval reaches as far as those of both AUCs together, and the
    p-value is the smallest level at which it excludes zero.

    Args:
        first: (n_records,) scores, higher for a likelier member.
        second: (n_records,) the same of the other model.
        member: (n_records,) whether a record is a member; some are and some are not.
        confidence: in (0, 1).
        unit: (n_records,) or None.

    Source: DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44(3), equation 3; with
    units Obuchowski 1997, Biometrics 53(2).
    """
    values = metrics.auc(first, member), metrics.auc(second, member)
    pairs = zip(
        metrics.placements(first, member),
        metrics.placements(second, member),
        strict=True,
    )
    moves = [after - before for before, after in pairs]
    if not any(move.any() for move in moves):
        return unchanged(values[0])
    unit = units.shared(unit)
    sides = member, ~member
    if any(
        intervals.departing(move, units.of(unit, side)) < intervals.FEW
        for move, side in zip(moves, sides, strict=True)
    ):
        return _inverted(
            values,
            lambda level: _combined(
                values,
                (
                    intervals.auc(first, member, level, unit),
                    intervals.auc(second, member, level, unit),
                ),
                -1.0,
            ),
            confidence,
        )
    interval = intervals.auc_difference(second, first, member, confidence, unit)
    error = metrics.auc_difference_error(second, first, member, unit)
    difference = values[1] - values[0]
    p = 2 * float(stats.norm.sf(abs(difference) / error)) if error else 1.0
    return Change(*values, difference, interval, p)


def tpr_at_fpr(
    first: NDArray[np.floating[Any]],
    second: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
    rate: float,
    confidence: float,
    unit: Units = None,
) -> Change | None:
    """Return how the share of members above the threshold of a rate differs.

    Each model has a threshold of its own, and both are uncertain, as
    `intervals.tpr_at_fpr` allows for. The limits of both shares are combined as
    correlated ones: by the correlation of who lies above, among members or among
    non-members, whichever is lower.

    Args:
        first: (n_records,) scores, higher for a likelier member.
        second: (n_records,) the same of the other model.
        member: (n_records,) whether a record is a member; some are and some are not.
        rate: largest share of non-members above either threshold.
        confidence: in (0, 1).
        unit: (n_records,) or None.

    Returns:
        None where fewer than 1/rate non-members cannot measure it.

    Source: Zou and Donner 2008, Statistics in Medicine 27, 1693-1702, equation for
    dependent estimates; the p-value is read off the intervals.
    """
    scores = first, second
    thresholds = [metrics.threshold_at_fpr(score, member, rate) for score in scores]
    above = [
        score > threshold
        for score, threshold in zip(scores, thresholds, strict=True)
        if threshold is not None
    ]
    if not above:
        return None
    values = float(above[0][member].mean()), float(above[1][member].mean())
    if np.array_equal(*(stats.rankdata(score) for score in scores)):
        return unchanged(values[0])
    unit = units.shared(unit)
    correlation = min(
        _correlation(above[0][side], above[1][side], units.of(unit, side))
        for side in (member, ~member)
    )

    def interval_at(level: float) -> Interval:
        limits = [
            intervals.tpr_at_fpr(score, member, rate, level, unit) for score in scores
        ]
        assert limits[0] is not None
        assert limits[1] is not None
        return _combined(values, (limits[0], limits[1]), correlation)

    return _inverted(values, interval_at, confidence)


def share(
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    confidence: float,
    unit: Units = None,
) -> Change:
    """Return how a share of records differs, of those that a model is right on say.

    It differs by the records that are gained less those that are lost. The limits of
    these two shares are combined, which depend on one another as shares of one whole.

    Args:
        first: (n_records,) whether a record counts; one record or more.
        second: (n_records,) the same by the other model.
        confidence: in (0, 1).
        unit: (n_records,) or None.

    Source: the p-value of McNemar 1947, Psychometrika 12, in its exact form; with units
    it is read off the intervals. The interval: Zou and Donner 2008, Statistics in
    Medicine 27, of limits of Clopper and Pearson.
    """
    lost, gained = first & ~second, second & ~first
    shares = float(lost.mean()), float(gained.mean())
    # Of two outcomes of one trial.
    odds = [value / (1 - value) if value < 1 else 0.0 for value in shares]
    correlation = -math.sqrt(odds[0] * odds[1])
    shared = units.shared(unit)

    def interval_at(level: float) -> Interval:
        limits = [intervals.rate(each, level, shared) for each in (lost, gained)]
        return _combined(shares, (limits[0], limits[1]), correlation)

    values = float(first.mean()), float(second.mean())
    change = Change(*values, shares[1] - shares[0], interval_at(confidence), 1.0)
    n_changed = int(lost.sum() + gained.sum())
    if not n_changed:
        return change
    if shared is not None:
        return change._replace(p_value=_p_value(change.difference, interval_at))
    p = float(stats.binomtest(int(gained.sum()), n_changed).pvalue)
    return change._replace(p_value=p)


def unchanged(value: float) -> Change:
    """Return the change of a figure that is the same for certain."""
    return Change(value, value, 0.0, Interval(0.0, 0.0), 1.0)


def _inverted(
    values: tuple[float, float],
    interval_at: Callable[[float], Interval],
    confidence: float,
) -> Change:
    """Return a change whose p-value is read off its intervals."""
    difference = values[1] - values[0]
    p = _p_value(difference, interval_at)
    return Change(*values, difference, interval_at(confidence), p)


def _p_value(difference: float, interval_at: Callable[[float], Interval]) -> float:
    """Return the smallest level at which an interval of a difference excludes zero."""

    def excludes(level: float) -> bool:
        low, high = interval_at(1 - level)
        return low > 0 or high < 0

    if not difference:
        return 1.0
    if excludes(LEAST_P):
        return LEAST_P
    low, high = LEAST_P, 1.0
    while high > low * P_FACTOR:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if excludes(middle) else (middle, high)
    return high


def _combined(
    values: tuple[float, float],
    limits: tuple[Interval, Interval],
    correlation: float,
) -> Interval:
    """Return the interval of the second of two values less the first.

    Args:
        values: of either.
        limits: of either.
        correlation: of the estimates, in [-1, 1]; -1 is right of any, though long.

    Source: Zou and Donner 2008, Statistics in Medicine 27, 1693-1702.
    """
    (first, second), (of_first, of_second) = values, limits

    def reach(below: float, above: float) -> float:
        # Limits of a rate at a level near 1 may lie on one side of the rate.
        a, b = max(below, 0.0), max(above, 0.0)
        return math.sqrt(max(a**2 + b**2 - 2 * correlation * a * b, 0.0))

    down = reach(second - of_second.low, of_first.high - first)
    up = reach(of_second.high - second, first - of_first.low)
    difference = second - first
    return Interval(max(difference - down, -1.0), min(difference + up, 1.0))


def _correlation(
    first: NDArray[np.bool_], second: NDArray[np.bool_], unit: Units
) -> float:
    """Return the correlation of two shares of the same records; 0 of a sure one."""
    groups = units.grouped(unit, len(first))
    parts = [units.totals(groups, values - values.mean()) for values in (first, second)]
    scale = math.sqrt(float((parts[0] ** 2).sum()) * float((parts[1] ** 2).sum()))
    return float((parts[0] * parts[1]).sum()) / scale if scale else 0.0
