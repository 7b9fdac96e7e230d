"""Evidence: all that the attacks need to know of the references, per record."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.attacks import rmia
from pipeline.attacks.moments import Moments, joined, moments


@dataclass(frozen=True)
class Side:
    """What the references on one side say of each record."""

    margin: Moments  # of the views' margins, nats
    log_confidence: NDArray[np.float64]  # (n_records,) log mean p; -inf without any
    view_spread: NDArray[np.float64]  # (n_records,) mean deviation over views, nats


@dataclass(frozen=True)
class Evidence:
    """Both sides of each record: small beside the signals they sum up."""

    inside: Side
    outside: Side


def evidence(
    margin: NDArray[np.floating[Any]],
    inside: NDArray[np.bool_],
    outside: NDArray[np.bool_],
) -> Evidence:
    """Sum up the signals of references on a block of records.

    Args:
        margin: (n_models, n_records, n_views), in nats.
        inside: (n_models, n_records) models that count as trained on a record.
        outside: (n_models, n_records) models that count as not trained on it.
    """
    log_p = rmia.log_confidence(margin)
    spread = view_spread(margin)

    def side(chosen: NDArray[np.bool_]) -> Side:
        count = np.maximum(chosen.sum(axis=0), 1)
        return Side(
            moments(margin, chosen),
            rmia.log_mean(log_p, chosen),
            np.where(chosen, spread, 0.0).sum(axis=0) / count,
        )

    return Evidence(side(inside), side(outside))


def view_spread(margin: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the (...) standard deviation over the last axis, the views."""
    return np.asarray(np.std(margin, axis=-1, dtype=np.float64))


def together(blocks: Sequence[Evidence]) -> Evidence:
    """Return the evidence on successive blocks of records as one."""

    def side(sides: Sequence[Side]) -> Side:
        return Side(
            joined([one.margin for one in sides]),
            np.concatenate([one.log_confidence for one in sides]),
            np.concatenate([one.view_spread for one in sides]),
        )

    return Evidence(
        side([block.inside for block in blocks]),
        side([block.outside for block in blocks]),
    )
