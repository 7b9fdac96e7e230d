"""Sample: the records that attacks are fitted to, where there are very many."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline import draws
from pipeline.statistics import units
from pipeline.statistics.units import Units

FEW = 10  # a side has this part of the draw at least, if it has so many records


def drawn(
    sides: Sequence[NDArray[np.bool_]],
    most: int,
    seed: int,
    purpose: str,
    unit: Units = None,
) -> NDArray[np.bool_]:
    """Draw at most so many records, of each side its share, of a rare one more.

    Units are drawn whole: those on the same sides together. Of a set of units the first
    is taken even if it has more records than are due.

    Args:
        sides: (n_records,) each, without overlap: the records to draw from.
        most: records to draw; if there are no more, all are taken.
        seed: of the config.
        purpose: of the draw, one of `draws.PURPOSES`.
        unit: (n_records,) or None.

    Returns:
        (n_records,) whether a record is drawn.
    """
    chosen = np.logical_or.reduce(sides)
    n_records = int(chosen.sum())
    if n_records <= most:
        return np.asarray(chosen)
    rng = draws.rng(seed, purpose)
    groups = units.grouped(unit, len(chosen))
    # A number for each set of sides.
    sides_of = sum(
        (units.totals(groups, side) > 0) * 2**power for power, side in enumerate(sides)
    )
    of_records = np.where(chosen, sides_of[groups.place], 0)
    numbers, counts = np.unique(of_records[chosen], return_counts=True)
    due = np.maximum(most * counts // n_records, np.minimum(counts, most // FEW))
    largest = int(counts.argmax())
    due[largest] = min(due[largest], most - np.delete(due, largest).sum())
    out = np.zeros(len(chosen), dtype=bool)
    for number, n_own, n_due in zip(numbers, counts, due, strict=True):
        own = of_records == number
        of_own = units.of(unit, own)
        order = rng.permutation(len(units.grouped(of_own, int(n_own)).first))
        out[own] = units.whole(of_own, order, int(n_due))
    return out
