"""Intervals: between which values a metric lies, as far as the records can tell.

Every interval is two-sided. The records are taken as drawn independently, members and
non-members in fixed numbers, which may differ; or, with units, the units are.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from scipy.optimize import brentq

from pipeline.statistics import metrics, units
from pipeline.statistics.units import Units

# Probability below which a number of non-members above a threshold is left out.
NEVER = 1e-9
# Departing records of a side with which its variance can be estimated; see `auc`.
FEW = 30
# The same of a rate: units with the rarer outcome.
FEW_UNITS = 10


class Interval(NamedTuple):
    """The ends of an interval."""

    low: float
    high: float


def lower_limit(
    hits: float | NDArray[np.floating[Any]], n_trials: float, tail: float
) -> NDArray[np.float64]:
    """Return the rates at which so many hits or more have probability `tail`.

    Args:
        hits: any number of counts, whole or not, of the trials.
        n_trials: independent; whole or not, too.
        tail: in (0, 1).

    Source: Clopper and Pearson 1934, Biometrika 26(4).
    """
    number = np.asarray(hits, dtype=np.float64)
    some = np.where(number > 0, number, 1.0)
    limit = special.betaincinv(some, n_trials - some + 1, tail)
    return np.where(number > 0, limit, 0.0)


def clopper_pearson(hits: int, n_trials: int, confidence: float) -> Interval:
    """Return the interval of a rate, which covers it at least as often as said.

    Args:
        hits: of the trials.
        n_trials: independent; of equal rates, or of several rates whose mean is
            covered, then all the more often (Hoeffding 1956).
        confidence: in (0, 1).

    Raises:
        ValueError: if there is no trial, or more hits than trials.

    Source: Clopper and Pearson 1934, Biometrika 26(4).
    """
    if not 0 <= hits <= n_trials or not n_trials:
        msg = f"a rate needs trials and as many hits at most, got {hits} of {n_trials}"
        raise ValueError(msg)
    tail = (1 - confidence) / 2
    low = lower_limit(hits, n_trials, tail)
    high = 1 - lower_limit(n_trials - hits, n_trials, tail)
    return Interval(float(low), float(high))


def rate(hit: NDArray[np.bool_], confidence: float, unit: Units = None) -> Interval:
    """Return the interval of the share of hits.

    It is that of Clopper and Pearson, with units for so many trials as these are worth.

    Args:
        hit: (n_trials,) whether each is one.
        confidence: in (0, 1).
        unit: (n_trials,) or None.

    Raises:
        ValueError: if there is no trial.

    Source: Clopper and Pearson 1934, Biometrika 26(4); with units as `worth`.
    """
    shared = units.shared(unit)
    if shared is None:
        return clopper_pearson(int(hit.sum()), len(hit), confidence)
    n, tail, share = worth(hit, confidence, shared), (1 - confidence) / 2, hit.mean()
    low = float(lower_limit(share * n, n, tail))
    return Interval(low, 1 - float(lower_limit((1 - share) * n, n, tail)))


def worth(hit: NDArray[np.bool_], confidence: float, unit: Units) -> float:
    """Return how many independent trials a rate of trials with units is worth.

    It is the number at which independent trials would have the variance that the units
    show, corrected for how roughly they show it; never more than the trials. Where
    fewer than `FEW_UNITS` units have the rarer outcome, they show nothing, and the
    trials of a unit count as all alike.

    Args:
        hit: (n_trials,) whether each is one.
        confidence: of the interval that it is for, in (0, 1).
        unit: (n_trials,) or None.

    Source: Korn and Graubard 1998, Survey Methodology 24(2), 193-201; the variance is
    that of a ratio of sums over clusters, Cochran 1977, Sampling Techniques, 3rd ed.,
    section 3.12. They take few hits for independent; alike is safer.
    """
    n, shared = len(hit), units.shared(unit)
    if shared is None:
        return float(n)
    groups, share = units.grouped(shared, n), float(hit.mean())
    rarer = hit if share <= 0.5 else ~hit
    n_units = len(groups.first)
    if np.count_nonzero(units.totals(groups, rarer)) < FEW_UNITS:
        return units.effective(shared, n)
    scatter = float((units.totals(groups, hit - share) ** 2).sum())
    variance = scatter * n_units / (n_units - 1) / n**2
    tail = (1 - confidence) / 2
    rough = float(stats.t.isf(tail, n - 1) / stats.t.isf(tail, n_units - 1))
    if not variance:
        return float(n)
    return min(share * (1 - share) / variance * rough**2, float(n))


def auc(
    score: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
    confidence: float,
    unit: Units = None,
) -> Interval:
    """Return the interval of the AUC.

    It is DeLong's, on the scale of log-odds and with Student's quantile: near 1, and
    with few records, the plain normal interval covers far less often than it says.
    Where fewer than `FEW` records of a side depart from the placement that most of the
    side has, the variance cannot be estimated. Then the limits are those of a rate with
    as many trials as the smaller side has records, which varies at least as much. With
    units, the variance is Obuchowski's, units that depart are counted, and a side has
    as many trials as its records are worth if those of a unit are all alike.

    Args:
        score: (n_records,) higher for a likelier member.
        member: (n_records,) whether a record is a member; some are and some are not.
        confidence: in (0, 1).
        unit: (n_records,) or None.

    Source: DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44(3), equation 3, and
    Obuchowski 1997, Biometrics 53(2); on log-odds as in Pepe 2003, section 5.2.4;
    freedom of Welch 1947, Biometrika 34; the largest variance of Birnbaum and Klose
    1957, Annals of Mathematical Statistics 28.
    """
    sides = metrics.placements(score, member)
    unit = units.shared(unit)
    units_of = units.of(unit, member), units.of(unit, ~member)
    value, tail = float(sides[0].mean()), (1 - confidence) / 2
    pairs = list(zip(sides, units_of, strict=True))
    is_few = any(departing(side, own) < FEW for side, own in pairs)
    variance = None if is_few else metrics.auc_variance(*sides, member, unit)
    if variance is None or variance.total <= 0:
        n = min(units.effective(own, len(side)) for side, own in pairs)
        low = float(lower_limit(value * n, n, tail))
        return Interval(low, 1 - float(lower_limit((1 - value) * n, n, tail)))
    reach = float(stats.t.isf(tail, _freedom(variance))) * math.sqrt(variance.total)
    centre, step = math.log(value / (1 - value)), reach / (value * (1 - value))
    return Interval(_logistic(centre - step), _logistic(centre + step))


def _freedom(variance: metrics.Variance) -> float:
    """Return the degrees of freedom of a variance of two parts, by Welch."""
    return sum(variance.parts) ** 2 / sum(
        part**2 / (n - 1)
        for part, n in zip(variance.parts, variance.numbers, strict=True)
    )


def departing(side: NDArray[np.float64], unit: Units) -> int:
    """Return how many units depart from the commonest placement of their side.

    Args:
        side: (n_records,) placements, or how these changed.
        unit: (n_records,) or None: records are counted.
    """
    values, counts = np.unique(side, return_counts=True)
    departs = side != values[counts.argmax()]
    if unit is None:
        return int(departs.sum())
    return len(np.unique(unit[departs]))


def auc_difference(
    score: NDArray[np.floating[Any]],
    other_score: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
    confidence: float,
    unit: Units = None,
) -> Interval:
    """Return the interval of the AUC of scores less that of others on the same records.

    Args:
        score: (n_records,) higher for a likelier member.
        other_score: (n_records,) another attack's, of the same records.
        member: (n_records,) whether a record is a member; some are and some are not.
        confidence: in (0, 1).
        unit: (n_records,) or None.

    Returns:
        All differences there are, -1 to 1, if a side has a single record or unit.

    Source: as `metrics.auc_difference_error`, with the normal law.
    """
    if units.fewest(unit, member) < 2:
        return Interval(-1.0, 1.0)
    difference = metrics.auc(score, member) - metrics.auc(other_score, member)
    error = metrics.auc_difference_error(score, other_score, member, unit)
    reach = float(stats.norm.isf((1 - confidence) / 2)) * error
    return Interval(difference - reach, difference + reach)


def mean_difference(
    values: NDArray[np.float64],
    member: NDArray[np.bool_],
    confidence: float,
    unit: Units = None,
) -> Interval:
    """Return the interval of the mean of non-members less that of members.

    Args:
        values: (n_records,) any.
        member: (n_records,) whether a record is a member; two of either side or more.
        confidence: in (0, 1).
        unit: (n_records,) or None; two of either side or more.

    Source: Welch 1947, Biometrika 34, Student's law for unequal variances; with units
    as `metrics.auc_variance`, of values in place of placements.
    """
    inside, outside = values[member], values[~member]
    difference = float(outside.mean() - inside.mean())
    variance = metrics.auc_variance(-inside, outside, member, unit)
    if not sum(variance.parts):
        return Interval(difference, difference)
    # A covariance so uncertain that nothing of the variance is left is not believed.
    total = variance.total if variance.total > 0 else sum(variance.parts)
    tail = (1 - confidence) / 2
    reach = float(stats.t.isf(tail, _freedom(variance))) * math.sqrt(total)
    return Interval(difference - reach, difference + reach)


def advantage(
    decision: NDArray[np.bool_],
    member: NDArray[np.bool_],
    confidence: float,
    unit: Units = None,
) -> Interval:
    """Return the interval of the true-positive less the false-positive rate.

    Its reach is the root of the summed squares of the two rates' own reaches.

    Args:
        decision: (n_records,) whether a record was taken for a member.
        member: (n_records,) whether it is one; some are and some are not.
        confidence: in (0, 1).
        unit: (n_records,) or None. A unit on both sides makes the difference vary
            less, and the interval rather too long.

    Raises:
        ValueError: as `rate`.

    Source: Newcombe 1998, Statistics in Medicine 17, 873-890, method 10, with limits of
    Clopper and Pearson in place of Wilson's.
    """
    of_inside, of_outside = (
        rate(decision[side], confidence, units.of(unit, side))
        for side in (member, ~member)
    )
    inside, outside = float(decision[member].mean()), float(decision[~member].mean())
    down = math.hypot(inside - of_inside.low, of_outside.high - outside)
    up = math.hypot(of_inside.high - inside, outside - of_outside.low)
    value = inside - outside
    return Interval(max(value - down, -1.0), min(value + up, 1.0))


def tpr_at_fpr(
    score: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
    rate: float,
    confidence: float,
    unit: Units = None,
) -> Interval | None:
    """Return the interval of the share of members above the threshold of a rate.

    The threshold is the one of all possible non-members, and the non-members at hand
    only show roughly where it lies: the number of them above it is binomial. For each
    such number, the members above are counted, fewest and most; the limits are those of
    Clopper and Pearson averaged over the numbers. Intervals that take the threshold as
    known, or resample it as the bootstrap does, are far too short where few non-members
    lie above. With units, as many of either side count as they are worth by what lies
    above the threshold of the non-members at hand.

    Args:
        score: (n_records,) higher for a likelier member.
        member: (n_records,) whether a record is a member.
        rate: share of non-members above the threshold.
        confidence: in (0, 1).
        unit: (n_records,) or None.

    Returns:
        None where fewer than 1/rate non-members cannot measure it.
    """
    inside, others = np.sort(score[member]), np.sort(score[~member])[::-1]
    n, n_others = len(inside), len(others)
    threshold = metrics.threshold_at_fpr(score, member, rate)
    if threshold is None:
        return None
    highest = score > threshold
    n_worth, n_others_worth = (
        worth(highest[side], confidence, units.of(unit, side))
        for side in (member, ~member)
    )
    # Whole non-members are counted; each stands for so many that are at hand.
    n_counted = max(math.floor(n_others_worth), 1)
    each = n_others / n_counted
    law = stats.binom(n_counted, rate)
    above = np.arange(law.ppf(NEVER), law.isf(NEVER) + 1).astype(np.int64)
    weight = law.pmf(above)
    # With k non-members above it, the threshold lies between the next one and the k-th.
    # Of non-members that tie with it, some may be counted as above.
    place_kth = np.floor(above * each).astype(np.int64)
    place_next = np.minimum(np.ceil((above + 1) * each).astype(np.int64), n_others)
    kth = others[np.maximum(place_kth - 1, 0)]
    following = others[place_next - 1]
    fewest = np.where(above > 0, n - np.searchsorted(inside, kth, side="right"), 0)
    most = n - np.searchsorted(inside, following, side="right")
    most = np.where(above < n_counted, most, n)
    tail = (1 - confidence) / 2
    fewest_worth, most_worth = fewest * (n_worth / n), most * (n_worth / n)

    def excess_low(share: float) -> float:
        return float(weight @ _at_least(fewest_worth, n_worth, share)) - tail

    def excess_high(share: float) -> float:
        return float(weight @ (1 - _at_least(most_worth + 1, n_worth, share))) - tail

    low = 0.0 if excess_low(0.0) >= 0 else _root(excess_low)
    high = 1.0 if excess_high(1.0) >= 0 else _root(excess_high)
    return Interval(low, high)


def _at_least(
    hits: NDArray[np.float64], n_trials: float, share: float
) -> NDArray[np.float64]:
    """Return how likely so many hits or more are, which need not be whole numbers."""
    some = np.clip(hits, np.finfo(float).tiny, n_trials)
    likely = special.betainc(some, n_trials - some + 1, share)
    return np.where(hits <= 0, 1.0, np.where(hits > n_trials, 0.0, likely))


def _root(excess: Callable[[float], float]) -> float:
    return float(brentq(excess, 0.0, 1.0, xtol=1e-9))


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0
