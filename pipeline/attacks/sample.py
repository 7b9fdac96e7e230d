"""Sample: the records that attacks are fitted to, where there are very many."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline import draws
from pipeline.statistics import units
from pipeline.statistics.units import Units


def drawn(
    sides: Sequence[NDArray[np.bool_]],
    most: int,
    seed: int,
    purpose: str,
    unit: Units = None,
) -> NDArray[np.bool_]:
    """Draw at most so many records, of each side its share.

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
    out = np.zeros(len(chosen), dtype=bool)
    for number in np.unique(sides_of[sides_of > 0]):
        own = chosen & (sides_of == number)[groups.place]
        of_own = units.of(unit, own)
        n_own = int(own.sum())
        order = rng.permutation(len(units.grouped(of_own, n_own).first))
        out[own] = units.whole(of_own, order, math.floor(most * n_own / n_records))
    return out
