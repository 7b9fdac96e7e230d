"""LiRA: likelihood ratios between a record's IN and OUT references.

Every score is higher for a likelier member. Signals are margins in nats, which are
nearly Gaussian; n_axes is the number of views, or of their combinations.

Source: Carlini et al. 2022, "Membership Inference Attacks From First Principles",
arXiv:2112.03570.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pipeline.attacks.moments import Moments, along, principal_axes, with_both_sides
from pipeline.attacks.view import Scored, View
from pipeline.errors import LacksError

Variance = Literal["record", "fixed"]
# Records that all references treat the same leave no estimate of the prior's shape.
MOST_SHAPE = 1e3
LEAST_SHARE = 1e-6  # of what a variance is compared with
# Correlation, over records, of the IN with the OUT mean. What few references estimate
# is too low: docs/amortised.md has what this gains.
TOGETHER = 0.995
# Of the variance of a side's means, where no record has two references.
LEAST_NOISE = 0.02
LEAST_VARIANCE = 1e-12  # nats², where all models say the same of all records


def online(
    target: NDArray[np.floating[Any]],
    in_side: Moments,
    out_side: Moments,
    variance: Variance,
) -> NDArray[np.float64]:
    """Return log N(φ; μ_in, σ_in²) − log N(φ; μ_out, σ_out²), summed over the axes.

    Variances are mean squares about the record's own mean: "record" of that record,
    "fixed" of all records together. Where a record's variance is 0 or it has only one
    reference on a side, the fixed variance is used; where no record has two, σ is 1 nat
    on both sides. A missing side's mean is filled in by `moments.with_both_sides`.

    Args:
        target: (n_records, n_axes) the target's signal φ.
        in_side: of the references trained on each record.
        out_side: of the others.
        variance: whose residuals it is taken from.

    Returns:
        (n_records,) log ratios, in nats.

    Raises:
        LacksError: if a record, or a whole side, has no reference.

    Source: arXiv:2112.03570, algorithm 1. With "fixed", the published code pools raw
    values, and takes both variances from the IN side.
    """
    phi = np.asarray(target, dtype=np.float64)
    in_side, out_side = with_both_sides(in_side, out_side)
    var_in, var_out = variances(in_side, variance), variances(out_side, variance)
    if not (has_spread(in_side) and has_spread(out_side)):
        var_in, var_out = np.ones_like(phi), np.ones_like(phi)
    terms = _log_normal(phi, in_side.mean, var_in) - _log_normal(
        phi, out_side.mean, var_out
    )
    return np.asarray(terms.sum(axis=1))


def offline(
    target: NDArray[np.floating[Any]],
    out_side: Moments,
    variance: Variance,
    *,
    in_side: Moments | None = None,
    two_sided: bool = False,
) -> NDArray[np.float64]:
    """Return how far a record's signal lies above that of its OUT references.

    The score is the z-value z = (φ − μ_out)/σ_out, which ranks as P[Z < φ] does but has
    no ties where that rounds to 1. Two-sided it is −log N(φ; μ_out, σ_out²), as in the
    published code: there an unusually low signal counts for membership too.

    Args:
        target: (n_records, 1) the target's signal φ, its views averaged.
        out_side: of the references not trained on each record.
        variance: as in `online`.
        in_side: of the references trained on each record; from these the mean of a
            record without OUT references is filled in by `moments.with_both_sides`.
        two_sided: as in the published code.

    Returns:
        (n_records,) scores; the mean of the others for a record without references.

    Raises:
        LacksError: if no record has an OUT reference.

    Source: arXiv:2112.03570, section IV-C, equation 4.
    """
    phi = np.asarray(target, dtype=np.float64)
    seen = out_side.count > 0
    if not seen.any():
        msg = "no record has a reference that it is OUT of"
        raise LacksError(msg)
    if in_side is not None and in_side.count.any():
        out_side = with_both_sides(in_side, out_side)[1]
        seen |= in_side.count > 0
    var = variances(out_side, variance) if has_spread(out_side) else np.ones_like(phi)
    if two_sided:
        score = -_log_normal(phi, out_side.mean, var)[:, 0]
    else:
        score = ((phi - out_side.mean) / np.sqrt(var))[:, 0]
    return np.where(seen, score, score[seen].mean())


def has_spread(side: Moments) -> bool:
    """Return whether the references of any record differ on every axis."""
    return bool((np.diagonal(side.scatter, axis1=1, axis2=2).sum(axis=0) > 0).all())


def variances(side: Moments, variance: Variance) -> NDArray[np.float64]:
    """Return (n_records, n_axes) variances of a side, in nats²; see `online`.

    They are sums of squares divided by the number of references, as in the paper: the
    estimate of maximum likelihood.
    """
    squares = np.diagonal(side.scatter, axis1=1, axis2=2)
    several = side.count >= 2
    total = max(int(side.count[several].sum()), 1)
    fixed = np.broadcast_to(squares.sum(axis=0) / total, squares.shape)
    if variance == "fixed":
        return fixed
    own = squares / np.maximum(side.count, 1)[:, None]
    return np.where(several[:, None] & (own > 0), own, fixed)


def _log_normal(
    x: NDArray[np.float64], mean: NDArray[np.float64], variance: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.asarray(
        -0.5 * ((x - mean) ** 2 / variance + np.log(2 * np.pi * variance))
    )


# Bayesian variants


class Prior(NamedTuple):
    """A normal-inverse-gamma prior of a record's mean and variance on one side."""

    mean: float
    strength: float  # κ, in references
    shape: float  # α
    scale: float  # β


def fitted_prior(side: Moments) -> Prior:
    """Fit the prior of a side by moments over all records (empirical Bayes).

    The mean of the unbiased variances gives β/(α−1), their spread beyond that of
    chi-squared draws gives α, and the spread of the records' means gives κ.

    Args:
        side: with one axis.

    Raises:
        LacksError: if no record has two references that differ.
    """
    count, mean = side.count, side.mean[:, 0]
    free = count - 1
    several = free >= 1
    if not several.any() or not has_spread(side):
        msg = "no record has two references on this side that differ"
        raise LacksError(msg)
    var = side.scatter[several, 0, 0] / free[several]
    typical = float(np.average(var, weights=free[several]))
    # E[s⁴] = σ⁴ (1 + 2/free) for Gaussian residuals.
    squared = float(np.mean(var**2 / (1 + 2 / free[several])))
    excess = squared / typical**2 - 1
    shape = MOST_SHAPE if excess <= 0 else min(2 + 1 / excess, MOST_SHAPE)
    seen = count > 0
    between = float(np.var(mean[seen]) - typical * np.mean(1 / count[seen]))
    strength = typical / max(between, LEAST_SHARE * typical)
    return Prior(float(mean[seen].mean()), strength, shape, typical * (shape - 1))


class Predictive(NamedTuple):
    """A Student-t distribution of the next reference's signal, for each record."""

    mean: NDArray[np.float64]  # (n_records,)
    variance: NDArray[np.float64]  # (n_records,) squared scale
    freedom: NDArray[np.float64]  # (n_records,)


def predictive(side: Moments, prior: Prior) -> Predictive:
    """Return the posterior predictive distribution of a side with one axis.

    Source: Murphy 2007, "Conjugate Bayesian analysis of the Gaussian distribution",
    equations 85 to 89 and 100.
    """
    n, mean = side.count, side.mean[:, 0]
    strength = prior.strength + n
    centre = (prior.strength * prior.mean + n * mean) / strength
    shape = prior.shape + n / 2
    shift = prior.strength * n * (mean - prior.mean) ** 2 / (2 * strength)
    scale = prior.scale + 0.5 * side.scatter[:, 0, 0] + shift
    variance = scale * (strength + 1) / (shape * strength)
    return Predictive(centre, variance, 2 * shape)


def bayesian_online(
    target: NDArray[np.floating[Any]], in_side: Moments, out_side: Moments
) -> NDArray[np.float64]:
    """Return the log-ratio of the IN and the OUT predictive density, a Student-t each.

    A record without references on a side has the prior's prediction there.

    Args:
        target: (n_records, 1) the target's signal, its views averaged.
        in_side: of the references trained on each record; one axis.
        out_side: of the others; one axis.

    Raises:
        LacksError: if no record has two references on a side.

    Source: BaVarIA, arXiv:2603.11799.
    """
    phi = np.asarray(target, dtype=np.float64)[:, 0]
    terms = []
    for side in (in_side, out_side):
        law = predictive(side, fitted_prior(side))
        terms.append(stats.t.logpdf(phi, law.freedom, law.mean, np.sqrt(law.variance)))
    return np.asarray(terms[0] - terms[1])


class Hierarchy(NamedTuple):
    """A bivariate Gaussian prior of a record's IN and OUT mean, and noise around them.

    Records that are easy when left out are easy when learned: the two means are
    correlated, so that either side's references inform the other side as well.
    """

    mean: NDArray[np.float64]  # (2,) of the IN and the OUT mean
    covariance: NDArray[np.float64]  # (2, 2) over records
    noise: NDArray[np.float64]  # (2,) variance of a model about the record's mean


def fitted_hierarchy(
    target: NDArray[np.floating[Any]],
    in_side: Moments,
    out_side: Moments,
    audited: NDArray[np.bool_] | Literal[True] = True,
) -> Hierarchy:
    """Fit the prior by moments over records; no membership of the target is used.

    The target is a further draw of unknown membership. If half of the records are its
    members, its covariance with a side's means is ½(v + c), where v is the variance of
    the records' means on that side, and c the covariance of their IN and OUT means.
    These move nearly together: with c² = v_in · v_out both variances follow.

    The noise on a side is the scatter of its references or, where no record has two,
    what their means vary by beyond v. A side without any reference is taken to be like
    the other, and to lie as far from the target's mean as the other does.

    Args:
        target: (n_records, 1) the target's signal, its views averaged.
        in_side: of the references trained on each record; one axis.
        out_side: of the others; one axis.
        audited: (n_records,) whether the target may be trained on it; True for all.

    Raises:
        LacksError: if no audited record has a reference.
    """
    phi = np.asarray(target, dtype=np.float64)[:, 0]
    sides = in_side, out_side
    seen = [(side.count > 0) & audited for side in sides]
    if not (seen[0] | seen[1]).any():
        msg = "no record has a reference"
        raise LacksError(msg)
    centre, shared, total, noise = np.full((4, 2), np.nan)
    for row, (side, own) in enumerate(zip(sides, seen, strict=True)):
        if not own.any():
            continue
        n, means = side.count[own], side.mean[own, 0]
        centre[row] = np.average(means, weights=n)
        away = means - centre[row]
        total[row] = max(np.mean(away**2), LEAST_VARIANCE)
        product = float(np.mean((phi[own] - phi[own].mean()) * away))
        shared[row] = max(product, LEAST_SHARE * total[row])
    for row, own in enumerate(seen):
        if not own.any():
            centre[row] = 2 * phi[audited].mean() - centre[1 - row]
            shared[row], total[row] = shared[1 - row], total[1 - row]
    # Of ½(v_in + c) and ½(v_out + c), where c is √v_in · √v_out.
    deviation = 2 * shared / np.sqrt(2 * shared.sum())
    covariance = np.outer(deviation, deviation)
    covariance[0, 1] = covariance[1, 0] = TOGETHER * covariance[0, 1]
    for row, (side, own) in enumerate(zip(sides, seen, strict=True)):
        free = int(np.maximum(side.count - 1, 0).sum())
        if free and has_spread(side):
            noise[row] = side.scatter[:, 0, 0].sum() / free
        elif own.any():
            beyond = total[row] - covariance[row, row]
            noise[row] = max(beyond, LEAST_NOISE * total[row]) * side.count[own].mean()
    noise = np.where(np.isnan(noise), noise[::-1], noise)
    floor = max(LEAST_SHARE * float(np.trace(covariance)), LEAST_VARIANCE)
    return Hierarchy(centre, covariance, np.maximum(noise, floor))


def posterior(
    prior: Hierarchy, in_side: Moments, out_side: Moments
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and variance of the next model's signal on either side.

    Returns:
        (2, n_records) means and (2, n_records) variances, IN then OUT.
    """
    # The covariance V of the means is nearly singular, so it is not inverted: given the
    # weights W of the references, that of the means is (V⁻¹ + W)⁻¹ = (I + VW)⁻¹V.
    n = np.stack([in_side.count, out_side.count])
    weight = n / prior.noise[:, None]
    means = np.stack([in_side.mean[:, 0], out_side.mean[:, 0]])
    pull = weight * (means - prior.mean[:, None])
    variance = np.diag(prior.covariance)[:, None]
    shared = prior.covariance[0, 1]
    alone = float(np.linalg.det(prior.covariance))
    divisor = (1 + variance * weight).prod(axis=0) - shared**2 * weight.prod(axis=0)
    left = (variance + weight[::-1] * alone) / divisor
    centre = prior.mean[:, None] + left * pull + shared / divisor * pull[::-1]
    return centre, left + prior.noise[:, None]


def hierarchical(
    target: NDArray[np.floating[Any]],
    in_side: Moments,
    out_side: Moments,
    audited: NDArray[np.bool_] | Literal[True] = True,
) -> NDArray[np.float64]:
    """Return the log-ratio of the IN and the OUT predictive density under `Hierarchy`.

    In `bayesian_online` the two sides are independent. Here the two means of a record
    are correlated, so that a reference on one side informs the other side as well: one
    reference is enough.

    Args:
        target: (n_records, 1) the target's signal, its views averaged.
        in_side: of the references trained on each record; one axis.
        out_side: of the others; one axis.
        audited: (n_records,) as in `fitted_hierarchy`.

    Raises:
        LacksError: if no audited record has a reference.

    Source: arXiv:2112.03570, algorithm 1, with the Gaussians' parameters integrated
    over the prior; Gelman et al. 2013, "Bayesian Data Analysis", section 5.4.
    """
    phi = np.asarray(target, dtype=np.float64)[:, 0]
    prior = fitted_hierarchy(target, in_side, out_side, audited)
    mean, variance = posterior(prior, in_side, out_side)
    both = _log_normal(phi, mean, variance)
    return np.asarray(both[0] - both[1])


def bayesian_offline(
    target: NDArray[np.floating[Any]],
    in_side: Moments,
    out_side: Moments,
    audited: NDArray[np.bool_] | Literal[True] = True,
) -> NDArray[np.float64]:
    """Return the log-ratio of IN and OUT predictive density by OUT references alone.

    What IN references say of a record is not looked at, unless it has no others. Its IN
    law is borrowed from all records: the prior's, given the record's OUT references.
    Both laws are Student-t with the mean and variance of `posterior` and degrees of
    freedom as in `bayesian_online`; they are Gaussian where no record has two
    references on a side.

    Args:
        target: (n_records, 1) the target's signal, its views averaged.
        in_side: of the references trained on each record; one axis.
        out_side: of the others; one axis.
        audited: (n_records,) as in `fitted_hierarchy`.

    Raises:
        LacksError: if no audited record has a reference.

    Source: BaVarIA, arXiv:2603.11799; there the IN law is the same for all records.
    """
    phi = np.asarray(target, dtype=np.float64)[:, 0]
    prior = fitted_hierarchy(target, in_side, out_side, audited)
    used = np.where(out_side.count > 0, 0, in_side.count)
    hidden = Moments(used, in_side.mean, in_side.scatter)
    mean, variance = posterior(prior, hidden, out_side)
    terms = []
    for row, (side, count) in enumerate(((in_side, used), (out_side, out_side.count))):
        freedom = 2 * _shape(side) + count
        scale = np.sqrt(variance[row] * (freedom - 2) / freedom)
        terms.append(stats.t.logpdf(phi, freedom, mean[row], scale))
    return np.asarray(terms[0] - terms[1])


def _shape(side: Moments) -> float:
    """Return the shape of the prior of variances; Gaussian where none differ."""
    several = (side.count > 1).any() and has_spread(side)
    return fitted_prior(side).shape if several else MOST_SHAPE


# The attacks of the catalogue; all but the joint variant average the views.


def score_online(view: View) -> Scored:
    """Score by `online` with variances per record."""
    return Scored(online(view.phi, *view.sides, "record"))


def score_online_fixed(view: View) -> Scored:
    """Score by `online` with variances of all records together."""
    return Scored(online(view.phi, *view.sides, "fixed"))


def score_online_joint(view: View) -> Scored:
    """Score by `online` with the views modelled jointly; see `principal_axes`."""
    in_side, out_side = view.evidence.in_side.margin, view.evidence.out_side.margin
    basis = principal_axes(in_side, out_side)
    sides = along(in_side, basis), along(out_side, basis)
    return Scored(online(view.margin @ basis, *sides, "fixed"))


def score_online_bayes(view: View) -> Scored:
    """Score by `bayesian_online`."""
    return Scored(bayesian_online(view.phi, *view.sides))


def score_hierarchical(view: View) -> Scored:
    """Score by `hierarchical`."""
    return Scored(hierarchical(view.phi, *view.sides, view.audited))


def score_offline(view: View) -> Scored:
    """Score by `offline` with variances per record."""
    in_side, out_side = view.sides
    return Scored(offline(view.phi, out_side, "record", in_side=in_side))


def score_offline_fixed(view: View) -> Scored:
    """Score by `offline` with the variance of all records together."""
    in_side, out_side = view.sides
    return Scored(offline(view.phi, out_side, "fixed", in_side=in_side))


def score_offline_bayes(view: View) -> Scored:
    """Score by `bayesian_offline`."""
    return Scored(bayesian_offline(view.phi, *view.sides, view.audited))


def score_offline_two_sided(view: View) -> Scored:
    """Score by `offline`, two-sided, with variances per record."""
    in_side, out_side = view.sides
    return Scored(
        offline(view.phi, out_side, "record", in_side=in_side, two_sided=True)
    )
