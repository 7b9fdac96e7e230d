"""Roster: every attack that is not learned, by name, on one set of records."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.attacks import (
    actors,
    amortised,
    catalogue,
    folds,
    lira,
    percentiles,
    quantile,
    rmia,
    thresholds,
)
from pipeline.attacks.evidence import Evidence, evidence
from pipeline.attacks.moments import Moments, along, mean_axis, principal_axes
from pipeline.errors import LacksError
from pipeline.statistics import metrics

# RMIA's slope where references tell none: Privacy Meter's.
DEFAULT_SLOPE = 0.3
SLOPES = tuple(round(0.1 * i, 1) for i in range(11))
# References attacked, and records, to tune it: the choice is between few values.
TUNING_ACTORS = 8
TUNING_RECORDS = 20_000
QUANTILE_RATE = 0.05  # of non-members above their quantile


class Scored(NamedTuple):
    """What an attack says of each record."""

    score: NDArray[np.float64]  # (n_records,) higher for a likelier member
    # (n_records,) what it means, in [0, 1], where it means something.
    reading: NDArray[np.float64] | None = None
    informed: bool = False  # it was given memberships of attack-train


class Memberships(NamedTuple):
    """What is known of the target's members."""

    known: NDArray[np.bool_]  # (n_records,) attack-train
    member: NDArray[np.bool_]  # (n_records,) of attack-train; of all others False


class WithheldError(Exception):
    """An attack asked for memberships that it was not given."""


@dataclass(frozen=True)
class Given:
    """All that an attack may look at: the audited records, and the population."""

    logits: NDArray[np.floating[Any]]  # (n_records, n_views, n_classes) the target's
    margin: NDArray[np.floating[Any]]  # (n_records, n_views) the target's, nats
    recalibrated: NDArray[np.floating[Any]]  # (n_records, n_views) logits corrected
    label: NDArray[np.integer[Any]]  # (n_records,)
    audited: NDArray[np.bool_]  # (n_records,) the others are non-members, not judged
    memberships: Memberships | None  # None: withheld
    references: NDArray[np.floating[Any]]  # (n_models, n_records, n_views) margins
    # (n_models, n_records, n_views) the same of the corrected logits; no models
    # unless the amortised attack runs
    references_recalibrated: NDArray[np.floating[Any]]
    inside: NDArray[np.bool_]  # (n_models, n_records) trained on a record
    kept: NDArray[np.bool_]  # (n_models, n_records) counts there: `membership.level`
    evidence: Evidence  # of the references
    seed: int
    jobs: int = 1  # worker processes

    @property
    def known(self) -> NDArray[np.bool_]:
        """(n_records,) attack-train: these memberships may be used."""
        return self._told.known

    @property
    def member(self) -> NDArray[np.bool_]:
        """(n_records,) memberships; those not known are not looked at."""
        return self._told.member

    @property
    def _told(self) -> Memberships:
        if self.memberships is None:
            raise WithheldError
        return self.memberships

    @cached_property
    def withheld(self) -> "Given":
        """The same without any membership of the target."""
        return replace(self, memberships=None)

    @property
    def phi(self) -> NDArray[np.float64]:
        """(n_records, 1) margins, averaged over the views."""
        return np.asarray(self.margin, dtype=np.float64) @ self._mean

    @property
    def population(self) -> NDArray[np.bool_]:
        """(n_records,) the records not audited or, without any, known non-members."""
        return self.known & ~self.member if self.audited.all() else ~self.audited

    @property
    def _mean(self) -> NDArray[np.float64]:
        return mean_axis(self.margin.shape[1])

    @property
    def sides(self) -> tuple[Moments, Moments]:
        """IN and OUT moments of the margins averaged over the views."""
        inside, outside = self.evidence.inside.margin, self.evidence.outside.margin
        return along(inside, self._mean), along(outside, self._mean)

    @cached_property
    def slope(self) -> float:
        """RMIA's a."""
        if self.memberships is not None:
            return self.withheld.slope
        if actors.can_play(self.inside, self.kept):
            return tuned_slope(self.references, self.inside, self.kept, self.seed)
        inside, outside = self.evidence.inside, self.evidence.outside
        found = rmia.slope_between(inside.log_confidence, outside.log_confidence)
        return DEFAULT_SLOPE if found is None else found


def lack(name: str, inside: NDArray[np.bool_]) -> str | None:
    """Say which references an attack, or a feature of learned ones, needs in vain.

    Args:
        name: one of `names.FEATURES`.
        inside: (n_models, n_records) whether a reference was trained on a record.
    """
    needed = catalogue.NEEDED.get(name, 0)
    if not needed:
        return None
    if not len(inside):
        return "needs references, and there are none"
    count = inside.sum(axis=0)
    most = {"IN": count.max(), "OUT": len(inside) - count.min()}
    if name in catalogue.OFFLINE:
        del most["IN"]
    elif name in catalogue.EITHER:
        most = {"IN or OUT": max(most.values())}
    elif (
        name in catalogue.BOTH and not (inside.any(axis=0) & ~inside.all(axis=0)).any()
    ):
        return "needs a record with references on both sides, and there is none"
    for side, there in most.items():
        if there < needed:
            several = (
                f"{needed} reference{'s' * (needed > 1)} that a record is {side} of"
            )
            return f"needs {several}, and no record has more than {there}"
    return None


def score(name: str, given: Given) -> Scored:
    """Run an attack, on memberships of the target only if it asks for them.

    Args:
        name: one of `names.ALL`.
        given: what it may look at.

    Raises:
        LacksError: if it lacks references, as `lack` tells, or all of them are alike.
    """
    # A copy of a million records' memberships is large.
    everyone = given.audited.all()
    inside = given.inside if everyone else given.inside[:, given.audited]
    if reason := lack(name, inside):
        raise LacksError(reason)
    try:
        return _run(name, given.withheld)
    except WithheldError:
        return _run(name, given)._replace(informed=True)


def _run(name: str, given: Given) -> Scored:
    if name.endswith(catalogue.PER_CLASS):
        plain = _run(name.removesuffix(catalogue.PER_CLASS), given).score
        return Scored(_per_class(plain, given))
    return ATTACKS[name](given)


def _per_class(plain: NDArray[np.float64], given: Given) -> NDArray[np.float64]:
    """Return scores less their class's threshold, which no record helps to choose."""
    sides = given.known & given.member, given.known & ~given.member
    fold = folds.drawn(sides, quantile.FOLDS, given.seed)
    out = np.empty(len(plain))
    for one in (*range(quantile.FOLDS), -1):
        chosen = given.known & (fold != one)
        found = thresholds.per_class(plain, given.label, chosen, given.member)
        out[fold == one] = found[fold == one]
    return out


def _population(given: Given) -> Scored:
    phi = given.phi[:, 0]
    return Scored(phi, percentiles.attack_p(phi, phi[given.population]))


def _joint(given: Given) -> Scored:
    inside, outside = given.evidence.inside.margin, given.evidence.outside.margin
    basis = principal_axes(inside, outside)
    sides = along(inside, basis), along(outside, basis)
    return Scored(lira.online(given.margin @ basis, *sides, "fixed"))


def _rmia(given: Given, log_prior: NDArray[np.float64]) -> Scored:
    ratio = rmia.log_ratio(rmia.log_confidence(given.margin), log_prior)
    return Scored(ratio, rmia.share(ratio, ratio[given.population]))


def _rmia_online(given: Given) -> Scored:
    inside, outside = given.evidence.inside, given.evidence.outside
    slope = given.slope or DEFAULT_SLOPE
    return _rmia(
        given,
        rmia.log_prior_online(inside.log_confidence, outside.log_confidence, slope),
    )


def _rmia_offline(given: Given) -> Scored:
    outside = given.evidence.outside
    log_out = outside.log_confidence
    seen = outside.margin.count > 0
    # Of a record without, as of the others in the mean.
    log_out = np.where(seen, log_out, rmia.log_mean(log_out[seen], np.True_))
    return _rmia(given, rmia.log_prior_offline(log_out, given.slope))


def _attack_r(given: Given) -> Scored:
    phi, count = given.phi[:, 0], given.evidence.outside.margin.count
    above = np.zeros(len(phi), dtype=np.int64)
    # Model by model: all together need as much room again as their signals.
    outside = ~given.inside & given.kept
    for margin, own in zip(given.references, outside, strict=True):
        above += own & (margin.mean(axis=1) >= phi)
    p = percentiles.attack_r(above, count)
    return Scored(-p, p)


def _difficulty(given: Given) -> Scored:
    # Watson et al. 2022, arXiv:2111.08440, equation 7: the loss less its mean over OUT.
    count = given.evidence.outside.margin.count
    total = np.zeros(len(count))
    outside = ~given.inside & given.kept
    for margin, own in zip(given.references, outside, strict=True):
        total += np.where(own, thresholds.confidence(margin).mean(axis=1), 0.0)
    usual = total / np.maximum(count, 1)
    usual = np.where(count > 0, usual, usual[count > 0].mean())
    own = thresholds.confidence(given.margin).mean(axis=1)
    return Scored(own - usual)


def _qmia(given: Given) -> Scored:
    phi = given.phi[:, 0]
    described = quantile.description(given.logits[:, 0], given.label)
    others = given.population | (given.known & ~given.member)
    usual = quantile.quantiles(phi, described, others, QUANTILE_RATE, given.seed)
    return Scored(phi - usual)


def _amortised(given: Given) -> Scored:
    signals = [
        amortised.Signal(given.margin, given.references),
        amortised.Signal(given.recalibrated, given.references_recalibrated),
    ]
    if given.margin.shape[1] > 1:
        pair = _standing_out(given.margin), _standing_out(given.references)
        signals.append(amortised.Signal(*pair))
    inside, kept, audited = given.inside, given.kept, given.audited
    if actors.can_play(inside, kept):
        scores = amortised.scores(
            signals, inside, kept, audited, given.seed, given.jobs
        )
    else:
        scores = amortised.scores_by_labels(
            signals, inside, kept, audited, given.known, given.member, given.seed
        )
    return Scored(scores)


def _standing_out(margin: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return the (..., 1) margin of the unchanged record, less the mean over views.

    A model that was trained on just this image knows it better than its mirror image.
    """
    return np.asarray(margin[..., :1] - margin.mean(axis=-1, keepdims=True))


ATTACKS: dict[str, Callable[[Given], Scored]] = {
    "loss": lambda g: Scored(thresholds.confidence(g.margin[:, 0])),
    "confidence": lambda g: Scored(rmia.log_confidence(g.margin)),
    "margin": lambda g: Scored(g.phi[:, 0]),
    "entropy": lambda g: Scored(thresholds.entropy(g.logits[:, 0])),
    "modified_entropy": lambda g: Scored(
        thresholds.modified_entropy(g.logits[:, 0], g.label)
    ),
    "correctness": lambda g: Scored(thresholds.correctness(g.logits[:, 0], g.label)),
    "attack_p": _population,
    "lira_online": lambda g: Scored(lira.online(g.phi, *g.sides, "record")),
    "lira_online_fixed": lambda g: Scored(lira.online(g.phi, *g.sides, "fixed")),
    "lira_online_joint": _joint,
    "lira_online_bayes": lambda g: Scored(lira.bayesian_online(g.phi, *g.sides)),
    "lira_online_hierarchical": lambda g: Scored(
        lira.hierarchical(g.phi, *g.sides, g.audited)
    ),
    "lira_offline": lambda g: Scored(
        lira.offline(g.phi, g.sides[1], "record", inside=g.sides[0])
    ),
    "lira_offline_fixed": lambda g: Scored(
        lira.offline(g.phi, g.sides[1], "fixed", inside=g.sides[0])
    ),
    "lira_offline_bayes": lambda g: Scored(lira.bayesian_offline(g.phi, g.sides[1])),
    "lira_offline_two_sided": lambda g: Scored(
        lira.offline(g.phi, g.sides[1], "record", inside=g.sides[0], two_sided=True)
    ),
    "rmia_online": _rmia_online,
    "rmia_offline": _rmia_offline,
    "attack_r": _attack_r,
    "difficulty": _difficulty,
    "qmia": _qmia,
    "amortised": _amortised,
}


def tuned_slope(
    margin: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    seed: int,
) -> float:
    """Return the a of offline RMIA that tells references' members best.

    References are attacked as if they were the target, by the others; nothing of the
    target is used.

    Args:
        margin: (n_models, n_records, n_views) of the references.
        member: (n_models, n_records).
        kept: (n_models, n_records).
        seed: of the sample of records.

    Returns:
        One of `SLOPES`.

    Source: Zarifzadeh et al. 2024, arXiv:2312.03262, appendix B.2.2.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(member.shape[1])[:TUNING_RECORDS])
    margin, member, kept = margin[:, rows], member[:, rows], kept[:, rows]
    total = np.zeros(len(SLOPES))
    for actor in range(min(len(margin), TUNING_ACTORS)):
        inside, outside = actors.helpers(member, kept, actor, rng)
        known = evidence(margin, inside, outside).outside
        seen = known.margin.count > 0
        log_p = rmia.log_confidence(margin[actor])[seen]
        own = member[actor][seen]
        if own.all() or not own.any():
            continue
        for place, slope in enumerate(SLOPES):
            prior = rmia.log_prior_offline(known.log_confidence[seen], slope)
            total[place] += metrics.auc(rmia.log_ratio(log_p, prior), own)
    return SLOPES[int(np.argmax(total))]


def features(
    wanted: tuple[str, ...], given: Given, scores: Mapping[str, Scored]
) -> NDArray[np.float64]:
    """Return the features of a learned attack.

    Args:
        wanted: from `names.FEATURES`, in order.
        given: what may be looked at.
        scores: of the attacks that have run.

    Returns:
        (n_records, n_features).

    Raises:
        LacksError: if an attack that is named lacked references.
    """
    columns: list[NDArray[np.floating[Any]]] = []
    for name in wanted:
        if name == "loss":
            columns.append(np.logaddexp(0.0, -given.margin[:, :1].astype(np.float64)))
        elif name == "logits":
            columns.append(given.logits[:, 0])
        elif name == "sorted":
            p = np.exp(thresholds.log_softmax(given.logits[:, 0]))
            columns.append(-np.sort(-p, axis=1))
        elif name == "margin":
            columns.append(given.phi)
        elif name == "views":
            columns.append(given.margin)
        elif name == "references":
            for side in given.sides:
                columns += [side.mean, np.sqrt(lira.variances(side, "record"))]
        elif name in scores:
            columns.append(scores[name].score[:, None])
        else:
            msg = f"names {name!r}, which lacked what it needs"
            raise LacksError(msg)
    return np.hstack(columns).astype(np.float64)
