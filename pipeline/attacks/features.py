"""Features: what the learned attacks learn from."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pipeline.attacks import lira
from pipeline.attacks.view import Scored, View
from pipeline.errors import LacksError
from pipeline.signals import margins

Rows = slice | NDArray[np.int64]
Columns = Callable[[Rows], NDArray[np.float64]]


def columns(
    names: Sequence[str], view: View, scored: Mapping[str, Scored], loss: str = "exact"
) -> Columns:
    """Return a function that gives some records' features of a learned attack.

    Args:
        names: from `catalogue.features`, in order.
        view: what there is to look at.
        scored: by the attacks that have run.
        loss: "exact", or "clipped" as MindArmour's.

    Returns:
        From a slice or (n_rows,) positions to (n_rows, n_features).

    Raises:
        LacksError: if an attack that is named lacked references.
    """
    parts = [part for name in names for part in _parts(name, view, scored, loss)]
    return lambda rows: np.hstack([part(rows) for part in parts]).astype(np.float64)


def _parts(
    name: str, view: View, scored: Mapping[str, Scored], loss: str
) -> list[Callable[[Rows], NDArray[np.floating[Any]]]]:
    """Return what a feature is made of, each giving (n_rows, n_columns)."""
    if name == "loss" and loss == "clipped":
        return [
            lambda rows: margins.clipped_loss(view.logits[rows, 0], view.label[rows])[
                :, None
            ]
        ]
    if name == "loss":
        return [lambda rows: margins.loss(view.margin[rows, :1])]
    if name == "logits":
        return [lambda rows: view.logits[rows, 0]]
    if name == "sorted":
        return [lambda rows: _sorted(view.logits[rows, 0])]
    if name == "margin":
        return [view.phi.__getitem__]
    if name == "views":
        return [view.margin.__getitem__]
    if name == "references":
        sides = [
            (side.mean, np.sqrt(lira.variances(side, "record"))) for side in view.sides
        ]
        return [column.__getitem__ for side in sides for column in side]
    if name in scored:
        return [scored[name].score[:, None].__getitem__]
    msg = f"names {name!r}, which lacked what it needs"
    raise LacksError(msg)


def _sorted(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    p = special.softmax(logits.astype(np.float64), axis=1)
    return np.asarray(-np.sort(-p, axis=1))
