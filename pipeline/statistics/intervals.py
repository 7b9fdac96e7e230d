"""Intervals: between which values a metric lies, as far as the records can tell.

Every interval is two-sided. The records are taken as drawn independently, members and
non-members in fixed numbers, which may differ.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from scipy.optimize import brentq

from pipeline.statistics import metrics

# Probability below which a number of non-members above a threshold is left out.
NEVER = 1e-9
# Departing records of a side with which its variance can be estimated; see `auc`.
FEW = 30


class Interval(NamedTuple):
    """The ends of an interval."""

    low: float
    high: float


def lower_limit(
    hits: float | NDArray[np.floating[Any]], n_trials: int, tail: float
) -> NDArray[np.float64]:
    """Return the rates at which so many hits or more have probability `tail`.

    Args:
        hits: any number of counts, whole or not, of the trials.
        n_trials: independent.
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


def auc(
    score: NDArray[np.floating[Any]], member: NDArray[np.bool_], confidence: float
) -> Interval:
    """Return the interval of the AUC.

    It is DeLong's, on the scale of log-odds and with Student's quantile: near 1, and
    with few records, the plain normal interval covers far less often than it says.
    Where fewer than `FEW` records of a side depart from the placement that most of the
    side has, the variance cannot be estimated. Then the limits are those of a rate with
    as many trials as the smaller side has records, which varies at least as much.

    Args:
        score: (n_records,) higher for a likelier member.
        member: (n_records,) whether a record is a member; some are and some are not.
        confidence: in (0, 1).

    Source: DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44(3), equation 3; on
    log-odds as in Pepe 2003, section 5.2.4; freedom of Welch 1947, Biometrika 34; the
    largest variance of Birnbaum and Klose 1957, Annals of Mathematical Statistics 28.
    """
    sides = metrics.placements(score, member)
    value, tail = float(sides[0].mean()), (1 - confidence) / 2
    if any(_departing(side) < FEW for side in sides):
        n = min(map(len, sides))
        low = float(lower_limit(value * n, n, tail))
        return Interval(low, 1 - float(lower_limit((1 - value) * n, n, tail)))
    parts = [float(np.var(side, ddof=1)) / len(side) for side in sides]
    variance = sum(parts)
    freedom = variance**2 / sum(
        part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True)
    )
    reach = float(stats.t.isf(tail, freedom)) * math.sqrt(variance)
    centre, step = math.log(value / (1 - value)), reach / (value * (1 - value))
    return Interval(_logistic(centre - step), _logistic(centre + step))


def _departing(side: NDArray[np.float64]) -> int:
    """Return how many records depart from the commonest placement of their side."""
    _, counts = np.unique(side, return_counts=True)
    return len(side) - int(counts.max())


def advantage(
    hits: int, n_members: int, alarms: int, n_nonmembers: int, confidence: float
) -> Interval:
    """Return the interval of the true-positive less the false-positive rate.

    Its reach is the root of the summed squares of the two rates' own reaches.

    Args:
        hits: members taken for members.
        n_members: in all.
        alarms: non-members taken for members.
        n_nonmembers: in all.
        confidence: in (0, 1).

    Raises:
        ValueError: as `clopper_pearson`.

    Source: Newcombe 1998, Statistics in Medicine 17, 873-890, method 10, with limits of
    Clopper and Pearson in place of Wilson's.
    """
    inside, outside = hits / n_members, alarms / n_nonmembers
    of_inside = clopper_pearson(hits, n_members, confidence)
    of_outside = clopper_pearson(alarms, n_nonmembers, confidence)
    down = math.hypot(inside - of_inside.low, of_outside.high - outside)
    up = math.hypot(of_inside.high - inside, outside - of_outside.low)
    value = inside - outside
    return Interval(max(value - down, -1.0), min(value + up, 1.0))


def tpr_at_fpr(
    score: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
    rate: float,
    confidence: float,
) -> Interval | None:
    """Return the interval of the share of members above the threshold of a rate.

    The threshold is the one of all possible non-members, and the non-members at hand
    only show roughly where it lies: the number of them above it is binomial. For each
    such number, the members above are counted, fewest and most; the limits are those of
    Clopper and Pearson averaged over the numbers. Intervals that take the threshold as
    known, or resample it as the bootstrap does, are far too short where few non-members
    lie above.

    Args:
        score: (n_records,) higher for a likelier member.
        member: (n_records,) whether a record is a member.
        rate: share of non-members above the threshold.
        confidence: in (0, 1).

    Returns:
        None where fewer than 1/rate non-members cannot measure it.
    """
    inside, others = np.sort(score[member]), np.sort(score[~member])[::-1]
    n, n_others = len(inside), len(others)
    if not metrics.false_positives_allowed(n_others, rate) or not n:
        return None
    law = stats.binom(n_others, rate)
    above = np.arange(law.ppf(NEVER), law.isf(NEVER) + 1).astype(np.int64)
    weight = law.pmf(above)
    # With k non-members above it, the threshold lies between the next one and the k-th.
    # Of non-members that tie with it, some may be counted as above.
    kth = others[np.maximum(above - 1, 0)]
    following = others[np.minimum(above, n_others - 1)]
    fewest = np.where(above > 0, n - np.searchsorted(inside, kth, side="right"), 0)
    most = n - np.searchsorted(inside, following, side="right")
    most = np.where(above < n_others, most, n)
    tail = (1 - confidence) / 2

    def excess_low(share: float) -> float:
        return float(weight @ stats.binom.sf(fewest - 1, n, share)) - tail

    def excess_high(share: float) -> float:
        return float(weight @ stats.binom.cdf(most, n, share)) - tail

    low = 0.0 if excess_low(0.0) >= 0 else _root(excess_low)
    high = 1.0 if excess_high(1.0) >= 0 else _root(excess_high)
    return Interval(low, high)


def _root(excess: Callable[[float], float]) -> float:
    return float(brentq(excess, 0.0, 1.0, xtol=1e-9))


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0
