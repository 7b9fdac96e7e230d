"""Thresholds: scores of the target alone, compared with a threshold.

Every score is higher for a likelier member.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pipeline.attacks import folds
from pipeline.attacks.view import Scored, View
from pipeline.signals import margins
from pipeline.statistics.units import Units

FOLDS = 5  # of the thresholds per class


def entropy(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return Σ p log p, in nats: a sure prediction makes a member, right or wrong.

    Args:
        logits: (n_records, n_classes).

    Source: Salem et al. 2019, arXiv:1806.01246; Song and Mittal 2021, equation 7.
    """
    log_p = special.log_softmax(np.asarray(logits, dtype=np.float64), axis=1)
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
    log_p = special.log_softmax(np.asarray(logits, dtype=np.float64), axis=1)
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

    Of equally good thresholds it is the highest, halfway to the next score.

    Args:
        score: (n_records,) of records whose membership is known.
        member: (n_records,) their memberships.

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
    attack_train: NDArray[np.bool_],
    member: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the score minus the best threshold of the record's class.

    A class without members or without non-members in attack-train has the threshold of
    all classes together.

    Args:
        score: (n_records,).
        label: (n_records,) classes.
        attack_train: (n_records,) whose membership may be used.
        member: (n_records,) memberships; of other records they are not looked at.

    Raises:
        ValueError: if attack-train lacks members or non-members.

    Source: Song and Mittal 2021, arXiv:2003.10595, section 3.
    """
    out = score - best_threshold(score[attack_train], member[attack_train])
    # By positions: masks of many classes would take much time.
    order = np.argsort(label, kind="stable")
    ends = np.flatnonzero(np.diff(label[order])) + 1
    for own in np.split(order, ends):
        rows = own[attack_train[own]]
        if 0 < member[rows].sum() < len(rows):
            out[own] = score[own] - best_threshold(score[rows], member[rows])
    return np.asarray(out)


def cross_fitted(
    score: NDArray[np.floating[Any]],
    label: NDArray[np.integer[Any]],
    attack_train: NDArray[np.bool_],
    member: NDArray[np.bool_],
    seed: int,
    unit: Units = None,
) -> NDArray[np.float64]:
    """Return `per_class` scores, each by thresholds that its record did not decide.

    Records of attack-train have the thresholds of the other folds, all other records
    those of the whole of attack-train.

    Args:
        score: (n_records,).
        label: (n_records,) classes.
        attack_train: (n_records,) whose membership may be used.
        member: (n_records,) memberships; of other records they are not looked at.
        seed: of the config, for the folds.
        unit: (n_records,) or None.

    Raises:
        ValueError: if the other folds lack members or non-members.
    """
    sides = attack_train & member, attack_train & ~member
    fold = folds.drawn(sides, FOLDS, seed, "per_class.folds", unit)
    out = np.empty(len(score))
    for number in (*range(FOLDS), -1):
        chosen = attack_train & (fold != number)
        judged = fold == number
        out[judged] = per_class(score, label, chosen, member)[judged]
    return out


# The attacks of the catalogue. Source of the loss: Yeom et al. 2018, arXiv:1709.01604;
# of the confidence in the true class: Song and Mittal 2021, arXiv:2003.10595.


def score_loss(view: View) -> Scored:
    """Score by the log-probability of the true class in the first view, in nats."""
    return Scored(margins.log_confidence(view.margin[:, 0]))


def score_confidence(view: View) -> Scored:
    """Score by the log of the mean probability of the true class over the views."""
    return Scored(margins.log_mean_confidence(view.margin))


def score_margin(view: View) -> Scored:
    """Score by the margin, averaged over the views, in nats."""
    return Scored(view.phi[:, 0])


def score_entropy(view: View) -> Scored:
    """Score by `entropy` of the first view."""
    return Scored(view.by_logits(lambda logits, _: entropy(logits)))


def score_modified_entropy(view: View) -> Scored:
    """Score by `modified_entropy` of the first view."""
    return Scored(view.by_logits(modified_entropy))


def score_correctness(view: View) -> Scored:
    """Score by `correctness` of the first view."""
    return Scored(view.by_logits(correctness))


def score_loss_per_class(view: View) -> Scored:
    """Score as `score_loss`, with a threshold for each class."""
    return _cross_fitted(score_loss(view), view)


def score_confidence_per_class(view: View) -> Scored:
    """Score as `score_confidence`, with a threshold for each class."""
    return _cross_fitted(score_confidence(view), view)


def score_margin_per_class(view: View) -> Scored:
    """Score as `score_margin`, with a threshold for each class."""
    return _cross_fitted(score_margin(view), view)


def score_entropy_per_class(view: View) -> Scored:
    """Score as `score_entropy`, with a threshold for each class."""
    return _cross_fitted(score_entropy(view), view)


def score_modified_entropy_per_class(view: View) -> Scored:
    """Score as `score_modified_entropy`, with a threshold for each class."""
    return _cross_fitted(score_modified_entropy(view), view)


def _cross_fitted(plain: Scored, view: View) -> Scored:
    known = view.attack_train, view.member
    return Scored(cross_fitted(plain.score, view.label, *known, view.seed, view.unit))
