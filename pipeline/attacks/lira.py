"""LiRA: likelihood ratios between a record's IN and OUT references.

Every score is higher for a likelier member. Signals are margins in nats, which are
nearly Gaussian; n_axes is the number of views, or of their combinations.

Source: Carlini et al. 2022, "Membership Inference Attacks From First Principles",
arXiv:2112.03570.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from pipeline.attacks.moments import Moments, along, principal_axes, with_both_sides
from pipeline.attacks.view import Scored, View
from pipeline.errors import LacksError

Variance = Literal["record", "fixed"]
# Records that all references treat the same leave no estimate of the prior's shape.
MOST_SHAPE = 1e3
# Of a prior covariance's smallest to its largest variance.
LEAST_SHARE = 1e-6
LEAST_VARIANCE = 1e-12  # nats², where all models say the same of all records
TINY = float(np.finfo(np.float64).tiny)


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


def bayesian_offline(
    target: NDArray[np.floating[Any]], out_side: Moments
) -> NDArray[np.float64]:
    """Return −log P[T > φ] under the OUT predictive Student-t distribution.

    Args:
        target: (n_records, 1) the target's signal, its views averaged.
        out_side: of the references not trained on each record; one axis.

    Raises:
        LacksError: if no record has two OUT references.

    Source: BaVarIA, arXiv:2603.11799.
    """
    phi = np.asarray(target, dtype=np.float64)[:, 0]
    law = predictive(out_side, fitted_prior(out_side))
    z = (phi - law.mean) / np.sqrt(law.variance)
    return _minus_log_tail(z, law.freedom)


def _minus_log_tail(
    z: NDArray[np.float64], freedom: NDArray[np.float64]
) -> NDArray[np.float64]:
    tail = special.stdtr(freedom, -z)
    # Where the tail underflows, its leading term t(z)·z/freedom keeps the order.
    far = tail <= TINY
    safe = np.where(far, 1.0, tail)
    leading = stats.t.logpdf(z, freedom) + np.log(np.maximum(z, 1.0) / freedom)
    return np.where(far, -leading, -np.log(safe))


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

    With two references or more on a side their scatter gives the noise. With one, the
    target serves as a further draw of unknown membership: half of its covariance with
    a side's mean comes from either mean, if half of the records are its members.

    Args:
        target: (n_records, 1) the target's signal, its views averaged.
        in_side: of the references trained on each record; one axis.
        out_side: of the others; one axis.
        audited: (n_records,) whether the target may be trained on it; True for all.

    Raises:
        LacksError: if no record has references on both sides.
    """
    both = (in_side.count > 0) & (out_side.count > 0) & audited
    if not both.any():
        msg = "no record has references on both sides"
        raise LacksError(msg)
    n = np.stack([in_side.count[both], out_side.count[both]])
    means = np.stack([in_side.mean[both, 0], out_side.mean[both, 0]])
    centre = np.average(means, axis=1, weights=n)
    away = means - centre[:, None]
    covariance = np.empty((2, 2))
    covariance[0, 1] = covariance[1, 0] = np.mean(away[0] * away[1])
    noise = np.empty(2)
    phi = np.asarray(target, dtype=np.float64)[both, 0]
    for row, side in enumerate((in_side, out_side)):
        free = int(np.maximum(side.count - 1, 0).sum())
        if free and has_spread(side):
            noise[row] = side.scatter[:, 0, 0].sum() / free
            covariance[row, row] = np.mean(away[row] ** 2 - noise[row] / n[row])
        else:
            shared = np.mean((phi - phi.mean()) * away[row])
            covariance[row, row] = 2 * shared - covariance[0, 1]
            noise[row] = np.mean((away[row] ** 2 - covariance[row, row]) * n[row])
    values, vectors = np.linalg.eigh(covariance)
    least = max(LEAST_SHARE * float(np.abs(values).max()), LEAST_VARIANCE)
    covariance = (vectors * np.maximum(values, least)) @ vectors.T
    floor = max(LEAST_SHARE * float(np.trace(covariance)), LEAST_VARIANCE)
    return Hierarchy(centre, covariance, np.maximum(noise, floor))


def posterior(
    prior: Hierarchy, in_side: Moments, out_side: Moments
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and variance of the next model's signal on either side.

    Returns:
        (2, n_records) means and (2, n_records) variances, IN then OUT.
    """
    precision = np.linalg.inv(prior.covariance)
    n = np.stack([in_side.count, out_side.count])
    means = np.stack([in_side.mean[:, 0], out_side.mean[:, 0]])
    pull = (precision @ prior.mean)[:, None] + n * means / prior.noise[:, None]
    own = np.diag(precision)[:, None] + n / prior.noise[:, None]
    cross = precision[0, 1]
    determinant = own[0] * own[1] - cross**2
    other, pull_of_other = own[::-1], pull[::-1]
    centre = (other * pull - cross * pull_of_other) / determinant
    return centre, other / determinant + prior.noise[:, None]


def hierarchical(
    target: NDArray[np.floating[Any]],
    in_side: Moments,
    out_side: Moments,
    audited: NDArray[np.bool_] | Literal[True] = True,
) -> NDArray[np.float64]:
    """Return the log-ratio of the IN and the OUT predictive density under `Hierarchy`.

    In `bayesian_online` the two sides are independent. Here the two means of a record
    are correlated, which matters most where references are few.

    Args:
        target: (n_records, 1) the target's signal, its views averaged.
        in_side: of the references trained on each record; one axis.
        out_side: of the others; one axis.
        audited: (n_records,) as in `fitted_hierarchy`.

    Raises:
        LacksError: if no record has references on both sides.

    Source: arXiv:2112.03570, algorithm 1, with the Gaussians' parameters integrated
    over the prior; Gelman et al. 2013, "Bayesian Data Analysis", section 5.4.
    """
    phi = np.asarray(target, dtype=np.float64)[:, 0]
    prior = fitted_hierarchy(target, in_side, out_side, audited)
    mean, variance = posterior(prior, in_side, out_side)
    both = _log_normal(phi, mean, variance)
    return np.asarray(both[0] - both[1])


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
    return Scored(bayesian_offline(view.phi, view.sides[1]))


def score_offline_two_sided(view: View) -> Scored:
    """Score by `offline`, two-sided, with variances per record."""
    in_side, out_side = view.sides
    return Scored(
        offline(view.phi, out_side, "record", in_side=in_side, two_sided=True)
    )
