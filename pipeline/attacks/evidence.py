"""Evidence: what the references say of each record, summed up on either side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.attacks.moments import Moments, joined, moments
from pipeline.signals import margins
from pipeline.signals.stored import Stored, slices

# Numbers held at once, such as the margins of many models on few records: blocks of
# them stay in a processor's cache, and a million records need little memory.
BLOCK_VALUES = 2**18


@dataclass(frozen=True)
class Side:
    """What the references on one side of each record say of it."""

    margin: Moments  # of the views' margins, nats
    log_confidence: NDArray[np.float64]  # (n_records,) log mean p; -inf without any
    view_spread: NDArray[np.float64]  # (n_records,) mean deviation over views, nats


@dataclass(frozen=True)
class Evidence:
    """Both sides of each record: small beside the signals they sum up."""

    in_side: Side  # of the references trained on a record
    out_side: Side  # of the others


def evidence(
    margin: NDArray[np.floating[Any]],
    in_models: NDArray[np.bool_],
    out_models: NDArray[np.bool_],
) -> Evidence:
    """Sum up the signals of references on a block of records.

    Args:
        margin: (n_models, n_records, n_views), in nats.
        in_models: (n_models, n_records) models that count as trained on a record.
        out_models: (n_models, n_records) models that count as not trained on it.
    """
    log_p = margins.log_mean_confidence(margin)
    spread = view_spread(margin)

    def side(chosen: NDArray[np.bool_]) -> Side:
        count = np.maximum(chosen.sum(axis=0), 1)
        return Side(
            moments(margin, chosen),
            margins.log_mean(log_p, chosen),
            np.where(chosen, spread, 0.0).sum(axis=0) / count,
        )

    return Evidence(side(in_models), side(out_models))


def in_blocks(
    margin: Stored,
    in_models: NDArray[np.bool_],
    out_models: NDArray[np.bool_],
) -> Evidence:
    """Return the evidence on any number of records; see `evidence`."""
    return together(
        [
            evidence(margin[:, block], in_models[:, block], out_models[:, block])
            for block in blocks(margin.shape[1], margin.shape[0] * margin.shape[2])
        ]
    )


def blocks(n_records: int, width: int = 1) -> list[slice]:
    """Return the records in successive blocks.

    Args:
        n_records: in all.
        width: numbers of each record.
    """
    return slices(n_records, BLOCK_VALUES // max(width, 1))


def view_spread(margin: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the (...) standard deviation over the last axis, the views."""
    return np.asarray(np.std(margin, axis=-1, dtype=np.float64))


def together(blocks: Sequence[Evidence]) -> Evidence:
    """Return the evidence on successive blocks of records as a whole."""

    def side(sides: Sequence[Side]) -> Side:
        return Side(
            joined([side.margin for side in sides]),
            np.concatenate([side.log_confidence for side in sides]),
            np.concatenate([side.view_spread for side in sides]),
        )

    return Evidence(
        side([block.in_side for block in blocks]),
        side([block.out_side for block in blocks]),
    )
