"""Loops: what the kernels compute, written record by record as it is defined."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pipeline.attacks.lira import Hierarchy


def lira(
    target: NDArray[np.float64],
    margin: NDArray[np.float64],
    in_models: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the log ratio of the densities of a record's two Gaussians.

    Args:
        target: (n_records,) margins, in nats.
        margin: (n_models, n_records) those of the references.
        in_models: (n_models, n_records) whether a reference was trained on a record.

    Source: Carlini et al. 2022, arXiv:2112.03570, algorithm 1.
    """
    score = np.empty(len(target))
    for record, phi in enumerate(target):
        terms = []
        for side in (True, False):
            own = margin[in_models[:, record] == side, record]
            terms.append(stats.norm.logpdf(phi, own.mean(), own.std()))
        score[record] = terms[0] - terms[1]
    return score


def rmia(
    target: NDArray[np.float64],
    margin: NDArray[np.float64],
    in_models: NDArray[np.bool_],
    population: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the share of the population that each record dominates.

    Args:
        target: (n_records,) margins, in nats.
        margin: (n_models, n_records) those of the references.
        in_models: (n_models, n_records) whether a reference was trained on a record.
        population: (n_records,) the records to compare with.

    Source: Zarifzadeh et al. 2024, arXiv:2312.03262, equations 2, 4 and 5, γ = 1.
    """
    ratio = np.empty(len(target))
    for record, phi in enumerate(target):
        p = 1 / (1 + np.exp(-margin[:, record]))
        p_in = p[in_models[:, record]].mean()
        p_out = p[~in_models[:, record]].mean()
        ratio[record] = 1 / (1 + math.exp(-phi)) / ((p_in + p_out) / 2)
    others = ratio[population]
    share = np.empty(len(target))
    for record, own in enumerate(ratio):
        share[record] = np.mean(own / others > 1)
    return share


def auc_interval(
    score: NDArray[np.float64], member: NDArray[np.bool_], confidence: float
) -> tuple[float, float]:
    """Return DeLong's interval of the AUC on log-odds, with Student's quantile.

    Source: DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44(3), section 3.
    """
    inside, outside = score[member], score[~member]
    above = [np.mean(x > outside) + np.mean(x == outside) / 2 for x in inside]
    below = [np.mean(x < inside) + np.mean(x == inside) / 2 for x in outside]
    value = float(np.mean(above))
    terms = [np.var(part, ddof=1) / len(part) for part in (above, below)]
    freedom = sum(terms) ** 2 / sum(
        term**2 / (len(part) - 1)
        for term, part in zip(terms, (above, below), strict=True)
    )
    quantile = stats.t.isf((1 - confidence) / 2, freedom)
    step = quantile * math.sqrt(sum(terms)) / (value * (1 - value))
    centre = math.log(value / (1 - value))
    low, high = (1 / (1 + math.exp(-(centre + sign * step))) for sign in (-1, 1))
    return low, high


def amortised_features(
    target: NDArray[np.float64],
    margin: NDArray[np.float64],
    in_models: NDArray[np.bool_],
    prior: Hierarchy,
) -> NDArray[Any]:
    """Return the features by which the amortised attack describes a record.

    Args:
        target: (n_records,) margins, in nats.
        margin: (n_models, n_records) those of the references.
        in_models: (n_models, n_records) whether a reference was trained on a record.
        prior: of a record's IN and OUT mean.
    """
    precision = np.linalg.inv(prior.covariance)
    rows = []
    for record, phi in enumerate(target):
        sides = [margin[in_models[:, record] == side, record] for side in (True, False)]
        log_p = -math.log1p(math.exp(-phi))
        p_in, p_out = (np.mean(1 / (1 + np.exp(-own))) for own in sides)
        log_in, log_out = math.log(p_in), math.log(p_out)
        log_prior = math.log((p_in + p_out) / 2)
        row = [phi, log_p, log_in, log_out]
        row += [log_p - log_prior, log_p - log_in, log_p - log_out]
        for own in sides:
            row += [own.mean(), phi - own.mean()]
        weight = np.array([len(own) for own in sides]) / prior.noise
        means = np.array([own.mean() for own in sides])
        covariance = np.linalg.inv(precision + np.diag(weight))
        centre = covariance @ (precision @ prior.mean + weight * means)
        variance = np.diag(covariance) + prior.noise
        z = (phi - centre) / np.sqrt(variance)
        ratio = 0.5 * (z[1] ** 2 - z[0] ** 2 + math.log(variance[1] / variance[0]))
        shrunk = math.log(np.mean(1 / (1 + np.exp(-centre))))
        row += [ratio, *centre, *(phi - centre), *z, log_p - shrunk]
        rows.append(row)
    return np.array(rows)
