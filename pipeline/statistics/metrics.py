"""Metrics: how well scores and decisions separate members from non-members."""

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.stats import hypergeom, mannwhitneyu, rankdata

from pipeline.statistics import units
from pipeline.statistics.units import Units

# 0.1 of 70 is 7, though not in floating point.
EPSILON = 1e-12
TOP = 0.01  # of the records, among which members are counted
# Records expected on the smaller side that depart from the commonest score: with fewer,
# ranks are not normal.
UNCOMMON = 20
MOST_EXACT = 10_000  # pairs of records
Alternative = Literal["greater", "less", "two-sided"]


def accuracy(decision: NDArray[np.bool_], member: NDArray[np.bool_]) -> float:
    """Return the share of right decisions.

    Args:
        decision: (n_records,) whether a record was taken for a member.
        member: (n_records,) whether it is a member.
    """
    return float(np.mean(decision == member))


def precision(decision: NDArray[np.bool_], member: NDArray[np.bool_]) -> float | None:
    """Return the share of members among the records taken for members.

    Args:
        decision: (n_records,) whether a record was taken for a member.
        member: (n_records,) whether it is a member.

    Returns:
        A rate, or None where no record was taken for a member.
    """
    return float(np.mean(member[decision])) if decision.any() else None


def precision_at_base_rate(tpr: float, fpr: float, base_rate: float) -> float | None:
    """Return the share of members among the records that would be taken for members.

    Args:
        tpr: share of the members that are taken for members.
        fpr: share of the non-members that are.
        base_rate: share of members among the records that are met.

    Returns:
        A rate, or None where no record is taken for a member.

    Source: Bayes' rule; Jayaraman et al. 2021, arXiv:2005.10881, on skewed priors.
    """
    hits, alarms = base_rate * tpr, (1 - base_rate) * fpr
    return hits / (hits + alarms) if hits + alarms else None


def recall(decision: NDArray[np.bool_], member: NDArray[np.bool_]) -> float | None:
    """Return the share of members that were taken for members.

    Args:
        decision: (n_records,) whether a record was taken for a member.
        member: (n_records,) whether it is a member.

    Returns:
        A rate, or None where there are no members.
    """
    return float(np.mean(decision[member])) if member.any() else None


def balanced_accuracy(decision: NDArray[np.bool_], member: NDArray[np.bool_]) -> float:
    """Return the mean of the shares of members and of non-members that are right.

    Args:
        decision: (n_records,) whether a record was taken for a member.
        member: (n_records,) whether it is a member; some are and some are not.
    """
    return float(np.mean(decision[member]) + np.mean(~decision[~member])) / 2


def advantage(decision: NDArray[np.bool_], member: NDArray[np.bool_]) -> float:
    """Return the true-positive less the false-positive rate, in [-1, 1].

    Args:
        decision: (n_records,) whether a record was taken for a member.
        member: (n_records,) whether it is a member; some are and some are not.

    Source: Yeom et al. 2018, arXiv:1709.01604, definition 4.
    """
    return 2 * balanced_accuracy(decision, member) - 1


def auc(score: NDArray[np.floating[Any]], member: NDArray[np.bool_]) -> float:
    """Return the probability that a member outscores a non-member, ties counted half.

    Args:
        score: (n_records,) higher for a likelier member.
        member: (n_records,) whether a record is a member.

    Raises:
        ValueError: if members or non-members are missing.

    Source: Mann and Whitney 1947; Hanley and McNeil 1982, Radiology 143(1).
    """
    n_members = int(member.sum())
    n_nonmembers = len(member) - n_members
    if not n_members or not n_nonmembers:
        msg = f"AUC needs both sides, got {n_members} members of {len(member)} records"
        raise ValueError(msg)
    rank_sum = rankdata(score)[member].sum()
    wins = rank_sum - n_members * (n_members + 1) / 2
    return float(wins / (n_members * n_nonmembers))


def auc_difference_error(
    score: NDArray[np.floating[Any]],
    other_score: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
    unit: Units = None,
) -> float:
    """Return the standard error of the difference of two AUCs on the same records.

    Args:
        score: (n_records,) higher for a likelier member.
        other_score: (n_records,) another attack's, of the same records.
        member: (n_records,) whether a record is a member; two of either side or more.
        unit: (n_records,) or None; two of either side or more.

    Source: DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44(3), equation 3; with
    units as `auc_variance`.
    """
    pairs = zip(placements(score, member), placements(other_score, member), strict=True)
    inside, outside = (a - b for a, b in pairs)
    return math.sqrt(max(auc_variance(inside, outside, member, unit).total, 0.0))


class Variance(NamedTuple):
    """The variance of an AUC, or of a difference of two, and what it is made of."""

    parts: tuple[float, float]  # of members and of non-members
    numbers: tuple[int, int]  # units with members, and with non-members
    covariance: float  # twice that of both parts; 0 without units on both sides

    @property
    def total(self) -> float:
        """The variance; below 0 where units on both sides make it too uncertain."""
        return sum(self.parts) + self.covariance


def auc_variance(
    inside: NDArray[np.float64],
    outside: NDArray[np.float64],
    member: NDArray[np.bool_],
    unit: Units = None,
) -> Variance:
    """Return the variance of the mean of placements.

    Args:
        inside: (n_members,) placements of members; see `placements`.
        outside: (n_nonmembers,) of non-members.
        member: (n_records,) whether a record is a member.
        unit: (n_records,) or None; two of either side or more.

    Source: DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44(3), equation 3; with
    units Obuchowski 1997, Biometrics 53(2), 567-578, which is the same where each
    record is a unit.
    """
    shared = units.shared(unit)
    if shared is None:
        own = [float(np.var(side, ddof=1)) / len(side) for side in (inside, outside)]
        return Variance((own[0], own[1]), (len(inside), len(outside)), 0.0)
    groups = units.grouped(shared, len(member))
    sums, numbers, parts = [], [], []
    for side, placed in ((member, inside), (~member, outside)):
        away = np.zeros(len(member))
        away[side] = placed - placed.mean()
        total, n = units.totals(groups, away), len(placed)
        n_units = int(np.count_nonzero(units.totals(groups, side)))
        sums.append(total / n)
        numbers.append(n_units)
        scatter = float((total**2).sum()) / n**2
        parts.append(scatter * n_units / (n_units - 1))
    n_all = len(groups.first)
    together = float((sums[0] * sums[1]).sum()) * n_all / (n_all - 1)
    return Variance((parts[0], parts[1]), (numbers[0], numbers[1]), 2 * together)


def placements(
    score: NDArray[np.floating[Any]], member: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the share of the other side that each record is ordered rightly with.

    The mean over either side is the AUC, and the variances give the AUC's variance.

    Args:
        score: (n_records,) higher for a likelier member.
        member: (n_records,) whether a record is a member.

    Returns:
        (n_members,) the share of non-members below each member, ties counted half, and
        (n_nonmembers,) the share of members above each non-member.

    Source: DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44(3), section 3.
    """
    rank = rankdata(score)
    inside = rank[member] - rankdata(score[member])
    outside = rank[~member] - rankdata(score[~member])
    return inside / (~member).sum(), 1 - outside / member.sum()


def tpr_at_fpr(
    score: NDArray[np.floating[Any]], member: NDArray[np.bool_], rate: float
) -> float | None:
    """Return the share of members above the lowest threshold that is allowed.

    It is the last point of the ROC curve whose false-positive rate is at most `rate`;
    between points nothing is interpolated.

    Args:
        score: (n_records,) higher for a likelier member.
        member: (n_records,) whether a record is a member.
        rate: largest share of non-members above the threshold.

    Returns:
        A rate, or None where fewer than 1/rate non-members cannot measure it.
    """
    threshold = threshold_at_fpr(score, member, rate)
    return None if threshold is None else float(np.mean(score[member] > threshold))


def threshold_at_fpr(
    score: NDArray[np.floating[Any]], member: NDArray[np.bool_], rate: float
) -> float | None:
    """Return the lowest threshold above which no more non-members lie than allowed.

    Args:
        score: (n_records,) higher for a likelier member.
        member: (n_records,) whether a record is a member.
        rate: largest share of non-members above the threshold.

    Returns:
        A score, or minus infinity where all non-members may lie above. None where there
        are no members, or fewer than 1/rate non-members cannot measure it.
    """
    others = np.sort(score[~member])[::-1]
    allowed = false_positives_allowed(len(others), rate)
    if not allowed or not member.any():
        return None
    return float(others[allowed]) if allowed < len(others) else -math.inf


def false_positives_allowed(n_nonmembers: int, rate: float) -> int:
    """Return the most false positives at which their rate is at most `rate`."""
    return math.floor(rate * n_nonmembers * (1 + EPSILON))


def p_value(
    score: NDArray[np.floating[Any]], member: NDArray[np.bool_], unit: Units = None
) -> float:
    """Return how likely noise is to do as well as these scores.

    A leak may show in the order of all records or in a few members at the top. So two
    tests are made: that of Mann and Whitney, and that of the number of members among
    the hundredth of the records that score highest, which is hypergeometric if the
    scores are random. Of records that tie for that hundredth, non-members come first.

    With units, the order is tested by the sums of their ranks, see `_by_sums`, and the
    top among one record of each unit.

    Args:
        score: (n_records,) higher for a likelier member.
        member: (n_records,) whether a record is a member; some are and some are not.
        unit: (n_records,) or None.

    Returns:
        Twice the smaller of the two one-sided p-values (Bonferroni), at most 1.
    """
    by_order = _by_order(score, member, "greater", unit)
    own = units.one_of_each(units.shared(unit), len(score))
    alone, inside = score[own], member[own]
    n_members, n_top = int(inside.sum()), math.ceil(TOP * len(alone))
    top = np.lexsort((inside, -alone))[:n_top]
    hits = int(inside[top].sum())
    by_top = float(hypergeom.sf(hits - 1, len(alone), n_members, n_top))
    return min(1.0, 2 * min(by_order, by_top))


def compatibility(
    score: NDArray[np.floating[Any]], member: NDArray[np.bool_], unit: Units = None
) -> float:
    """Return the two-sided p-value of an AUC as far from one half.

    Args:
        score: (n_records,) any.
        member: (n_records,) some are and some are not.
        unit: (n_records,) or None.

    Source: Mann and Whitney 1947, with the correction for ties; with units `_by_sums`.
    """
    return _by_order(score, member, "two-sided", unit)


def few_differ(score: NDArray[np.floating[Any]], member: NDArray[np.bool_]) -> bool:
    """Return whether nearly all scores are equal.

    So few of the other scores are expected on the smaller side that the rank sum is not
    normally distributed.

    Args:
        score: (n_records,) any.
        member: (n_records,) some are and some are not.
    """
    _, counts = np.unique(score, return_counts=True)
    fewest = min(int(member.sum()), int((~member).sum()))
    others = len(score) - int(counts.max())
    return bool(others * fewest < UNCOMMON * len(score))


def _by_order(
    score: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
    alternative: Alternative,
    unit: Units = None,
) -> float:
    if (score == score[0]).all():
        return 1.0
    shared = units.shared(unit)
    if shared is not None:
        own = units.one_of_each(shared, len(score))
        inside = member[own]
        if not 0 < inside.sum() < len(own):
            return 1.0
        if not few_differ(score[own], inside):
            return _by_sums(score, member, alternative, shared)
        score, member = score[own], inside
        if (score == score[0]).all():
            return 1.0
    # Only the order counts; by ranks, scores may be infinite or huge.
    rank = rankdata(score)
    if few_differ(score, member):
        if alternative == "two-sided":
            both = (_by_order(score, member, side) for side in ("greater", "less"))
            return min(1.0, 2 * min(both))
        # Where ties are broken against the claim there are none left, and the law of an
        # order without ties is known.
        against = ~member if alternative == "greater" else member
        rank[np.lexsort((against, score))] = np.arange(len(score))
    inside, outside = rank[member], rank[~member]
    # Of many pairs the exact law takes minutes.
    many = len(inside) * len(outside) > MOST_EXACT
    method = "asymptotic" if many else "auto"
    test = mannwhitneyu(inside, outside, alternative=alternative, method=method)
    return float(test.pvalue)


def _by_sums(
    score: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
    alternative: Alternative,
    unit: NDArray[np.integer[Any]],
) -> float:
    """Test the order of records that have units.

    The rank sum of members, less its mean, is a sum over records of rank × membership,
    either less its mean. Its part of each unit has mean zero if scores say nothing of
    memberships, however many records the unit has and on whichever side they stand,
    and the parts of different units are independent. So they are tested by Student's
    one-sample test.

    Source: Datta and Satten 2005, JASA 100(471), on rank sums of clustered records;
    Liang and Zeger 1986, Biometrika 73(1), on variances by sums over clusters.
    """
    groups = units.grouped(unit, len(score))
    rank = rankdata(score)
    away = (rank - rank.mean()) * (member - member.mean())
    parts = units.totals(groups, away)
    test = stats.ttest_1samp(parts, 0.0, alternative=alternative)
    return float(test.pvalue) if np.isfinite(test.pvalue) else 1.0
