"""Folds: each record is scored by a model that was not fitted to it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline import draws


def drawn(
    sides: Sequence[NDArray[np.bool_]], n_folds: int, seed: int, purpose: str
) -> NDArray[np.int64]:
    """Draw folds that hold each side in equal shares.

    Args:
        sides: (n_records,) each, without overlap.
        n_folds: how many.
        seed: of the config.
        purpose: of the draw, one of `draws.PURPOSES`.

    Returns:
        (n_records,) folds from 0; -1 of records on no side.
    """
    rng = draws.rng(seed, purpose)
    fold = np.full(len(sides[0]), -1)
    for side in sides:
        own = rng.permutation(np.flatnonzero(side))
        fold[own] = np.arange(len(own)) % n_folds
    return fold
