"""Quantile: a record's signal compared with the signals of similar non-members."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from pipeline import draws
from pipeline.attacks import catalogue, folds, sample
from pipeline.attacks.evidence import blocks
from pipeline.attacks.view import Scored, View
from pipeline.errors import LacksError
from pipeline.statistics.units import Units

TAIL = 0.05  # share of non-members above their quantile
FOLDS = 5
TREES = 100
RATE = 0.05  # of learning
LEAVES = 8
LEAST_LEAF = 20  # records: a quantile of fewer would be too noisy


def description(
    logits: NDArray[np.floating[Any]], label: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Return what describes a record apart from the signal.

    First the log-probabilities of the wrong classes, conditional on being wrong and
    highest first: they show how sharply the target would err. Then the label.

    Args:
        logits: (n_records, n_classes) with at least two classes.
        label: (n_records,) true classes.

    Returns:
        (n_records, n_classes).
    """
    wide = np.asarray(logits, dtype=np.float64)
    own = np.arange(wide.shape[1]) == np.asarray(label)[:, None]
    others = wide[~own].reshape(len(wide), -1)
    log_p = special.log_softmax(others, axis=1)
    return np.column_stack((-np.sort(-log_p, axis=1), label))


def quantiles(
    signal: NDArray[np.floating[Any]],
    describe: Callable[[NDArray[np.int64]], NDArray[np.floating[Any]]],
    nonmember: NDArray[np.bool_],
    rate: float,
    seed: int,
    unit: Units = None,
    max_fit: int = catalogue.MAX_FIT,
) -> NDArray[np.float64]:
    """Return for each record the signal that similar non-members exceed at a rate.

    Records are cross-fitted: the quantile of each comes from a regression on the known
    non-members of the other folds, so no non-member, and no unit, decides its own.

    Args:
        signal: (n_records,) higher for a likelier member.
        describe: returns of (n_rows,) positions the (n_rows, n_features) that the
            quantile may depend on.
        nonmember: (n_records,) known not to be members.
        rate: share of non-members above the quantile, in (0, 1).
        seed: of the config, for folds and trees.
        unit: (n_records,) or None.
        max_fit: known non-members that regressions are fitted to, at most.

    Raises:
        LacksError: if there are fewer known non-members than folds.

    Source: Bertran et al. 2023, arXiv:2307.03694, algorithm 1.
    """
    n_known = int(nonmember.sum())
    if n_known < FOLDS:
        msg = f"quantile regression needs {FOLDS} non-members, got {n_known}"
        raise LacksError(msg)
    fold = folds.drawn((nonmember, ~nonmember), FOLDS, seed, "qmia.folds", unit)
    known = sample.drawn((nonmember,), max_fit, seed, "qmia.fitted", unit)
    out = np.empty(len(signal))
    for number in range(FOLDS):
        train, judged = (
            np.flatnonzero(side) for side in (known & (fold != number), fold == number)
        )
        model = HistGradientBoostingRegressor(
            loss="quantile",
            quantile=1 - rate,
            max_iter=TREES,
            learning_rate=RATE,
            max_leaf_nodes=LEAVES,
            min_samples_leaf=LEAST_LEAF,
            random_state=draws.integer(seed, "qmia.trees", number),
        )
        # Threads wait for one another where other programs run.
        with threadpool_limits(1):
            described = describe(train)
            model.fit(described, signal[train])
            for block in blocks(len(judged), described.shape[1]):
                out[judged[block]] = model.predict(describe(judged[block]))
    return out


def score(view: View) -> Scored:
    """Score by how far the margin lies above its quantile among non-members, in nats.

    The attack QMIA of the catalogue.

    Raises:
        LacksError: as `quantiles`.
    """
    phi = view.phi[:, 0]
    nonmember = view.population | (view.attack_train & ~view.member)
    usual = quantiles(
        phi,
        lambda rows: description(view.logits[rows, 0], view.label[rows]),
        nonmember,
        TAIL,
        view.seed,
        view.unit,
        view.max_fit,
    )
    return Scored(phi - usual)
