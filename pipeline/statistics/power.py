"""Power: the smallest leak that a test of so many records would have noticed.

The tests are those of `metrics.p_value`. Sizes of leaks are those of a model's whole
population of records; the records of an audit are drawn from it.
"""

import math

import numpy as np
from scipy.optimize import brentq
from scipy.stats import hypergeom, norm

from pipeline.statistics import intervals, metrics

# An AUC this close to 1 has practically no variance.
NEARLY_ONE = 1 - 1e-9


def smallest_auc(
    n_members: float, n_nonmembers: float, tail: float, power: float
) -> float | None:
    """Return the AUC that the test of Mann and Whitney notices with a probability.

    Its variance without a leak is that of ranks. With a leak it is that of scores whose
    two sides are exponential, which fits scores of many shapes.

    Args:
        n_members: that are judged, >= 1; or that theirs are worth, whole or not.
        n_nonmembers: likewise.
        tail: a one-sided p-value below this is a leak, in (0, 1/2).
        power: the probability, in [1/2, 1).

    Returns:
        An AUC in (1/2, 1), or None where not even an AUC of 1 would be noticed.

    Source: Hanley and McNeil 1982, Radiology 143(1), on both variances and the sample
    size; the continuity correction is that of SciPy's test.
    """
    pairs = n_members * n_nonmembers
    deviation = math.sqrt((n_members + n_nonmembers + 1) / (12 * pairs))
    critical = 0.5 + norm.isf(tail) * deviation + 0.5 / pairs
    quantile = norm.ppf(power)

    def excess(auc: float) -> float:
        error = _error(auc, n_members, n_nonmembers)
        return float(auc - quantile * error - critical)

    if excess(NEARLY_ONE) <= 0:
        return None
    return float(brentq(excess, 0.5, NEARLY_ONE, xtol=1e-9))


def _error(auc: float, n_members: float, n_nonmembers: float) -> float:
    """Return the standard error of an AUC by exponential scores."""
    # That two members outscore one non-member; that one member outscores two others.
    both_members = auc / (2 - auc)
    both_others = 2 * auc**2 / (1 + auc)
    variance = (
        auc * (1 - auc)
        + (n_members - 1) * (both_members - auc**2)
        + (n_nonmembers - 1) * (both_others - auc**2)
    )
    return math.sqrt(variance / (n_members * n_nonmembers))


def smallest_tpr(
    n_members: int, n_nonmembers: int, tail: float, power: float
) -> float | None:
    """Return the TPR that the test of the highest scores notices with a probability.

    It is that at a false-positive rate of `metrics.TOP`. The leak is taken as one whose
    members and non-members above the threshold of that rate stand in random order. A
    record of the hundredth that score highest is then a member with one probability.

    Args:
        n_members: that are judged.
        n_nonmembers: that are judged.
        tail: a one-sided p-value below this is a leak, in (0, 1/2).
        power: the probability, in [1/2, 1).

    Returns:
        A rate, or None where there are no members, non-members are too few to measure
        this false-positive rate, or not even a rate of 1 would be noticed.
    """
    if not n_members or not metrics.false_positives_allowed(n_nonmembers, metrics.TOP):
        return None
    n_records = n_members + n_nonmembers
    n_top = math.ceil(metrics.TOP * n_records)
    hits = np.arange(n_top + 1)
    noticed = hypergeom.sf(hits - 1, n_records, n_members, n_top) < tail
    if not noticed.any():
        return None
    share = float(intervals.lower_limit(int(hits[noticed][0]), n_top, power))
    if share >= 1:
        return None
    rate = metrics.TOP * n_nonmembers * share / (n_members * (1 - share))
    return rate if rate <= 1 else None
