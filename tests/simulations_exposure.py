"""Simulations of audits whose truth is known: how exposed records look there.

They take the number of draws, a seed and sizes, and judge nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from pipeline.findings import exposure

RATES = (0.01, 0.05, 0.1)
# Margins of records, before any model: their spread over records, in nats.
BETWEEN = 3.0


@dataclass(frozen=True)
class Models:
    """A target and references whose margins are drawn from one recipe."""

    target: NDArray[np.float64]  # (n_records,)
    member: NDArray[np.bool_]  # (n_records,) of the target
    references: NDArray[np.float64]  # (n_models, n_records)
    outside: NDArray[np.bool_]  # (n_models, n_records)
    spread: NDArray[np.float64]  # (n_records,) of models about the record's mean


@dataclass(frozen=True)
class World:
    """How margins come about."""

    freedom: float = np.inf  # of the residuals' Student distribution
    spreads: float = 0.0  # log standard deviation of the records' spreads
    skew: float = 0.0  # of a log-normal residual's logarithm
    offsets: float = 0.0  # standard deviation of the models' offsets, nats
    scales: float = 0.0  # log standard deviation of the factors on their margins
    target_offset: float = 0.0  # nats, of the target besides
    target_scale: float = 1.0  # factor on its margins besides
    gain: float = 2.0  # what training on a record adds, in its spreads


def models(
    rng: np.random.Generator, world: World, n_models: int, n_records: int
) -> Models:
    """Draw a target (the first model) and references, each trained on a random half."""
    shape = n_models + 1, n_records
    centre = rng.normal(scale=BETWEEN, size=n_records)
    spread = np.exp(rng.normal(scale=world.spreads, size=n_records))
    if world.skew:
        noise = np.exp(world.skew * rng.normal(size=shape))
        # To mean 0 and variance 1, the longer tail below: hard records fail at times.
        square = np.exp(world.skew**2)
        noise = (np.sqrt(square) - noise) / np.sqrt(square * (square - 1))
    elif np.isfinite(world.freedom):
        unit = np.sqrt(world.freedom / (world.freedom - 2))
        noise = rng.standard_t(world.freedom, size=shape) / unit
    else:
        noise = rng.normal(size=shape)
    inside = rng.random(shape) < 0.5
    offset = rng.normal(scale=world.offsets, size=n_models + 1)
    scale = np.exp(rng.normal(scale=world.scales, size=n_models + 1))
    offset[0] += world.target_offset
    scale[0] *= world.target_scale
    margin = centre + spread * (noise + world.gain * inside)
    margin = margin * scale[:, None] + offset[:, None]
    return Models(margin[0], inside[0], margin[1:], ~inside[1:], spread)


def plain_p_values(drawn: Models) -> NDArray[np.float64]:
    """Return p-values of distances that no spread divides: what pooling alone does."""
    count = drawn.outside.sum(axis=0)
    mean = np.where(drawn.outside, drawn.references, 0).sum(axis=0) / np.maximum(
        count, 1
    )
    n = np.maximum(count, 2)
    pool = ((drawn.references - mean) * np.sqrt(n / (n - 1)))[
        drawn.outside & (count > 1)
    ]
    own = (drawn.target - mean) / np.sqrt(1 + 1 / np.maximum(count, 1))
    below = np.searchsorted(np.sort(pool), own, side="left")
    p = (1 + len(pool) - below) / (1 + len(pool))
    return np.where(count > 0, p, np.nan)


@dataclass(frozen=True)
class Uniformity:
    """How often non-members' p-values are small, and members' are."""

    false: NDArray[np.float64]  # (n_draws, n_rates) of non-members
    of_wide: NDArray[np.float64]  # (n_draws, n_rates) of those of the widest tenth
    power: NDArray[np.float64]  # (n_draws, n_rates) of members
    distance: NDArray[np.float64]  # (n_draws,) from uniform, Kolmogorov and Smirnov's


def uniformity(
    n_draws: int,
    seed: int,
    world: World,
    n_models: int = 8,
    n_records: int = 4000,
    n_known: int | None = None,
    plain: bool = False,
) -> Uniformity:
    """Return what p-values against the references come to.

    Args:
        n_draws: how often the models are drawn.
        seed: of the draws.
        world: that the models are of.
        n_models: how many references.
        n_records: how many records.
        n_known: how many of the target's non-members are known; None for no alignment.
            These are not judged.
        plain: whether distances are not divided by spreads.
    """
    false, wide, power, distance = [], [], [], []
    for rng in np.random.default_rng(seed).spawn(n_draws):
        drawn = models(rng, world, n_models, n_records)
        nonmember = None
        if n_known is not None:
            nonmember = np.zeros(n_records, dtype=bool)
            nonmember[rng.permutation(np.flatnonzero(~drawn.member))[:n_known]] = True
        if plain:
            p = plain_p_values(drawn)
        else:
            p = exposure.reference_p_values(
                drawn.target, drawn.references, drawn.outside, nonmember
            )
        judged = ~np.isnan(p) if nonmember is None else ~np.isnan(p) & ~nonmember
        others = judged & ~drawn.member
        widest = others & (drawn.spread >= np.quantile(drawn.spread, 0.9))
        false.append([np.mean(p[others] <= rate) for rate in RATES])
        wide.append([np.mean(p[widest] <= rate) for rate in RATES])
        members = judged & drawn.member
        power.append([np.mean(p[members] <= rate) for rate in RATES])
        distance.append(stats.kstest(p[others], "uniform").statistic)
    return Uniformity(*(np.array(each) for each in (false, wide, power, distance)))


@dataclass(frozen=True)
class Discoveries:
    """What became of the claims of each draw, on either side and on both."""

    false_share: NDArray[np.float64]  # (n_draws, 3) evaluation, the other, together
    power: NDArray[np.float64]  # (n_draws, 3) share of the members that are claimed
    any: NDArray[np.bool_]  # (n_draws,) whether there is a claim at all


def discoveries(
    n_draws: int,
    seed: int,
    separation: float,
    rate: float,
    n_records: int = 1000,
    members: float = 0.5,
    exposed: float = 1.0,
    evaluation: float = 0.25,
) -> Discoveries:
    """Return what claims come to where a share of members scores higher.

    Args:
        n_draws: how often records are drawn.
        seed: of the draws.
        separation: what members have more than non-members, in standard deviations.
        rate: asked for.
        n_records: how many.
        members: share of the records that are members.
        exposed: share of the members that scores higher; the others are as non-members.
        evaluation: share of the records on the attack-eval side.
    """
    false, power, some = [], [], []
    for rng in np.random.default_rng(seed).spawn(n_draws):
        member = rng.permutation(n_records) < members * n_records
        side = rng.permutation(n_records) < evaluation * n_records
        higher = member & (rng.random(n_records) < exposed)
        score = rng.normal(size=n_records) + separation * higher
        flag = exposure.flags(score, member, side, rate)
        rows = (side, ~side, np.ones(n_records, dtype=bool))
        claims = [max(int((flag & row).sum()), 1) for row in rows]
        wrong = [int((flag & row & ~member).sum()) for row in rows]
        false.append([w / c for w, c in zip(wrong, claims, strict=True)])
        power.append([np.mean(flag[row & member]) for row in rows])
        some.append(flag.any())
    return Discoveries(*(np.array(each) for each in (false, power, some)))


@dataclass(frozen=True)
class Calibration:
    """How near the posteriors come to the true ones; records not known, then known."""

    error: NDArray[np.float64]  # (n_draws, 2) mean absolute
    bias: NDArray[np.float64]  # (n_draws, 2) mean of posterior less truth
    top_bias: NDArray[np.float64]  # (n_draws, 2) the same, of the highest hundredth
    brier: NDArray[np.float64]  # (n_draws, 2)
    best: NDArray[np.float64]  # (n_draws, 2) Brier score of the true posteriors


def calibration(
    n_draws: int,
    seed: int,
    separation: float,
    n_known: int,
    n_judged: int = 4000,
    members: float = 0.5,
    exposed: float = 1.0,
    heavy: bool = False,
) -> Calibration:
    """Return how posteriors fare where scores are those of two normal distributions.

    The true posterior is asked for at the records' own share of members.

    Args:
        n_draws: how often records are drawn.
        seed: of the draws.
        separation: what members have more than non-members, in standard deviations.
        n_known: records whose membership is known.
        n_judged: others.
        members: share of the records that are members.
        exposed: share of the members that scores higher; the others are as non-members.
        heavy: whether scores go to and beyond ±1e5, in the same order.
    """
    rows = []
    for rng in np.random.default_rng(seed).spawn(n_draws):
        n = n_known + n_judged
        known = np.arange(n) < n_known
        member = rng.random(n) < members
        member[known] = np.arange(n_known) < round(members * n_known)
        score = rng.normal(size=n) + separation * (member & (rng.random(n) < exposed))
        true = truth(score, separation, members, exposed)
        shown = np.sinh(4 * score) if heavy else score
        posterior = exposure.posterior(shown, member, known, members)
        row = []
        for side in (~known, known):
            top = side & (score >= np.quantile(score[side], 0.99))
            off = posterior - true
            row.append(
                (
                    np.abs(off[side]).mean(),
                    off[side].mean(),
                    off[top].mean(),
                    np.mean((posterior - member)[side] ** 2),
                    np.mean((true - member)[side] ** 2),
                )
            )
        rows.append(row)
    return Calibration(*np.moveaxis(np.array(rows), 2, 0))


def truth(
    score: NDArray[np.float64], separation: float, members: float, exposed: float
) -> NDArray[np.float64]:
    """Return the posterior by Bayes' rule, for scores as in `calibration`."""
    ratio = np.exp(separation * score - separation**2 / 2)
    odds = np.log(exposed * ratio + (1 - exposed))
    return np.asarray(special.expit(special.logit(members) + odds))
