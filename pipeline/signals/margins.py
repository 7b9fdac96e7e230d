"""Margins: per-record numbers computed from a model's logits, and what follows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

# What a mean over no model is: log of probability 0.
NOTHING = -np.inf
# MindArmour clips the softmax to [CLIP, 1 - CLIP] before the logarithm.
CLIP = 1e-12
UNLABELLED = -1  # in place of a class, where the labels of all records are unknown


def margin(
    logits: NDArray[np.floating[Any]], label: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Return the true-class logit minus the log-sum-exp of all others.

    It equals log(p / (1 - p)) for the true-class probability p, without the
    cancellation that 1 - p suffers.

    Args:
        logits: (n_records, n_classes) with at least two classes.
        label: (n_records,) true classes in [0, n_classes).

    Returns:
        (n_records,) margins in nats; higher for a likelier member.

    Source: Carlini et al. 2022, arXiv:2112.03570, section IV-C; from logits, VI-A.
    """
    wide = np.asarray(logits, dtype=np.float64)
    own = np.arange(wide.shape[1]) == np.asarray(label)[:, None]
    others = np.where(own, -np.inf, wide)
    largest = others.max(axis=1)
    spread = np.log(np.exp(others - largest[:, None]).sum(axis=1))
    return np.asarray(wide[own] - largest - spread)


def right(
    logits: NDArray[np.floating[Any]],
    label: NDArray[np.integer[Any]],
    margins: NDArray[np.floating[Any]],
) -> NDArray[np.bool_]:
    """Return whether a model puts records into their own classes.

    Where only margins are known, it is whether more than half of the probability is
    given to the own class: of two classes the same, of more than two a part of it.

    Args:
        logits: (n_records, n_classes); no classes where only margins are known.
        label: (n_records,) true classes.
        margins: (n_records,) log(p / (1 - p)), in nats.
    """
    if logits.shape[1]:
        return np.asarray(logits.argmax(axis=1) == label)
    return np.asarray(margins > 0)


def loss(margins: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the cross-entropy -log p of records with these margins.

    From the margin it keeps its relative precision down to 1e-300; from the softmax it
    is exactly 0 for every confident record.

    Args:
        margins: (...) log(p / (1 - p)), in nats.

    Returns:
        (...) losses in nats; lower for a likelier member.
    """
    return np.logaddexp(0.0, -np.asarray(margins, dtype=np.float64))


def log_confidence(margins: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return log p, the loss negated: higher for a likelier member.

    Args:
        margins: (...) log(p / (1 - p)), in nats.
    """
    return -loss(margins)


def log_mean_confidence(margins: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the log of the true-class probability, averaged over the views.

    Args:
        margins: (..., n_views) log(p / (1 - p)), in nats.

    Returns:
        (...) log of the mean p; higher for a likelier member.
    """
    return log_mean(np.moveaxis(log_confidence(margins), -1, 0), np.True_)


def log_mean(
    log_p: NDArray[np.floating[Any]], chosen: NDArray[np.bool_] | np.bool_
) -> NDArray[np.float64]:
    """Return the log of the mean probability over the chosen models.

    Args:
        log_p: (n_models, ...).
        chosen: (n_models, ...) which to average, or True for all.

    Returns:
        (...) log of the mean; -inf where none is chosen.
    """
    picked = np.where(chosen, log_p, NOTHING)
    count = np.broadcast_to(chosen, picked.shape).sum(axis=0)
    largest = picked.max(axis=0, initial=NOTHING)
    shift = np.where(np.isfinite(largest), largest, 0.0)
    with np.errstate(divide="ignore"):
        total = np.log(np.exp(picked - shift).sum(axis=0))
    return np.asarray(total + shift - np.log(np.maximum(count, 1)))


def clipped_loss(
    logits: NDArray[np.floating[Any]], label: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Return the cross-entropy of a softmax clipped away from 0 and 1.

    For comparison with MindArmour, whose features hold this loss.

    Args:
        logits: (n_records, n_classes).
        label: (n_records,) true classes.

    Returns:
        (n_records,) losses in nats, within [-log(1 - CLIP), -log(CLIP)].
    """
    wide = np.asarray(logits, dtype=np.float64)
    own = special.softmax(wide, axis=1)[np.arange(len(wide)), label]
    return np.asarray(-np.log(np.clip(own, CLIP, 1 - CLIP)))


def confidence(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the softmax probability of the likeliest class.

    Args:
        logits: (n_records, n_classes).

    Returns:
        (n_records,) in [1/n_classes, 1].
    """
    wide = np.asarray(logits, dtype=np.float64)
    return np.asarray(1 / np.exp(wide - wide.max(axis=1, keepdims=True)).sum(axis=1))
