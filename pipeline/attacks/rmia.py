"""RMIA: a record's confidence against that of references and of a population.

Every score is higher for a likelier member. Confidences are kept as logarithms, which
do not underflow.

Source: Zarifzadeh, Liu and Shokri 2024, "Low-Cost High-Power Membership Inference
Attacks", arXiv:2312.03262.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import LacksError

# What a mean over no reference is: log of probability 0.
NOTHING = -np.inf


def log_confidence(margin: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the log of the true-class probability, averaged over the views.

    Args:
        margin: (..., n_views) log(p / (1 − p)), in nats.

    Returns:
        (...) log of the mean p.
    """
    log_p = -np.logaddexp(0.0, -np.asarray(margin, dtype=np.float64))
    return log_mean(np.moveaxis(log_p, -1, 0), np.True_)


def log_mean(
    log_p: NDArray[np.floating[Any]], chosen: NDArray[np.bool_] | np.bool_
) -> NDArray[np.float64]:
    """Return the log of the mean probability over the chosen models.

    Args:
        log_p: (n_models, ...).
        chosen: (n_models, ...) which to average, or True for all.

    Returns:
        (...) log of the mean; -inf where none is chosen.
    """
    picked = np.where(chosen, log_p, NOTHING)
    count = np.broadcast_to(chosen, picked.shape).sum(axis=0)
    largest = picked.max(axis=0, initial=NOTHING)
    shift = np.where(np.isfinite(largest), largest, 0.0)
    with np.errstate(divide="ignore"):
        total = np.log(np.exp(picked - shift).sum(axis=0))
    return np.asarray(total + shift - np.log(np.maximum(count, 1)))


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

    Source: arXiv:2312.03262, section 3.1, equation 5, and appendix B.2.2.
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

    For references too few to attack one another; no membership of the target is used.

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
    # What is short of certainty, of which the relation is a proportion.
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

    Source: arXiv:2312.03262, equations 2 and 4.
    """
    if not len(population):
        msg = "RMIA needs a population to compare with, got none"
        raise LacksError(msg)
    below = np.searchsorted(np.sort(population), ratio - np.log(gamma), side="left")
    return np.asarray(below / len(population))
