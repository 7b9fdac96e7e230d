"""Numbering: whether a model numbers the classes as the labels do."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.optimize import linear_sum_assignment

# At most about this share of sound models shows another numbering in either half of the
# records. Both halves must show it.
LEVEL = 1e-4
# More classes are not looked at: the table of two of them needs too much room.
MOST_CLASSES = 2000
NAMED = 3  # classes that are named
TIE = 1e-9  # below any difference of two recalls


class Renumbering(NamedTuple):
    """Another numbering of the classes, which fits a model's outputs better."""

    # The clearest classes first: of the label, and of the output that stands for it.
    classes: tuple[tuple[int, int], ...]
    recall: float  # mean over the classes, in [0, 1]
    renumbered: float  # the same after renumbering, on records not used to find it


def renumbering(
    predicted: NDArray[np.integer[Any]], label: NDArray[np.integer[Any]]
) -> Renumbering | None:
    """Find a numbering of the classes that fits a model certainly better than its own.

    On one half of the records the numbering with the largest sum of recalls is chosen.
    On the other half its sum is compared with that of the labels as they are, and then
    once more with the halves exchanged. A sum of recalls depends neither on how
    frequent a class is nor on which classes the model prefers. So a weak model, a model
    of noisy labels and one of few classes out of many gain nothing beyond chance.

    Args:
        predicted: (n_records,) class of the largest output.
        label: (n_records,) class.

    Returns:
        The numbering found on all records; None if the labels' own is not refuted.

    Source: Kuhn 1955, "The Hungarian method for the assignment problem"; to choose and
    to test on different records is the usual sample splitting.
    """
    classes, place = np.unique(np.concatenate((label, predicted)), return_inverse=True)
    n_classes = len(classes)
    if not 2 <= n_classes <= MOST_CLASSES:
        return None
    label, predicted = place[: len(label)], place[len(label) :]
    half = _every_other(label) == 0
    tables = [_table(predicted[side], label[side], n_classes) for side in (half, ~half)]
    gains = []
    for chosen_by, judged_by in (tables, tables[::-1]):
        gain, error = _gain(judged_by, _assignment(chosen_by))
        if gain <= -special.ndtri(LEVEL) * error:
            return None
        gains.append(gain)
    whole = tables[0] + tables[1]
    assignment = _assignment(whole)
    rates, own = _recalls(whole), np.arange(n_classes)
    present = whole.any(axis=1)
    recall = float(rates[own, own][present].mean())
    more = rates[own, assignment] - rates[own, own]
    clearest = [c for c in np.argsort(-more, kind="stable") if more[c] > 0][:NAMED]
    return Renumbering(
        classes=tuple((int(classes[c]), int(classes[assignment[c]])) for c in clearest),
        recall=recall,
        renumbered=recall + float(np.mean(gains)) / int(present.sum()),
    )


def _every_other(label: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return 0 and 1 in turn for the records of each class."""
    order = np.argsort(label, kind="stable")
    _, start, size = np.unique(label[order], return_index=True, return_counts=True)
    parity = np.empty(len(label), dtype=np.int64)
    parity[order] = (np.arange(len(label)) - np.repeat(start, size)) % 2
    return parity


def _table(
    predicted: NDArray[np.integer[Any]], label: NDArray[np.integer[Any]], n_classes: int
) -> NDArray[np.int64]:
    """Return (n_classes, n_classes) counts, by label and by predicted class."""
    cells = np.bincount(label * n_classes + predicted, minlength=n_classes**2)
    return cells.reshape(n_classes, n_classes)


def _recalls(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of each label's records that is put into each class."""
    return np.asarray(table / np.maximum(table.sum(axis=1, keepdims=True), 1))


def _assignment(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (n_classes,) the output that stands for each label.

    Of equally good ones, that which leaves more classes as they are.
    """
    recalls = _recalls(table)
    recalls[np.diag_indices_from(recalls)] += TIE
    _, assignment = linear_sum_assignment(recalls, maximize=True)
    return np.asarray(assignment)


def _gain(
    table: NDArray[np.int64], assignment: NDArray[np.int64]
) -> tuple[float, float]:
    """Return what a renumbering adds to the sum of recalls, with its standard error."""
    rates, own = _recalls(table), np.arange(len(table))
    moved = (assignment != own) & table.any(axis=1)
    to, own, size = assignment[moved], own[moved], table.sum(axis=1)[moved]
    gained, lost = rates[own, to], rates[own, own]
    # No less than one record of each class: rates that happen to be 0 or 1 may differ.
    variance = np.maximum(gained + lost, 1 / size) / size
    return float((gained - lost).sum()), float(np.sqrt(variance.sum()))
