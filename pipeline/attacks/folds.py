"""Folds: which records are judged by a model that never saw them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def drawn(
    sides: Sequence[NDArray[np.bool_]], n_folds: int, seed: int
) -> NDArray[np.int64]:
    """Draw folds that hold each side in equal shares.

    Args:
        sides: (n_records,) each, without overlap.
        n_folds: how many.
        seed: of the draw.

    Returns:
        (n_records,) folds from 0; -1 of records that stand on no side.
    """
    rng = np.random.default_rng(seed)
    fold = np.full(len(sides[0]), -1)
    for side in sides:
        own = rng.permutation(np.flatnonzero(side))
        fold[own] = np.arange(len(own)) % n_folds
    return fold
