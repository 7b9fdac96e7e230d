"""RMIA: a record's confidence against that of references and of a population.

Every score is higher for a likelier member. Confidences are kept as logarithms, which
do not underflow.

Source: Zarifzadeh, Liu and Shokri 2024, "Low-Cost High-Power Membership Inference
Attacks", arXiv:2312.03262.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import draws
from pipeline.attacks import actors
from pipeline.attacks.evidence import evidence
from pipeline.attacks.view import Scored, View, can_play
from pipeline.errors import LacksError
from pipeline.signals import margins
from pipeline.signals.stored import Stored
from pipeline.statistics import metrics

# The slope a where references do not determine it: Privacy Meter's.
DEFAULT_SLOPE = 0.3
SLOPES = tuple(round(0.1 * i, 1) for i in range(11))
# References attacked, and records, to tune it: enough to choose between few values.
TUNING_ACTORS = 8
TUNING_RECORDS = 20_000


def log_prior_online(
    log_in: NDArray[np.floating[Any]], log_out: NDArray[np.floating[Any]], a: float
) -> NDArray[np.float64]:
    """Return log p(x), where p(x) = ½(P_in + P_out).

    Args:
        log_in: (n_records,) log of the mean confidence of the IN references; -inf
            where there are none: P_in = a·P_out + 1 − a then stands in.
        log_out: (n_records,) the same of the OUT references; where there are none,
            P_out = max(0, (P_in − 1 + a)/a).
        a: slope of that relation, in (0, 1].

    Source: arXiv:2312.03262, appendix B.2.2, equation 9.
    """
    p_in, p_out = np.exp(log_in), np.exp(log_out)
    no_in, no_out = np.isneginf(log_in), np.isneginf(log_out)
    likely_in = np.log(a * p_out + (1 - a) + (a == 1) * np.finfo(float).tiny)
    with np.errstate(divide="ignore"):
        likely_out = np.log(np.maximum((p_in - 1 + a) / a, 0.0))
    of_in = np.where(no_in & ~no_out, likely_in, log_in)
    of_out = np.where(no_out & ~no_in, likely_out, log_out)
    return np.asarray(np.logaddexp(of_in, of_out) - np.log(2.0))


def log_prior_offline(
    log_out: NDArray[np.floating[Any]], a: float
) -> NDArray[np.float64]:
    """Return log p(x), where p(x) = ½[(1 + a) P_out + 1 − a].

    Args:
        log_out: (n_records,) log of the mean confidence of the OUT references.
        a: slope of P_in ≈ a·P_out + 1 − a, in [0, 1].

    Source: arXiv:2312.03262, appendix B.2.2, equation 10.
    """
    with np.errstate(divide="ignore"):
        constant = np.log((1.0 - a) / 2)
    return np.asarray(np.logaddexp(np.log((1 + a) / 2) + log_out, constant))


def slope_between(
    log_in: NDArray[np.floating[Any]], log_out: NDArray[np.floating[Any]]
) -> float | None:
    """Return the a at which P_in = a·P_out + 1 − a holds of the records' means.

    It serves where references are too few to attack one another; no membership of the
    target is used.

    Args:
        log_in: (n_records,) log of the mean confidence of the IN references; -inf
            where there are none.
        log_out: (n_records,) the same of the OUT references.

    Returns:
        A slope in [0, 1]; None where a side has no reference at all.
    """
    has_in, has_out = ~np.isneginf(log_in), ~np.isneginf(log_out)
    if not has_in.any() or not has_out.any():
        return None
    # In terms of 1 − P the relation is a proportion.
    lacking_in = 1 - np.exp(log_in[has_in]).mean()
    lacking_out = 1 - np.exp(log_out[has_out]).mean()
    return float(min(lacking_in / lacking_out, 1.0)) if lacking_out > 0 else None


def log_ratio(
    log_p: NDArray[np.floating[Any]], log_prior: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Return log r, where r = p(x | target) / p(x).

    RMIA's share of the population grows with r and with nothing else, so r gives the
    ranking, without the ties of a finite population.
    """
    return np.asarray(log_p - log_prior)


def share(
    ratio: NDArray[np.floating[Any]],
    population: NDArray[np.floating[Any]],
    gamma: float = 1.0,
) -> NDArray[np.float64]:
    """Return the share of the population that each record dominates by a factor γ.

    It equals the mean over z of [r_x / r_z > γ], by one sort in place of all pairs.

    Args:
        ratio: (n_records,) log r_x, as `log_ratio` gives it.
        population: (n_population,) log r_z of records that the target was not trained
            on and that are not among those attacked.
        gamma: γ > 0.

    Returns:
        (n_records,) shares in [0, 1].

    Raises:
        LacksError: if there is no population.

    Source: arXiv:2312.03262, equations 3 and 5; there a tie counts as well.
    """
    if not len(population):
        msg = "RMIA needs a population to compare with, got none"
        raise LacksError(msg)
    below = np.searchsorted(np.sort(population), ratio - np.log(gamma), side="left")
    return np.asarray(below / len(population))


def tuned_slope(
    references: Stored,
    in_models: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    seed: int,
) -> float:
    """Return the a with which offline RMIA does best against the references.

    References are attacked as if they were the target, by the others; nothing of the
    target is used.

    Args:
        references: (n_models, n_records, n_views) their margins.
        in_models: (n_models, n_records) whether a reference was trained on a record.
        kept: (n_models, n_records) whether it counts there.
        seed: of the config, for the sample of records.

    Returns:
        One of `SLOPES`.

    Source: Zarifzadeh et al. 2024, arXiv:2312.03262, appendix B.2.2.
    """
    order = draws.rng(seed, "rmia.records").permutation(in_models.shape[1])
    rows = np.sort(order[:TUNING_RECORDS])
    margin = references[:, rows]
    in_models, kept = in_models[:, rows], kept[:, rows]
    total = np.zeros(len(SLOPES))
    for actor in range(min(len(margin), TUNING_ACTORS)):
        rng = draws.rng(seed, "rmia.stand_ins", actor)
        sides = actors.helpers(in_models, kept, actor, rng)
        out_side = evidence(margin, *sides).out_side
        seen = out_side.margin.count > 0
        log_p = margins.log_mean_confidence(margin[actor])[seen]
        member = in_models[actor][seen]
        if member.all() or not member.any():
            continue
        for place, a in enumerate(SLOPES):
            prior = log_prior_offline(out_side.log_confidence[seen], a)
            total[place] += metrics.auc(log_ratio(log_p, prior), member)
    return SLOPES[int(np.argmax(total))]


def slope(view: View) -> float:
    """Return the a of both attacks below: tuned, or estimated, or the default."""
    return view.shared(_slope)


def _slope(view: View) -> float:
    if can_play(view):
        return tuned_slope(view.references, view.in_models, view.kept, view.seed)
    in_side, out_side = view.evidence.in_side, view.evidence.out_side
    estimate = slope_between(in_side.log_confidence, out_side.log_confidence)
    return DEFAULT_SLOPE if estimate is None else estimate


# The attacks of the catalogue.


def score_online(view: View) -> Scored:
    """Score by log r, with the mean confidences of IN and OUT references as p(x)."""
    in_side, out_side = view.evidence.in_side, view.evidence.out_side
    # Of a = 0 the relation between the sides has no inverse.
    a = slope(view) or DEFAULT_SLOPE
    prior = log_prior_online(in_side.log_confidence, out_side.log_confidence, a)
    return _scored(view, prior)


def score_offline(view: View) -> Scored:
    """Score by log r, with p(x) from the mean confidence of OUT references.

    A record without OUT references has the mean of the others.
    """
    log_out = view.evidence.out_side.log_confidence
    seen = view.evidence.out_side.margin.count > 0
    log_out = np.where(seen, log_out, margins.log_mean(log_out[seen], np.True_))
    return _scored(view, log_prior_offline(log_out, slope(view)))


def _scored(view: View, log_prior: NDArray[np.float64]) -> Scored:
    ratio = log_ratio(margins.log_mean_confidence(view.margin), log_prior)
    return Scored(ratio, share(ratio, ratio[view.population]))
