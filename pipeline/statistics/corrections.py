"""Corrections: p-values of many questions, adjusted so that each may be compared alone.

An adjusted p-value is compared with a rate as if its question were the only one.
Benjamini and Hochberg's is `scipy.stats.false_discovery_control`.
"""

import numpy as np
from numpy.typing import NDArray


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjust p-values so that a rate bounds the chance of any false claim at all.

    This holds however the questions depend on one another.

    Args:
        p: (n_questions,) p-values in [0, 1].

    Returns:
        (n_questions,) adjusted p-values, in the same order.

    Raises:
        ValueError: if a p-value is not in [0, 1].

    Source: Holm 1979, Scandinavian Journal of Statistics 6(2).
    """
    wrong = ~((p >= 0) & (p <= 1))
    if wrong.any():
        msg = f"a p-value must be in [0, 1], got {p[wrong][0]}"
        raise ValueError(msg)
    order = np.argsort(p, kind="stable")
    n_left = np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(n_left * p[order])
    return np.minimum(adjusted, 1.0)
