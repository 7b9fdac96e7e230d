"""Metrics: how well scores and decisions tell members from non-members."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata


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
