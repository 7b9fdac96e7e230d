"""Corrections: p-values of many questions, so adjusted that each may be compared.

Of an adjusted p-value it is asked whether it is at most the rate, as of a single one.
"""

import numpy as np
from numpy.typing import NDArray


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjust p-values so that a rate bounds the chance of any false claim at all.

    It holds however the questions depend on one another.

    Args:
        p: (n_questions,) p-values in [0, 1].

    Returns:
        (n_questions,) adjusted p-values, in the order given.

    Raises:
        ValueError: if one is no number in [0, 1].

    Source: Holm 1979, Scandinavian Journal of Statistics 6(2).
    """
    order = _ascending(p)
    n_left = np.arange(len(p), 0, -1)
    found = np.empty(len(p))
    found[order] = np.maximum.accumulate(n_left * p[order])
    return np.minimum(found, 1.0)


def benjamini_hochberg(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjust p-values so that a rate bounds the expected share of false claims.

    It holds if the questions are independent, or depend on one another positively.

    Args:
        p: (n_questions,) p-values in [0, 1].

    Returns:
        (n_questions,) adjusted p-values, in the order given.

    Raises:
        ValueError: if one is no number in [0, 1].

    Source: Benjamini and Hochberg 1995, Journal of the Royal Statistical Society B
    57(1); Benjamini and Yekutieli 2001, Annals of Statistics 29(4), on dependence.
    """
    order = _ascending(p)[::-1]
    n_kept = np.arange(len(p), 0, -1)
    found = np.empty(len(p))
    found[order] = np.minimum.accumulate(p[order] * (len(p) / n_kept))
    return np.minimum(found, 1.0)


def _ascending(p: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the order of p-values, once they are found to be such."""
    wrong = ~((p >= 0) & (p <= 1))
    if wrong.any():
        msg = f"a p-value must be in [0, 1], got {p[wrong][0]}"
        raise ValueError(msg)
    return np.argsort(p, kind="stable")
