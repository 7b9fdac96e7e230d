"""Audits of mechanisms of known ε: how often each bound fails, and how near it is.

The functions draw and count; what the counts must be is for the caller to say.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.statistics import epsilon

DELTA = 1e-5
CONFIDENCE = 0.95

Mechanism = Callable[[NDArray[np.bool_], np.random.Generator], NDArray[np.float64]]


@dataclass(frozen=True)
class Tally:
    """What one estimator made of all draws."""

    n_draws: int
    above: int  # draws whose bound exceeds the truth
    median: float  # bound, nats
    truth: float  # nats


def null_audits(
    n_draws: int, seed: int, *, n_members: int, n_nonmembers: int, n_values: int = 0
) -> dict[str, Tally]:
    """Audit scores that are noise: the truth is 0, and a bound above it a false alarm.

    Args:
        n_draws: audits.
        seed: of all of them.
        n_members: records of one side.
        n_nonmembers: records of the other.
        n_values: how many values a score has, as 2 of correctness; 0 if all differ.
    """

    def noise(
        member: NDArray[np.bool_], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        if n_values:
            return rng.integers(0, n_values, len(member)).astype(float)
        return rng.normal(size=len(member))

    return _audited(noise, 0.0, n_draws, seed, n_members, n_nonmembers)


def randomised_response(
    n_draws: int, seed: int, *, truth: float, n_members: int, n_nonmembers: int
) -> dict[str, Tally]:
    """Audit scores that tell a record's side but with probability 1 / (1 + e^ε) lie."""

    def answers(
        member: NDArray[np.bool_], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        lies = rng.random(len(member)) < 1 / (1 + math.exp(truth))
        return (member ^ lies) + 1e-6 * rng.normal(size=len(member))

    return _audited(answers, truth, n_draws, seed, n_members, n_nonmembers)


def gaussian_mechanism(
    n_draws: int, seed: int, *, mu: float, n_members: int, n_nonmembers: int
) -> dict[str, Tally]:
    """Audit scores N(μ, 1) of members and N(0, 1) of the others."""

    def noisy(
        member: NDArray[np.bool_], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        return mu * member + rng.normal(size=len(member))

    truth = epsilon.gaussian_epsilon(mu, DELTA)
    return _audited(noisy, truth, n_draws, seed, n_members, n_nonmembers)


def _audited(
    mechanism: Mechanism,
    truth: float,
    n_draws: int,
    seed: int,
    n_members: int,
    n_nonmembers: int,
) -> dict[str, Tally]:
    rng = np.random.default_rng(seed)
    # Sorted by side, as real records may be: their order must not help.
    member = np.arange(n_members + n_nonmembers) < n_members
    epsilons: dict[str, list[float]] = {}
    for _ in range(n_draws):
        audit = epsilon.bounds(
            mechanism(member, rng),
            member,
            rng.random(len(member)) < 0.5,
            delta=DELTA,
            confidence=CONFIDENCE,
            seed=int(rng.integers(2**32)),
        )
        for bound in audit:
            epsilons.setdefault(bound.name, []).append(bound.epsilon)
    return {
        name: Tally(
            n_draws,
            sum(value > truth for value in values),
            float(np.median(values)),
            truth,
        )
        for name, values in epsilons.items()
    }
