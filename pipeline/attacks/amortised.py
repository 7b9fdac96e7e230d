"""Amortised: the likelihood ratio learned from references that play the target.

Every reference is attacked by the other references as if it were the target. Its
members are all known, so a classifier can learn the likelihood ratio, which LiRA
assumes to be Gaussian, from n_references × n_records rows. It then scores the real
target without any of its memberships. It can use several kinds of margins, as they are
and recalibrated, and learns how much weight to give to each. Records are cross-fitted:
no row of a record, nor of its unit's other records, trains the networks that score it.

The judge of `judge`, which was learned on models of other beds, has a say as well. With
too few references to attack one another it takes the networks' place; a logistic
regression on the target's attack-train records, cross-fitted too, then learns how far
to trust it and how far the likelihood ratios. Without references the judge is alone.

Every score is higher for a likelier member.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import joblib
import numpy as np
from numpy.typing import NDArray
from scipy import special
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from pipeline import draws
from pipeline.attacks import actors, catalogue, folds, judge, traits
from pipeline.attacks.evidence import blocks, evidence
from pipeline.attacks.lira import Hierarchy
from pipeline.attacks.traits import Prepared, Signal, clipped, first_view_excess
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
JUDGED_WIDTH = 256  # numbers of each record that are at hand while the judge scores
LABEL_FOLDS = 5
# Inverse strength, for each labelled record, of the ridge on the weights of log-odds.
LABEL_WEIGHT = 1e-2
# Nats that each kind of fit loses to noise, so that with as many to learn from, half of
# its say is the judge's: docs/amortised.md has how they were found.
LABEL_NATS, NETWORK_NATS = 30.0, 1000.0
LEAST_SHARE = 0.1  # of the judge beside networks, however much these learn from


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


class Learned(NamedTuple):
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
) -> Learned:
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
    return Learned(centre, spread, networks)


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


def judged(learned: Learned, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (n_rows,) log-odds of membership, averaged over the networks.

    Args:
        learned: by `fitted`.
        inputs: (n_rows, n_features).
    """
    ready = clipped(inputs, learned.centre, learned.spread)
    total = np.zeros(len(ready))
    with threadpool_limits(1):
        for network in learned.networks:
            p = network.predict_proba(ready).astype(np.float64)
            # A float32 probability can round to 0, whose logarithm is not finite.
            p = np.maximum(p, np.finfo(np.float32).tiny)
            total += np.log(p[:, 1]) - np.log(p[:, 0])
    return total / len(learned.networks)


def scores(
    ready: Sequence[Prepared],
    in_models: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    seed: int,
    jobs: int = 1,
    unit: Units = None,
    max_fit: int = catalogue.MAX_FIT,
) -> NDArray[np.float64]:
    """Score every record of the target; no membership of the target is used.

    Args:
        ready: kinds of margins, each of all models and records.
        in_models: (n_models, n_records) whether a reference was trained on a record.
        kept: (n_models, n_records) whether it counts there: `coverage.balanced`.
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
    n_records = in_models.shape[1]
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
        learned = fitted(inputs, in_models[:, train].ravel(), seed, fold, pool)
        for rows_judged in parts(np.flatnonzero(own), JUDGED_ROWS):
            of_target = [signal.features[rows_judged] for signal in ready]
            out[rows_judged] = judged(learned, np.hstack(of_target))
    return out


def scores_by_labels(
    described: NDArray[np.float64],
    attack_train: NDArray[np.bool_],
    member: NDArray[np.bool_],
    seed: int,
    unit: Units = None,
    fitted_to: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Score every record where references are too few to attack one another.

    Args:
        described: (n_records, n_columns) log-odds by different means.
        attack_train: (n_records,) whose membership may be used.
        member: (n_records,) memberships of the target; outside attack-train they are
            not looked at.
        seed: of the config, for the folds.
        unit: (n_records,) or None.
        fitted_to: (n_records,) records of attack-train to learn from; None: all.

    Returns:
        (n_records,) log-odds; of a record in attack-train from a fit without it.
    """
    known = attack_train if fitted_to is None else fitted_to
    sides = attack_train & member, attack_train & ~member
    folds_of_records = folds.drawn(sides, LABEL_FOLDS, seed, "amortised.folds", unit)
    out = np.empty(len(described))
    for fold in (*range(LABEL_FOLDS), -1):
        own = folds_of_records == fold
        if not own.any():
            continue
        train = known & ~own
        fit = LogisticRegression(C=LABEL_WEIGHT * train.sum(), max_iter=1000)
        with threadpool_limits(1):
            fit.fit(described[train], member[train])
            out[own] = fit.decision_function(described[own])
    return out


def share(
    log_odds: NDArray[np.float64], n_rows: int, nats: float, least: float = 0.0
) -> float:
    """Return the judge's share beside a fit, which is small where much can be learned.

    Of a fit to n rows, each of which tells as many nats of its membership as the
    judge's log-odds claim, a part is noise: about half a nat for each number that is
    fitted (the loss of a maximum-likelihood fit, Akaike 1974). So where a leak is weak
    or rows are few, the judge, which no row of the audit has moved, has more to say.

    Args:
        log_odds: (n_records,) by the judge; no membership is used.
        n_rows: that the fit learns from.
        nats: by which the fit loses to noise.
        least: share that the judge has in any case.
    """
    p = special.expit(log_odds - log_odds.mean())
    nats_of_row = np.log(2) - special.entr((p, 1 - p)).sum(axis=0).mean()
    return float(least + (1 - least) * nats / (nats + n_rows * max(nats_of_row, 0.0)))


class Opinion(NamedTuple):
    """What the judge makes of each record, and the likelihood ratios that it knows."""

    log_odds: NDArray[np.float64]  # (n_records,)
    ratios: NDArray[np.float64]  # (n_records, n_signals); none without references


def opinion(view: View, ready: Sequence[Prepared | None]) -> Opinion:
    """Return what the judge says, by references where there are any.

    Args:
        view: what there is to look at, without memberships.
        ready: by `prepared`; not looked at without references.
    """
    shipped = judge.shipped()
    has_logits = "logits" not in view.unknown
    corrected = view.recalibrated if has_logits else view.margin
    outputs = judge.outputs(
        view.logits, view.margin, corrected, view.label, view.audited
    )
    if not len(view.references):
        return Opinion(judge.log_odds(shipped.alone, outputs), outputs[:, :0])
    beside = judge.beside(ready, view.in_models, view.kept, view.audited)
    log_odds = [
        judge.log_odds(
            shipped.beside, np.hstack((beside.features(rows), outputs[rows]))
        )
        for rows in blocks(len(outputs), JUDGED_WIDTH)
    ]
    return Opinion(np.concatenate(log_odds), beside.ratios)


# The attack of the catalogue.


def score(view: View) -> Scored:
    """Score by a fit and the judge together, or by the judge alone."""
    ready = prepared(view)
    log_odds, ratios = opinion(view, ready)
    if not len(view.references):
        return Scored(log_odds)
    if needs_labels(view):
        described = np.column_stack((log_odds, ratios))
        fitted_to = view.fitted
        known = view.attack_train, view.member
        learned = scores_by_labels(described, *known, view.seed, view.unit, fitted_to)
        n_rows, nats, least = int(fitted_to.sum()), LABEL_NATS, 0.0
    else:
        learned = scores(
            [signal for signal in ready if signal is not None],
            *(view.in_models, view.kept, view.seed, view.jobs, view.unit),
            max_fit=view.max_fit,
        )
        n_rows, nats, least = int(view.kept.sum()), NETWORK_NATS, LEAST_SHARE
    of_judge = share(log_odds[view.audited], min(n_rows, MOST_ROWS), nats, least)
    return Scored(learned + of_judge * (log_odds - learned))


def prepared(view: View) -> list[Prepared | None]:
    """Return each signal with the target's features by it; none without references."""
    if not len(view.references):
        return []
    arrays = view.in_models, view.kept, view.audited
    return [
        None if signal is None else traits.prepared(signal, *arrays)
        for signal in signals_of(view)
    ]


def signals_of(view: View) -> list[Signal | None]:
    """Return the margins as they are, recalibrated, and of the unchanged record."""
    signals: list[Signal | None] = [Signal(view.margin, view.references), None, None]
    if "logits" not in view.unknown:
        signals[1] = Signal(view.recalibrated, view.references_recalibrated)
    if view.margin.shape[1] > 1:
        shape = *view.references.shape[:2], 1
        excesses = OfViews(view.references, first_view_excess, shape)
        signals[2] = Signal(first_view_excess(view.margin), excesses)
    return signals


def needs_labels(view: View) -> bool:
    """Return whether memberships of the target are learned from."""
    return len(view.references) > 0 and not can_play(view)
