"""Thresholds: scores of the target alone, to be compared with one number.

Every score is higher for a likelier member.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def log_softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return (n_records, n_classes) log-probabilities in nats, in float64."""
    wide = np.asarray(logits, dtype=np.float64)
    shifted = wide - wide.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def confidence(margin: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the log of the true-class probability.

    Args:
        margin: (n_records,) log(p / (1 − p)), in nats.

    Source: Salem et al. 2019, arXiv:1806.01246.
    """
    return -np.logaddexp(0.0, -np.asarray(margin, dtype=np.float64))


def entropy(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return Σ p log p, in nats: a sure prediction makes a member, right or wrong.

    Args:
        logits: (n_records, n_classes).

    Source: Salem et al. 2019, arXiv:1806.01246; Song and Mittal 2021, equation 7.
    """
    log_p = log_softmax(logits)
    return np.asarray((np.exp(log_p) * log_p).sum(axis=1))


def modified_entropy(
    logits: NDArray[np.floating[Any]], label: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Return (1 − p_y) log p_y + Σ_{i≠y} p_i log(1 − p_i), in nats.

    Args:
        logits: (n_records, n_classes).
        label: (n_records,) true classes y.

    Source: Song and Mittal 2021, arXiv:2003.10595, equation 8, negated.
    """
    log_p = log_softmax(logits)
    own = np.arange(log_p.shape[1]) == np.asarray(label)[:, None]
    # log(1 − p): of the largest p from all the others, which neither cancels nor
    # underflows; of any other p from p itself.
    at_top = np.arange(log_p.shape[1]) == log_p.argmax(axis=1)[:, None]
    of_others = np.where(at_top, -np.inf, log_p)
    rest = np.logaddexp.reduce(of_others, axis=1)
    p = np.exp(log_p)
    log_others = np.where(at_top, rest[:, None], np.log1p(-np.where(at_top, 0.0, p)))
    terms = np.where(own, np.exp(log_others) * log_p, p * log_others)
    return np.asarray(terms.sum(axis=1))


def correctness(
    logits: NDArray[np.floating[Any]], label: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Return 1 where the prediction is right, else 0: the gap attack.

    Source: Yeom et al. 2018, arXiv:1709.01604.
    """
    return np.asarray(np.argmax(logits, axis=1) == label, dtype=np.float64)


def best_threshold(
    score: NDArray[np.floating[Any]], member: NDArray[np.bool_]
) -> float:
    """Return the threshold of the highest balanced accuracy; members lie above it.

    Of equally good ones it is the highest, halfway to the next score.

    Args:
        score: (n_records,) of records whose membership is known.
        member: (n_records,) it.

    Raises:
        ValueError: if members or non-members are missing.
    """
    n_members = int(member.sum())
    if not 0 < n_members < len(member):
        msg = f"a threshold needs both sides, got {n_members} of {len(member)}"
        raise ValueError(msg)
    order = np.argsort(-score, kind="stable")
    ranked, sides = score[order], member[order]
    gained = np.where(sides, 1 / n_members, -1 / (len(member) - n_members))
    advantage = np.concatenate(([0.0], np.cumsum(gained)))
    # Only between different scores can a threshold lie.
    ends = np.concatenate(([True], ranked[1:] != ranked[:-1], [True]))
    place = int(np.argmax(np.where(ends, advantage, -np.inf)))
    if place == 0:
        return float(ranked[0])
    if place == len(ranked):
        return float(np.nextafter(ranked[-1], -np.inf))
    # Written so that it cannot overflow, nor round up to the higher score.
    middle = ranked[place] / 2 + ranked[place - 1] / 2
    return float(middle if middle < ranked[place - 1] else ranked[place])


def per_class(
    score: NDArray[np.floating[Any]],
    label: NDArray[np.integer[Any]],
    known: NDArray[np.bool_],
    member: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the score minus the best threshold of the record's class.

    A class that lacks known members or non-members has the threshold of all.

    Args:
        score: (n_records,).
        label: (n_records,) classes.
        known: (n_records,) whose membership may be used.
        member: (n_records,) memberships; those not known are not looked at.

    Source: Song and Mittal 2021, arXiv:2003.10595, section 3.
    """
    out = score - best_threshold(score[known], member[known])
    for one in np.unique(label):
        own = label == one
        rows = own & known
        if 0 < member[rows].sum() < rows.sum():
            out[own] = score[own] - best_threshold(score[rows], member[rows])
    return np.asarray(out)
