"""Signals: per-record numbers computed from the target's logits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# MindArmour clips the softmax to [CLIP, 1 - CLIP] before the logarithm.
CLIP = 1e-12


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

    Source: Carlini et al. 2022, arXiv:2112.03570, section IV-C.
    """
    wide = np.asarray(logits, dtype=np.float64)
    own = np.arange(wide.shape[1]) == np.asarray(label)[:, None]
    others = np.where(own, -np.inf, wide)
    largest = others.max(axis=1)
    spread = np.log(np.exp(others - largest[:, None]).sum(axis=1))
    return np.asarray(wide[own] - largest - spread)


def loss(margins: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the cross-entropy -log p of records with the given margins.

    From the margin it keeps its relative precision down to 1e-300; from the softmax it
    is exactly 0 for every confident record.

    Args:
        margins: (n_records,) log(p / (1 - p)), in nats.

    Returns:
        (n_records,) losses in nats; lower for a likelier member.
    """
    return np.logaddexp(0.0, -np.asarray(margins, dtype=np.float64))


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
    odds = np.exp(wide - wide.max(axis=1, keepdims=True))
    own = odds[np.arange(len(wide)), label] / odds.sum(axis=1)
    return np.asarray(-np.log(np.clip(own, CLIP, 1 - CLIP)))
