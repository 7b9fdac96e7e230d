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

from pipeline.attacks.moments import Moments, with_both_sides
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
    inside: Moments,
    outside: Moments,
    variance: Variance,
) -> NDArray[np.float64]:
    """Return log N(φ; μ_in, σ_in²) − log N(φ; μ_out, σ_out²), summed over the axes.

    Variances are mean squares about the record's own mean: "record" of that record,
    "fixed" of all records together. Where a record's variance is 0 or it has but one
    reference on a side, the fixed variance stands in; where nobody has two, σ is 1 nat
    on both sides. A missing side's mean is filled in by `moments.with_both_sides`.

    Args:
        target: (n_records, n_axes) the target's signal φ.
        inside: of the references trained on each record.
        outside: of the others.
        variance: whose residuals it is taken from.

    Raises:
        LacksError: if a record, or a whole side, has no reference.

    Source: arXiv:2112.03570, algorithm 1. With "fixed", the published code pools raw
    values, and takes both variances from the IN side.
    """
    phi = np.asarray(target, dtype=np.float64)
    inside, outside = with_both_sides(inside, outside)
    var_in, var_out = variances(inside, variance), variances(outside, variance)
    if not (has_spread(inside) and has_spread(outside)):
        var_in, var_out = np.ones_like(phi), np.ones_like(phi)
    terms = _log_normal(phi, inside.mean, var_in) - _log_normal(
        phi, outside.mean, var_out
    )
    return np.asarray(terms.sum(axis=1))


def offline(
    target: NDArray[np.floating[Any]],
    outside: Moments,
    variance: Variance,
    *,
    inside: Moments | None = None,
    two_sided: bool = False,
) -> NDArray[np.float64]:
    """Return how far a record's signal lies above that of its OUT references.

    The score is the z-value z = (φ − μ_out)/σ_out, which ranks as P[Z < φ] does but has
    no ties where that rounds to 1. Two-sided it is −log N(φ; μ_out, σ_out²), by which a
    signal that is unusually low makes a member too: it is the published code's.

    Args:
        target: (n_records, 1) the target's signal φ, its views averaged.
        outside: of the references not trained on each record.
        variance: as in `online`.
        inside: of the references trained on each record; from these the mean of a
            record without OUT references is filled in by `moments.with_both_sides`.
        two_sided: as in the published code.

    Returns:
        (n_records,) scores; the mean score for a record without any mean.

    Raises:
        LacksError: if no record has an OUT reference.

    Source: arXiv:2112.03570, section VI-A, equation 4.
    """
    phi = np.asarray(target, dtype=np.float64)
    seen = outside.count > 0
    if not seen.any():
        msg = "no record has a reference that it is OUT of"
        raise LacksError(msg)
    if inside is not None and inside.count.any():
        outside = with_both_sides(inside, outside)[1]
        seen |= inside.count > 0
    var = variances(outside, variance) if has_spread(outside) else np.ones_like(phi)
    if two_sided:
        score = -_log_normal(phi, outside.mean, var)[:, 0]
    else:
        score = ((phi - outside.mean) / np.sqrt(var))[:, 0]
    return np.where(seen, score, score[seen].mean())


def has_spread(side: Moments) -> bool:
    """Return whether the references of any record differ on every axis."""
    return bool((np.diagonal(side.scatter, axis1=1, axis2=2).sum(axis=0) > 0).all())


def variances(side: Moments, variance: Variance) -> NDArray[np.float64]:
    """Return (n_records, n_axes) variances of a side, as `online` tells."""
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
    target: NDArray[np.floating[Any]], inside: Moments, outside: Moments
) -> NDArray[np.float64]:
    """Return the log-ratio of the IN and the OUT predictive density, a Student-t each.

    A record without references on a side has the prior's prediction there.

    Args:
        target: (n_records, 1) the target's signal, its views averaged.
        inside: of the references trained on each record; one axis.
        outside: of the others; one axis.

    Raises:
        LacksError: if no record has two references on a side.

    Source: BaVarIA, arXiv:2603.11799.
    """
    phi = np.asarray(target, dtype=np.float64)[:, 0]
    terms = []
    for side in (inside, outside):
        found = predictive(side, fitted_prior(side))
        scale = np.sqrt(found.variance)
        terms.append(stats.t.logpdf(phi, found.freedom, found.mean, scale))
    return np.asarray(terms[0] - terms[1])


def bayesian_offline(
    target: NDArray[np.floating[Any]], outside: Moments
) -> NDArray[np.float64]:
    """Return −log P[T > φ] under the OUT predictive Student-t distribution.

    Args:
        target: (n_records, 1) the target's signal, its views averaged.
        outside: of the references not trained on each record; one axis.

    Raises:
        LacksError: if no record has two OUT references.

    Source: BaVarIA, arXiv:2603.11799.
    """
    phi = np.asarray(target, dtype=np.float64)[:, 0]
    found = predictive(outside, fitted_prior(outside))
    z = (phi - found.mean) / np.sqrt(found.variance)
    return _minus_log_tail(z, found.freedom)


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
    inside: Moments,
    outside: Moments,
    audited: NDArray[np.bool_] | Literal[True] = True,
) -> Hierarchy:
    """Fit the prior by moments over records; no membership of the target is used.

    With two references or more on a side their scatter gives the noise. With one, the
    target serves as a further draw of unknown membership: half of its covariance with
    a side's mean comes from either mean, if half of the records are its members.

    Args:
        target: (n_records, 1) the target's signal, its views averaged.
        inside: of the references trained on each record; one axis.
        outside: of the others; one axis.
        audited: (n_records,) whether the target may be trained on it; True for all.

    Raises:
        LacksError: if no record has references on both sides.
    """
    both = (inside.count > 0) & (outside.count > 0) & audited
    if not both.any():
        msg = "no record has references on both sides"
        raise LacksError(msg)
    n = np.stack([inside.count[both], outside.count[both]])
    means = np.stack([inside.mean[both, 0], outside.mean[both, 0]])
    centre = np.average(means, axis=1, weights=n)
    away = means - centre[:, None]
    covariance = np.empty((2, 2))
    covariance[0, 1] = covariance[1, 0] = np.mean(away[0] * away[1])
    noise = np.empty(2)
    phi = np.asarray(target, dtype=np.float64)[both, 0]
    for row, side in enumerate((inside, outside)):
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
    prior: Hierarchy, inside: Moments, outside: Moments
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and variance of the next model's signal on either side.

    Returns:
        (2, n_records) means and (2, n_records) variances, IN then OUT.
    """
    precision = np.linalg.inv(prior.covariance)
    n = np.stack([inside.count, outside.count])
    means = np.stack([inside.mean[:, 0], outside.mean[:, 0]])
    pull = (precision @ prior.mean)[:, None] + n * means / prior.noise[:, None]
    own = np.diag(precision)[:, None] + n / prior.noise[:, None]
    cross = precision[0, 1]
    determinant = own[0] * own[1] - cross**2
    other, pull_of_other = own[::-1], pull[::-1]
    centre = (other * pull - cross * pull_of_other) / determinant
    return centre, other / determinant + prior.noise[:, None]


def hierarchical(
    target: NDArray[np.floating[Any]],
    inside: Moments,
    outside: Moments,
    audited: NDArray[np.bool_] | Literal[True] = True,
) -> NDArray[np.float64]:
    """Return the log-ratio of the IN and the OUT predictive density under `Hierarchy`.

    The prior of `bayesian_online` takes the two sides for independent; here the means
    of a record are correlated, which decides when references are few.

    Args:
        target: (n_records, 1) the target's signal, its views averaged.
        inside: of the references trained on each record; one axis.
        outside: of the others; one axis.
        audited: (n_records,) as in `fitted_hierarchy`.

    Raises:
        LacksError: if no record has references on both sides.

    Source: arXiv:2112.03570, algorithm 1, with the Gaussians' parameters integrated
    over the prior; Gelman et al. 2013, "Bayesian Data Analysis", section 5.4.
    """
    phi = np.asarray(target, dtype=np.float64)[:, 0]
    prior = fitted_hierarchy(target, inside, outside, audited)
    mean, variance = posterior(prior, inside, outside)
    both = _log_normal(phi, mean, variance)
    return np.asarray(both[0] - both[1])
