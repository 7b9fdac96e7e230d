"""Amortised: the likelihood ratio learned from references that play the target.

Every reference is attacked by the other references as if it were the target. Its
members are all known, so a classifier can learn the likelihood ratio, which LiRA
assumes to be Gaussian, from n_references × n_records rows. It then scores the real
target without any of its memberships. It can use several kinds of margins, as they are
and recalibrated, and learns how much weight to give to each. Records are cross-fitted:
no row of a record, nor of its unit's other records, trains the networks that score it.

With too few references to attack one another, a logistic regression learns from the
target's own attack-train records instead, cross-fitted too.

Every score is higher for a likelier member.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from pipeline import draws
from pipeline.attacks import actors, catalogue, folds, traits
from pipeline.attacks.evidence import evidence, in_blocks
from pipeline.attacks.traits import Signal, clipped, first_view_excess
from pipeline.attacks.view import Scored, View, can_play
from pipeline.errors import LacksError
from pipeline.signals.stored import OfViews, parts
from pipeline.statistics import units
from pipeline.statistics.units import Units

FOLDS = 3  # of records, each scored by networks that never saw it
NETWORKS = 3  # averaged in each fold; a single one is noisy at low false-positive rates
HIDDEN = (48, 48)
EPOCHS = 12
# Rows per step: few rows make small steps, so that there are enough of them.
LEAST_BATCH, MOST_BATCH = 32, 1024
STEPS = 16  # in an epoch, at least, unless rows are very few
RATE = 2e-3
# More rows than these do not improve the fit; a million records have 64 times as many.
MOST_ROWS = 200_000
JUDGED_ROWS = 50_000  # scored at once
LABEL_FOLDS = 5
# Inverse strength, for each labelled record, of the ridge on some eighty features: from
# few labels little can be learned beyond the direction of each feature.
LABEL_WEIGHT = 1e-4


def rows(
    margin: NDArray[np.floating[Any]],
    in_models: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    prior: Hierarchy,
    seed: int,
    fold: int,
) -> NDArray[np.float32]:
    """Return the features of every record under every reference as the target.

    Args:
        margin: (n_models, n_records, n_views) of the references.
        in_models: (n_models, n_records) whether a reference was trained on a record.
        kept: (n_models, n_records) whether it counts there.
        prior: fitted to all references; a few numbers that identify no record.
        seed: of the config, for `actors.helpers`.
        fold: that the rows train for.

    Returns:
        (n_models, n_records, n_features).
    """
    by_actor = []
    for actor in range(len(margin)):
        rng = draws.rng(seed, "amortised.stand_ins", fold, actor)
        sides = actors.helpers(in_models, kept, actor, rng)
        by_actor.append(traits.features(margin[actor], evidence(margin, *sides), prior))
    return np.stack(by_actor)


class Judge(NamedTuple):
    """Networks, and the standardisation of their inputs."""

    centre: NDArray[np.float32]
    spread: NDArray[np.float32]
    networks: list[MLPClassifier]


def fitted(
    inputs: NDArray[np.float32],
    member: NDArray[np.bool_],
    seed: int,
    fold: int,
    pool: joblib.Parallel,
) -> Judge:
    """Fit networks that separate IN rows from OUT rows.

    Args:
        inputs: (n_rows, n_features).
        member: (n_rows,) whether the row's actor was trained on the row's record.
        seed: of the config, for first weights and the order of rows.
        fold: that the networks will score.
        pool: of workers; the networks do not depend on it.
    """
    centre, spread = inputs.mean(axis=0), inputs.std(axis=0)
    spread = np.where(spread > 0, spread, 1).astype(np.float32)
    ready = clipped(inputs, centre, spread)
    seeds = [
        draws.integer(seed, "amortised.networks", fold, network)
        for network in range(NETWORKS)
    ]
    networks = pool(joblib.delayed(_network)(ready, member, state) for state in seeds)
    return Judge(centre, spread, networks)


def _network(
    ready: NDArray[np.float32], member: NDArray[np.bool_], state: int
) -> MLPClassifier:
    network = MLPClassifier(
        HIDDEN,
        alpha=1e-3,
        batch_size=min(max(len(ready) // STEPS, LEAST_BATCH), MOST_BATCH, len(ready)),
        learning_rate_init=RATE,
        max_iter=EPOCHS,
        random_state=state,
    )
    # Sums of as many threads as there are processors differ in their last bits.
    with threadpool_limits(1), warnings.catch_warnings():
        # It is meant to stop after EPOCHS.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return network.fit(ready, member)


def judged(judge: Judge, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (n_rows,) log-odds of membership, averaged over the networks.

    Args:
        judge: fitted.
        inputs: (n_rows, n_features).
    """
    ready = clipped(inputs, judge.centre, judge.spread)
    total = np.zeros(len(ready))
    with threadpool_limits(1):
        for network in judge.networks:
            p = network.predict_proba(ready).astype(np.float64)
            # A float32 probability can round to 0, whose logarithm is not finite.
            p = np.maximum(p, np.finfo(np.float32).tiny)
            total += np.log(p[:, 1]) - np.log(p[:, 0])
    return total / len(judge.networks)


def scores(
    signals: Sequence[Signal],
    in_models: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    audited: NDArray[np.bool_],
    seed: int,
    jobs: int = 1,
    unit: Units = None,
    max_fit: int = catalogue.MAX_FIT,
) -> NDArray[np.float64]:
    """Score every record of the target; no membership of the target is used.

    Args:
        signals: kinds of margins, each of all models and records.
        in_models: (n_models, n_records) whether a reference was trained on a record.
        kept: (n_models, n_records) whether it counts there: `coverage.balanced`.
        audited: (n_records,) whether the target may be trained on it; other records
            only train the networks.
        seed: of the config, for folds, samples and networks.
        jobs: worker processes that train networks. The scores do not depend on it.
        unit: (n_records,) or None.
        max_fit: records that networks are fitted to, at most.

    Returns:
        (n_records,) log-odds of membership.

    Raises:
        LacksError: if there are too few references to attack one another.
    """
    if not actors.can_play(in_models, kept):
        msg = f"{len(in_models)} references are too few to attack one another"
        raise LacksError(msg)
    ready = [traits.prepared(signal, in_models, kept, audited) for signal in signals]
    n_records = len(audited)
    place = draws.rng(seed, "amortised.order").permutation(n_records)
    groups = units.grouped(unit, len(place))
    folds_of_records = place[groups.first][groups.place] % FOLDS
    # Few enough records for MOST_ROWS, of those from which something can be learned.
    useful = np.flatnonzero(actors.divided(in_models))
    most = max(min(MOST_ROWS // len(in_models), max_fit), FOLDS)
    sampled = np.zeros(n_records, dtype=bool)
    sampled[useful[np.argsort(place[useful])[:most]]] = True
    out = np.empty(n_records)
    pool = joblib.Parallel(jobs)
    for fold in range(FOLDS):
        own = folds_of_records == fold
        train = sampled & ~own
        of_actors = np.concatenate(
            [
                rows(
                    traits.rescaled(
                        signal.references[:, train], signal.scale, signal.scale
                    ),
                    in_models[:, train],
                    kept[:, train],
                    signal.prior,
                    seed,
                    fold,
                )
                for signal in ready
            ],
            axis=-1,
        )
        inputs = of_actors.reshape(-1, of_actors.shape[-1])
        judge = fitted(inputs, in_models[:, train].ravel(), seed, fold, pool)
        for rows_judged in parts(np.flatnonzero(own), JUDGED_ROWS):
            of_target = [signal.features[rows_judged] for signal in ready]
            out[rows_judged] = judged(judge, np.hstack(of_target))
    return out


def scores_by_labels(
    signals: Sequence[Signal],
    in_models: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    audited: NDArray[np.bool_],
    attack_train: NDArray[np.bool_],
    member: NDArray[np.bool_],
    seed: int,
    unit: Units = None,
    fitted_to: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Score every record where references are too few to attack one another.

    Args:
        signals: kinds of margins, each of all models and records.
        in_models: (n_models, n_records) whether a reference was trained on a record.
        kept: (n_models, n_records) whether it counts there.
        audited: (n_records,) whether the target may be trained on it.
        attack_train: (n_records,) whose membership may be used.
        member: (n_records,) memberships of the target; outside attack-train they are
            not looked at.
        seed: of the config, for the folds.
        unit: (n_records,) or None.
        fitted_to: (n_records,) records of attack-train to learn from; None: all.

    Returns:
        (n_records,) log-odds; of a record in attack-train from a fit without it.
    """
    ready = np.hstack(
        [_described(signal, in_models, kept, audited) for signal in signals]
    )
    spread = ready.std(axis=0)
    # In place: of a million records it is large.
    ready -= ready.mean(axis=0)
    ready /= np.where(spread > 0, spread, 1.0)
    np.clip(ready, -traits.FARTHEST, traits.FARTHEST, out=ready)
    known = attack_train if fitted_to is None else fitted_to
    sides = attack_train & member, attack_train & ~member
    folds_of_records = folds.drawn(sides, LABEL_FOLDS, seed, "amortised.folds", unit)
    out = np.empty(len(ready))
    for fold in (*range(LABEL_FOLDS), -1):
        own = folds_of_records == fold
        if not own.any():
            continue
        train = known & ~own
        judge = LogisticRegression(C=LABEL_WEIGHT * train.sum(), max_iter=1000)
        with threadpool_limits(1):
            judge.fit(ready[train], member[train])
            out[own] = judge.decision_function(ready[own])
    return out


def _described(
    signal: Signal,
    in_models: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    audited: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the features of every record, on whichever sides it has references."""
    target, references = signal
    of_references = in_blocks(references, in_models & kept, ~in_models & kept)
    prior = traits.hierarchy_of(target, of_references, audited)
    described = traits.features(target, of_references, prior).astype(np.float64)
    has_in = of_references.in_side.margin.count > 0
    if (has_in & (of_references.out_side.margin.count > 0)).any():
        return described
    # Each record has only one side, and a feature's meaning depends on which.
    return np.hstack((described, described * has_in[:, None], has_in[:, None]))


# The attack of the catalogue.


def score(view: View) -> Scored:
    """Score by `scores` where references can attack one another, else by labels."""
    signals = [Signal(view.margin, view.references)]
    if "logits" not in view.unknown:
        signals.append(Signal(view.recalibrated, view.references_recalibrated))
    if view.margin.shape[1] > 1:
        shape = *view.references.shape[:2], 1
        excesses = OfViews(view.references, first_view_excess, shape)
        signals.append(Signal(first_view_excess(view.margin), excesses))
    arrays = view.in_models, view.kept, view.audited
    if needs_labels(view):
        known = view.attack_train, view.member
        return Scored(
            scores_by_labels(
                signals, *arrays, *known, view.seed, view.unit, view.fitted
            )
        )
    return Scored(
        scores(signals, *arrays, view.seed, view.jobs, view.unit, view.max_fit)
    )


def needs_labels(view: View) -> bool:
    """Return whether memberships of the target must be learned from."""
    return not can_play(view)
