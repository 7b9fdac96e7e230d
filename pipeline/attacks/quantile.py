"""Quantile: a record's signal against what non-members like it reach."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from pipeline.attacks import folds
from pipeline.errors import LacksError

FOLDS = 5
TREES = 100
RATE = 0.05
LEAVES = 8
LEAST_LEAF = 20  # records, so that a leaf has a quantile to speak of


def description(
    logits: NDArray[np.floating[Any]], label: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Return what describes a record apart from the signal.

    They are the log-probabilities of all other classes given that it is none of its
    own, highest first: how sharply the target would err; and the class's own number.

    Args:
        logits: (n_records, n_classes) with at least two classes.
        label: (n_records,) true classes.

    Returns:
        (n_records, n_classes).
    """
    wide = np.asarray(logits, dtype=np.float64)
    own = np.arange(wide.shape[1]) == np.asarray(label)[:, None]
    others = wide[~own].reshape(len(wide), -1)
    shifted = others - others.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.column_stack((-np.sort(-log_p, axis=1), label))


def quantiles(
    signal: NDArray[np.floating[Any]],
    given: NDArray[np.floating[Any]],
    nonmember: NDArray[np.bool_],
    rate: float,
    seed: int,
) -> NDArray[np.float64]:
    """Return for each record the signal that a non-member like it exceeds at a rate.

    Records are cross-fitted: each is judged by a regression on the known non-members of
    the other folds, so a non-member never decides its own quantile.

    Args:
        signal: (n_records,) higher for a likelier member.
        given: (n_records, n_features) what describes a record.
        nonmember: (n_records,) known not to be members.
        rate: share of non-members above the quantile, in (0, 1).
        seed: of folds and trees.

    Raises:
        LacksError: if there are fewer known non-members than folds.

    Source: Bertran et al. 2023, arXiv:2307.03694, algorithm 1.
    """
    n_known = int(nonmember.sum())
    if n_known < FOLDS:
        msg = f"quantile regression needs {FOLDS} non-members, got {n_known}"
        raise LacksError(msg)
    fold = folds.drawn((nonmember, ~nonmember), FOLDS, seed)
    out = np.empty(len(signal))
    for one in range(FOLDS):
        train, judged = nonmember & (fold != one), fold == one
        model = HistGradientBoostingRegressor(
            loss="quantile",
            quantile=1 - rate,
            max_iter=TREES,
            learning_rate=RATE,
            max_leaf_nodes=LEAVES,
            min_samples_leaf=LEAST_LEAF,
            random_state=seed,
        )
        # Threads wait for one another where other programs run.
        with threadpool_limits(1):
            out[judged] = model.fit(given[train], signal[train]).predict(given[judged])
    return out
