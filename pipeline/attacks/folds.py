"""Folds: each record is scored by a model that was not fitted to it.

Nor to any other record of its unit, where records have units.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline import draws
from pipeline.statistics import units
from pipeline.statistics.units import Units


def drawn(
    sides: Sequence[NDArray[np.bool_]],
    n_folds: int,
    seed: int,
    purpose: str,
    unit: Units = None,
) -> NDArray[np.int64]:
    """Draw folds that hold each side in equal shares.

    With units, each is in one fold, and shares are equal but for the size of a few
    units: those on the same sides are dealt out from the largest to the smallest.

    Args:
        sides: (n_records,) each, without overlap.
        n_folds: how many.
        seed: of the config.
        purpose: of the draw, one of `draws.PURPOSES`.
        unit: (n_records,) or None.

    Returns:
        (n_records,) folds from 0; -1 of records on no side.
    """
    rng = draws.rng(seed, purpose)
    groups = units.grouped(unit, len(sides[0]))
    on_side = [units.totals(groups, side) > 0 for side in sides]
    fold = np.full(len(groups.first), -1)
    # A number for each set of sides; those of a single side come in the sides' order.
    sides_of = sum(mask * 2**power for power, mask in enumerate(on_side))
    n_sides = sum(mask.astype(np.int64) for mask in on_side)
    for number in sorted(set(sides_of[n_sides > 0].tolist()), key=_singles_first):
        drawn = rng.permutation(np.flatnonzero(sides_of == number))
        own = drawn[np.argsort(-groups.size[drawn], kind="stable")]
        fold[own] = np.arange(len(own)) % n_folds
    return np.where(np.logical_or.reduce(sides), fold[groups.place], -1)


def _singles_first(sides: int) -> tuple[int, int]:
    return sides.bit_count(), sides
