"""Metrics: how well scores and decisions tell members from non-members."""

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
        member: (n_records,) whether it is one.
    """
    return float(np.mean(decision == member))


def precision(decision: NDArray[np.bool_], member: NDArray[np.bool_]) -> float | None:
    """Return the share of members among the records taken for members.

    Args:
        decision: (n_records,) whether a record was taken for a member.
        member: (n_records,) whether it is one.

    Returns:
        A rate, or None where no record was taken for a member.
    """
    return float(np.mean(member[decision])) if decision.any() else None


def recall(decision: NDArray[np.bool_], member: NDArray[np.bool_]) -> float | None:
    """Return the share of members that were taken for members.

    Args:
        decision: (n_records,) whether a record was taken for a member.
        member: (n_records,) whether it is one.

    Returns:
        A rate, or None where there are no members.
    """
    return float(np.mean(decision[member])) if member.any() else None


def balanced_accuracy(decision: NDArray[np.bool_], member: NDArray[np.bool_]) -> float:
    """Return the mean of the shares of members and of non-members that are right.

    Args:
        decision: (n_records,) whether a record was taken for a member.
        member: (n_records,) whether it is one; some are and some are not.
    """
    return float(np.mean(decision[member]) + np.mean(~decision[~member])) / 2


def advantage(decision: NDArray[np.bool_], member: NDArray[np.bool_]) -> float:
    """Return the true-positive less the false-positive rate, in [-1, 1].

    Args:
        decision: (n_records,) whether a record was taken for a member.
        member: (n_records,) whether it is one; some are and some are not.

    Source: Yeom et al. 2018, arXiv:1709.01604, definition 4.
    """
    return 2 * balanced_accuracy(decision, member) - 1


def auc(score: NDArray[np.floating[Any]], member: NDArray[np.bool_]) -> float:
    """Return the probability that a member outscores a non-member, ties counted half.

    Args:
        score: (n_records,) higher for a likelier member.
        member: (n_records,) whether a record is one.

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
    one: NDArray[np.floating[Any]],
    other: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
) -> float:
    """Return the standard error of the difference of two AUCs on the same records.

    Args:
        one: (n_records,) scores, higher for a likelier member.
        other: (n_records,) scores of the same records.
        member: (n_records,) whether a record is one; two of either side or more.

    Source: DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44(3), equation 3.
    """
    of_one, of_other = placements(one, member), placements(other, member)
    variances = [
        float(np.var(a - b, ddof=1)) / len(a)
        for a, b in zip(of_one, of_other, strict=True)
    ]
    return math.sqrt(sum(variances))


def placements(
    score: NDArray[np.floating[Any]], member: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how large a share of the other side each record is in order with.

    The mean of either is the AUC, and their variances are its variance.

    Args:
        score: (n_records,) higher for a likelier member.
        member: (n_records,) whether a record is one.

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
        member: (n_records,) whether a record is one.
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

    Two tests share the level, as a leak may show in the order of all records or in a
    few members at the top: that of Mann and Whitney, and the number of members among
    the hundredth of the records that score highest, which is hypergeometric if scores
    know nothing. Of records that tie for that hundredth the non-members come first.

    Args:
        score: (n_records,) higher for a likelier member.
        member: (n_records,) whether a record is one; some are and some are not.

    Returns:
        Twice the smaller of the two one-sided p-values, 1 at most.
    """
    n_members, n_top = int(member.sum()), math.ceil(TOP * len(score))
    top = np.lexsort((member, -score))[:n_top]
    hits = int(member[top].sum())
    by_top = float(hypergeom.sf(hits - 1, len(score), n_members, n_top))
    return min(1.0, 2 * min(_by_order(score, member, "greater"), by_top))


def compatibility(score: NDArray[np.floating[Any]], member: NDArray[np.bool_]) -> float:
    """Return how likely an AUC as far from one half on either side is by accident.

    Args:
        score: (n_records,) any.
        member: (n_records,) some are and some are not.

    Source: Mann and Whitney 1947, with the correction for ties.
    """
    return _by_order(score, member, "two-sided")


def few_differ(score: NDArray[np.floating[Any]], member: NDArray[np.bool_]) -> bool:
    """Return whether nearly all scores are one and the same.

    Of those that are not, so few are expected on the smaller side that the order of the
    records is not normally distributed.

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
    # The order decides; infinite or huge scores may stand for it.
    rank = rankdata(score)
    if few_differ(score, member):
        if alternative == "two-sided":
            both = (_by_order(score, member, side) for side in ("greater", "less"))
            return min(1.0, 2 * min(both))
        # Ties broken against the claim leave an order without ties, whose law is known.
        against = ~member if alternative == "greater" else member
        rank[np.lexsort((against, score))] = np.arange(len(score))
    inside, outside = rank[member], rank[~member]
    # Of many pairs the exact law takes minutes.
    many = len(inside) * len(outside) > MOST_EXACT
    method = "asymptotic" if many else "auto"
    found = mannwhitneyu(inside, outside, alternative=alternative, method=method)
    return float(found.pvalue)
