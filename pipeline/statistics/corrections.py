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


def chosen_first(
    p: NDArray[np.float64],
    chosen: int,
    question: NDArray[np.int64],
    share: float,
) -> NDArray[np.float64]:
    """Adjust p-values where one question was chosen beforehand.

    The chosen question is tested at its share of any rate. The others share the rest
    (Holm), and where the chosen one is claimed, the whole rate. So however many others
    there are, they do not change what is said of the chosen one; and a rate bounds the
    chance of any false claim at all, however the questions depend on one another.

    Args:
        p: (n_tests,) p-values in [0, 1].
        chosen: the test that was chosen without a look at its p-value.
        question: (n_tests,) numbers; tests of one number ask the same and have equal
            p-values.
        share: of the rate, in (0, 1).

    Returns:
        (n_tests,) adjusted p-values, in the same order.

    Raises:
        ValueError: if a p-value is not in [0, 1].

    Source: Wiens 2003, Pharmaceutical Statistics 2, the fallback procedure, with Holm's
    in the second place; Bretz et al. 2009, Statistics in Medicine 28, algorithm 1, of
    which it is a case.
    """
    _, first, place = np.unique(question, return_index=True, return_inverse=True)
    of_chosen = place[chosen]
    others = np.delete(first, of_chosen)
    own = holm(p[[chosen]])[0] / share
    of_others = holm(p[others])
    adjusted = np.minimum(of_others / (1 - share), np.maximum(of_others, own))
    return np.asarray(np.minimum(np.insert(adjusted, of_chosen, own), 1.0)[place])
