"""Corrections: p-values of many tests at once."""

import numpy as np
from numpy.typing import NDArray


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values that hold for all tests together, however they depend.

    Args:
        p: (n_tests,) p-values, each of its own test.

    Returns:
        (n_tests,) adjusted p-values in the order given, in [0, 1]. All null hypotheses
        with one below α are rejected with at most α of rejecting any true one.

    Source: Holm 1979, Scandinavian Journal of Statistics 6(2).
    """
    order = np.argsort(p, kind="stable")
    stepped = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return adjusted
