"""Amortised: the likelihood ratio learned from references that play the target.

Every reference is attacked as if it were the target, by the other references. Whose
member a record is of it is known for every record, so a classifier can learn what a
Gaussian can only assume, from n_references × n_records rows, and score the real target
without knowing any of its members. It may be given several kinds of margins, as they
are and recalibrated: how far to trust which, it learns. Records are cross-fitted: no
row of a record trains the networks that score it.

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

from pipeline.attacks import actors, folds, lira, rmia
from pipeline.attacks.evidence import Evidence, Side, evidence, together, view_spread
from pipeline.attacks.moments import Moments, along, mean_axis, with_both_sides
from pipeline.errors import LacksError

FOLDS = 3  # of records, each scored by networks that never saw it
NETWORKS = 3  # averaged in each fold; one alone is noisy at low false-positive rates
HIDDEN = (48, 48)
EPOCHS = 12
# Rows per step: few rows make small steps, so that there are enough of them.
LEAST_BATCH, MOST_BATCH = 32, 1024
STEPS = 16  # in an epoch, at least, unless rows are very few
RATE = 2e-3
FARTHEST = 6.0  # standard deviations at which features are clipped
# More rows than these teach no more, and a million records have 64 times as many.
MOST_ROWS = 200_000
BLOCK_ROWS = 32_768  # records summed up at once, so that a million need little memory
LABEL_FOLDS = 5
# Inverse strength, for each labelled record, of the ridge on some eighty features: few
# labels leave little beyond what every feature says by itself.
LABEL_WEIGHT = 1e-4


class Signal(NamedTuple):
    """A kind of margin, in nats."""

    target: NDArray[np.floating[Any]]  # (n_records, n_views)
    references: NDArray[np.floating[Any]]  # (n_models, n_records, n_views)


class Scale(NamedTuple):
    """Location and scale of each model's margins over all records, in nats."""

    centre: NDArray[np.float64]  # (n_models,)
    spread: NDArray[np.float64]  # (n_models,)


def scale_of(margin: NDArray[np.floating[Any]], audited: NDArray[np.bool_]) -> Scale:
    """Return how each model's margins are spread.

    Args:
        margin: (n_models, n_records, n_views).
        audited: (n_records,) which of them count.
    """
    # Model by model: all together need as much room again as the margins.
    centre, spread = np.empty((2, len(margin)))
    for model, one in enumerate(margin):
        chosen = one[audited].astype(np.float64)
        centre[model], spread[model] = chosen.mean(), chosen.std()
    return Scale(centre, np.where(spread > 0, spread, 1.0))


def levelled(
    margin: NDArray[np.floating[Any]], own: Scale, common: Scale
) -> NDArray[np.float64]:
    """Return margins on a common scale: models differ in how far they were trained.

    Args:
        margin: (n_models, n_records, n_views).
        own: of these models.
        common: of the references, whose mean location and scale are given to all.
    """
    ratio = common.spread.mean() / own.spread
    centred = np.asarray(margin, dtype=np.float64) - own.centre[:, None, None]
    return np.asarray(centred * ratio[:, None, None] + common.centre.mean())


def features(
    target: NDArray[np.floating[Any]], known: Evidence, prior: lira.Hierarchy | None
) -> NDArray[np.float32]:
    """Return what is known of each record, in numbers that do not name it.

    They are the margin and the log of the confidence of the target, the means of the
    IN and OUT references of both, as counted and as shrunk towards the prior, the
    differences, the two likelihood ratios that theory gives (LiRA's under `prior`,
    RMIA's), and with several views how much the target and either side vary over them.

    Args:
        target: (n_records, n_views) margins in nats.
        known: of the references.
        prior: of the records' means; None where no record has both sides.

    Returns:
        (n_records, n_features).
    """
    n_views = target.shape[1]
    phi = np.asarray(target, dtype=np.float64).mean(axis=1)
    basis = mean_axis(n_views)
    sides = [along(side.margin, basis) for side in (known.inside, known.outside)]
    filled = with_both_sides(*sides)
    log_p = rmia.log_confidence(target)
    log_in, log_out = _both_confidences(known)
    log_prior = np.logaddexp(log_in, log_out) - np.log(2)
    columns = [phi, log_p, log_in, log_out]
    columns += [log_p - log_prior, log_p - log_in, log_p - log_out]
    for side in filled:
        columns += [side.mean[:, 0], phi - side.mean[:, 0]]
    if prior is not None:
        centre, variance = lira.posterior(prior, sides[0], sides[1])
        z = (phi - centre) / np.sqrt(variance)
        ratio = 0.5 * (z[1] ** 2 - z[0] ** 2 + np.log(variance[1] / variance[0]))
        shrunk = np.logaddexp(*_log_sigmoid(centre)) - np.log(2)
        columns += [ratio, *centre, *(phi - centre), *z, log_p - shrunk]
    if n_views > 1:
        columns += [view_spread(target), target.min(axis=1), target.max(axis=1)]
        columns += [known.inside.view_spread, known.outside.view_spread]
    return np.asarray(np.stack(columns, axis=1), dtype=np.float32)


def _both_confidences(
    known: Evidence,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the log mean confidences, a missing side's as the other's mean shift."""

    def as_moments(side: Side) -> Moments:
        count = side.margin.count
        mean = np.where(count > 0, side.log_confidence, 0.0)[:, None]
        return Moments(count, mean, np.zeros((len(count), 1, 1)))

    inside, outside = with_both_sides(
        as_moments(known.inside), as_moments(known.outside)
    )
    return inside.mean[:, 0], outside.mean[:, 0]


def _log_sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return -np.logaddexp(0.0, -x)


def rows(
    margin: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    prior: lira.Hierarchy | None,
    seed: int,
) -> NDArray[np.float32]:
    """Return the features of every record under every reference as the target.

    Args:
        margin: (n_models, n_records, n_views) of the references.
        member: (n_models, n_records).
        kept: (n_models, n_records).
        prior: fitted to all references; a handful of numbers that name no record.
        seed: of the draws of `actors.helpers`.

    Returns:
        (n_models, n_records, n_features).
    """
    rng = np.random.default_rng(seed)
    found = []
    for actor in range(len(margin)):
        inside, outside = actors.helpers(member, kept, actor, rng)
        known = evidence(margin, inside, outside)
        found.append(features(margin[actor], known, prior))
    return np.stack(found)


class Judge(NamedTuple):
    """Networks, and the standardisation of what they are given."""

    centre: NDArray[np.float32]
    spread: NDArray[np.float32]
    networks: list[MLPClassifier]


def fitted(
    given: NDArray[np.float32],
    member: NDArray[np.bool_],
    seed: int,
    pool: joblib.Parallel,
) -> Judge:
    """Fit networks that tell IN rows from OUT rows.

    Args:
        given: (n_rows, n_features).
        member: (n_rows,).
        seed: of first weights and of the order of rows.
        pool: of workers; the networks do not depend on it.
    """
    centre, spread = given.mean(axis=0), given.std(axis=0)
    spread = np.where(spread > 0, spread, 1).astype(np.float32)
    ready = _standard(given, centre, spread)
    seeds = np.random.SeedSequence(seed).generate_state(NETWORKS)
    networks = pool(joblib.delayed(_network)(ready, member, int(s)) for s in seeds)
    return Judge(centre, spread, networks)


def _network(
    ready: NDArray[np.float32], member: NDArray[np.bool_], seed: int
) -> MLPClassifier:
    network = MLPClassifier(
        HIDDEN,
        alpha=1e-3,
        batch_size=min(max(len(ready) // STEPS, LEAST_BATCH), MOST_BATCH, len(ready)),
        learning_rate_init=RATE,
        max_iter=EPOCHS,
        random_state=seed,
    )
    # Sums of as many threads as there are processors differ in their last bits.
    with threadpool_limits(1), warnings.catch_warnings():
        # It stops after EPOCHS, on purpose.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return network.fit(ready, member)


def judged(judge: Judge, given: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (n_rows,) log-odds of membership, averaged over the networks."""
    ready = _standard(given, judge.centre, judge.spread)
    total = np.zeros(len(ready))
    for network in judge.networks:
        p = network.predict_proba(ready).astype(np.float64)
        # float32 probabilities reach 0 and 1; the margin of error there is tiny's.
        p = np.maximum(p, np.finfo(np.float32).tiny)
        total += np.log(p[:, 1]) - np.log(p[:, 0])
    return total / len(judge.networks)


def _standard(
    given: NDArray[np.float32], centre: NDArray[np.float32], spread: NDArray[np.float32]
) -> NDArray[np.float32]:
    return np.clip((given - centre) / spread, -FARTHEST, FARTHEST)


class Prepared(NamedTuple):
    """A signal brought to one scale, and what it says of every record."""

    references: NDArray[np.floating[Any]]  # (n_models, n_records, n_views) as they were
    scale: Scale  # of the references
    prior: lira.Hierarchy | None
    given: NDArray[np.float32]  # (n_records, n_features) of the target


def prepared(
    signal: Signal,
    member: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    audited: NDArray[np.bool_],
) -> Prepared:
    """Return a signal with the features of the target; see `scores`."""
    target, references = signal
    common = scale_of(references, audited)
    phi = levelled(target[None], scale_of(target[None], audited), common)[0]
    known = together(
        [
            evidence(
                levelled(references[:, rows], common, common),
                member[:, rows] & kept[:, rows],
                ~member[:, rows] & kept[:, rows],
            )
            for rows in _blocks(len(phi))
        ]
    )
    prior = hierarchy_of(phi, known, audited)
    return Prepared(references, common, prior, features(phi, known, prior))


def scores(
    signals: Sequence[Signal],
    member: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    audited: NDArray[np.bool_],
    seed: int,
    jobs: int = 1,
) -> NDArray[np.float64]:
    """Score every record of the target; no membership of the target is used.

    Args:
        signals: kinds of margins, each of all models and records.
        member: (n_models, n_records) whether a reference was trained on a record.
        kept: (n_models, n_records) whether it counts there: `membership.level`.
        audited: (n_records,) whether the target may be trained on it; other records
            teach the networks only.
        seed: of folds, samples and networks.
        jobs: worker processes that train networks. The scores do not depend on it.

    Returns:
        (n_records,) log-odds of membership.

    Raises:
        LacksError: if there are too few references to attack one another.
    """
    if not actors.can_play(member, kept):
        msg = f"{len(member)} references are too few to attack one another"
        raise LacksError(msg)
    ready = [prepared(signal, member, kept, audited) for signal in signals]
    given = np.hstack([one.given for one in ready])

    order, first, second = (
        np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3)
    )
    place = order.permutation(len(given))
    fold = place % FOLDS
    # Few enough records for MOST_ROWS, of those that have something to teach.
    teaching = np.flatnonzero(actors.divided(member))
    first_ones = np.argsort(place[teaching])[: max(MOST_ROWS // len(member), FOLDS)]
    sampled = np.zeros(len(given), dtype=bool)
    sampled[teaching[first_ones]] = True
    out = np.empty(len(given))
    pool = joblib.Parallel(jobs)
    for one in range(FOLDS):
        train, judged_now = sampled & (fold != one), fold == one
        draw = int(first.integers(2**31))
        taught = np.concatenate(
            [
                rows(
                    levelled(signal.references[:, train], signal.scale, signal.scale),
                    member[:, train],
                    kept[:, train],
                    signal.prior,
                    draw,
                )
                for signal in ready
            ],
            axis=-1,
        )
        judge = fitted(
            taught.reshape(-1, taught.shape[-1]),
            member[:, train].ravel(),
            int(second.integers(2**31)),
            pool,
        )
        out[judged_now] = judged(judge, given[judged_now])
    return out


def _blocks(n_records: int) -> list[slice]:
    return [slice(i, i + BLOCK_ROWS) for i in range(0, n_records, BLOCK_ROWS)]


def hierarchy_of(
    target: NDArray[np.floating[Any]], known: Evidence, audited: NDArray[np.bool_]
) -> lira.Hierarchy | None:
    """Return the prior of the records' means, or None where no record has both sides.

    Args:
        target: (n_records, n_views) margins.
        known: of the references.
        audited: (n_records,) whether the target may be trained on it.
    """
    basis = mean_axis(target.shape[1])
    inside = along(known.inside.margin, basis)
    outside = along(known.outside.margin, basis)
    if not ((inside.count > 0) & (outside.count > 0) & audited).any():
        return None
    return lira.fitted_hierarchy(target @ basis, inside, outside, audited)


def scores_by_labels(
    signals: Sequence[Signal],
    member: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    audited: NDArray[np.bool_],
    known: NDArray[np.bool_],
    target_member: NDArray[np.bool_],
    seed: int,
) -> NDArray[np.float64]:
    """Score every record where references are too few to attack one another.

    Args:
        signals: kinds of margins, each of all models and records.
        member: (n_models, n_records) whether a reference was trained on a record.
        kept: (n_models, n_records) whether it counts there.
        audited: (n_records,) whether the target may be trained on it.
        known: (n_records,) attack-train records, whose membership may be used.
        target_member: (n_records,) memberships; those not known are not looked at.
        seed: of the folds.

    Returns:
        (n_records,) log-odds; of a known record from a fit without it.
    """
    given = np.hstack([_described(signal, member, kept, audited) for signal in signals])
    spread = given.std(axis=0)
    ready = (given - given.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    ready = np.clip(ready, -FARTHEST, FARTHEST)
    sides = known & target_member, known & ~target_member
    fold = folds.drawn(sides, LABEL_FOLDS, seed)
    out = np.empty(len(given))
    for one in (*range(LABEL_FOLDS), -1):
        train = known & (fold != one)
        judge = LogisticRegression(C=LABEL_WEIGHT * train.sum(), max_iter=1000)
        judge.fit(ready[train], target_member[train])
        if (fold == one).any():
            out[fold == one] = judge.decision_function(ready[fold == one])
    return out


def _described(
    signal: Signal,
    member: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    audited: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the features of every record, on whichever sides it has references."""
    target, references = signal
    found = evidence(references, member & kept, ~member & kept)
    prior = hierarchy_of(target, found, audited)
    if found.inside.margin.count.any() and found.outside.margin.count.any():
        given = features(target, found, prior).astype(np.float64)
    else:
        side = found.inside if found.inside.margin.count.any() else found.outside
        given = _one_sided(target, side)
    if prior is not None:
        return given
    # Each record has one side only, and the two sides mean different things.
    which = (found.inside.margin.count > 0)[:, None]
    return np.hstack((given, given * which, which))


def _one_sided(target: NDArray[np.floating[Any]], side: Side) -> NDArray[np.float64]:
    phi = np.asarray(target, dtype=np.float64).mean(axis=1)
    mean = side.margin.mean.mean(axis=1)
    log_p = rmia.log_confidence(target)
    ratio = log_p - side.log_confidence
    spread = view_spread(target)
    return np.stack((phi, mean, phi - mean, log_p, ratio, spread), axis=1)
