"""Metrics: how well scores and decisions separate members from non-members."""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom, mannwhitneyu, rankdata

# 0.1 of 70 is 7, though not in floating point.
EPSILON = 1e-12
TOP = 0.01  # of the records, among which members are counted
# Records expected on the smaller side that depart from the commonest score: with fewer,
# ranks are not normal.
UNCOMMON = 20
MOST_EXACT = 10_000  # pairs of records


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
) -> float:
    """Return the standard error of the difference of two AUCs on the same records.

    Args:
        score: (n_records,) higher for a likelier member.
        other_score: (n_records,) another attack's, of the same records.
        member: (n_records,) whether a record is a member; two of either side or more.

    Source: DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44(3), equation 3.
    """
    sides = zip(placements(score, member), placements(other_score, member), strict=True)
    variances = [float(np.var(a - b, ddof=1)) / len(a) for a, b in sides]
    return math.sqrt(sum(variances))


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
    others = np.sort(score[~member])[::-1]
    allowed = false_positives_allowed(len(others), rate)
    if not allowed or not member.any():
        return None
    threshold = others[allowed] if allowed < len(others) else -np.inf
    return float(np.mean(score[member] > threshold))


def false_positives_allowed(n_nonmembers: int, rate: float) -> int:
    """Return the most false positives at which their rate is at most `rate`."""
    return math.floor(rate * n_nonmembers * (1 + EPSILON))


def p_value(score: NDArray[np.floating[Any]], member: NDArray[np.bool_]) -> float:
    """Return how likely noise is to do as well as these scores.

    A leak may show in the order of all records or in a few members at the top. So two
    tests are made: that of Mann and Whitney, and that of the number of members among
    the hundredth of the records that score highest, which is hypergeometric if the
    scores are random. Of records that tie for that hundredth, non-members come first.

    Args:
        score: (n_records,) higher for a likelier member.
        member: (n_records,) whether a record is a member; some are and some are not.

    Returns:
        Twice the smaller of the two one-sided p-values (Bonferroni), at most 1.
    """
    n_members, n_top = int(member.sum()), math.ceil(TOP * len(score))
    top = np.lexsort((member, -score))[:n_top]
    hits = int(member[top].sum())
    by_top = float(hypergeom.sf(hits - 1, len(score), n_members, n_top))
    return min(1.0, 2 * min(_by_order(score, member, "greater"), by_top))


def compatibility(score: NDArray[np.floating[Any]], member: NDArray[np.bool_]) -> float:
    """Return the two-sided p-value of an AUC as far from one half.

    Args:
        score: (n_records,) any.
        member: (n_records,) some are and some are not.

    Source: Mann and Whitney 1947, with the correction for ties.
    """
    return _by_order(score, member, "two-sided")


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
    alternative: Literal["greater", "less", "two-sided"],
) -> float:
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
