"""Risk: what the attacks say of one record, in figures that mean something by it.

A p-value is small, a posterior and a score are high, for a likelier member.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import rankdata
from sklearn.isotonic import isotonic_regression

from pipeline.attacks import folds, lira, percentiles
from pipeline.attacks.moments import Moments
from pipeline.statistics import corrections, metrics

FOLDS = 5
# By fewer records a correction of a model's level does more harm than good.
LEAST_LEVELLED = 50
# A model weighs on the means that it is levelled by: a round leaves a fourth of that.
LEVELLING_ROUNDS = 4


# P-values against the references


class Level(NamedTuple):
    """How a model's margins lie to those of the typical reference."""

    shift: float  # nats
    scale: float

    def off(self, margin: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return margins as the typical reference would have them."""
        return (np.asarray(margin, dtype=np.float64) - self.shift) / self.scale


AS_IT_IS = Level(0.0, 1.0)


def reference_p_values(
    target: NDArray[np.floating[Any]],
    references: NDArray[np.floating[Any]],
    outside: NDArray[np.bool_],
    nonmember: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Return the p-value of each record that the target was not trained on it.

    How far the target's margin lies above the mean of the record's OUT references is
    compared with how far each OUT reference of any record lies above the mean of that
    record's other ones. Distances are divided by the record's spread, drawn towards
    that of all records by as much as few references leave it uncertain: the more there
    are, the better a p-value holds for records of large and of small spread alike.
    Pooling lets it be small though references are few. The pool knows a spread from one
    reference less than the target's does, which errs on the side of large p-values.

    A target better fitted than the references would put all its non-members above
    them. With `nonmember`, mean and mean absolute deviation of each model's margins,
    over records that it is OUT of, are brought to those of the typical reference. What
    differs otherwise, as by class, or just for the hard records, is not corrected.
    Without, a target is taken to be drawn as the references were: p-values are then
    right over many targets, while those of one are too small or too large together.

    Args:
        target: (n_records,) the target's margin averaged over views, in nats.
        references: (n_models, n_records) the same of the references.
        outside: (n_models, n_records) models that count as not trained on a record.
        nonmember: (n_records,) records known to be non-members of the target.

    Returns:
        (n_records,) p-values, uniform for non-members; NaN for a record without OUT
        references, and for all if no record has two that differ. With one reference,
        a record's spread is that of all records.

    Source: Ye et al. 2022, arXiv:2111.09679, attack R, of which this is the pooled
    form; Smyth 2004, Statistical Applications in Genetics and Molecular Biology 3(1),
    for the spread; Phipson and Smyth 2010, arXiv:1603.05766, for the added one.
    """
    own_level, *levels = [AS_IT_IS] * (1 + len(references))
    if nonmember is not None:
        own_level, levels = _levels(target, references, outside, nonmember)
    count, mean = outside.sum(axis=0), _mean(references, outside, levels)
    scatter = np.zeros(len(target))
    # Model by model: all together need as much room again as their signals.
    for margin, own, level in zip(references, outside, levels, strict=True):
        scatter += np.where(own, level.off(margin) - mean, 0.0) ** 2
    seen, several = count > 0, count > 1
    found = np.full(len(target), np.nan)
    if not (scatter[several] > 0).any():
        return found

    side = Moments(count, mean[:, None], scatter[:, None, None])
    prior = lira.fitted_prior(side)
    n = count[seen]
    away = (own_level.off(target) - mean)[seen]
    z = _standardised(away / np.sqrt(1 + 1 / n), scatter[seen], n - 1, prior)
    ascending = np.sort(z)
    # How many of the pool lie at or above just so many of the targets.
    reached = np.zeros(len(z) + 1, dtype=np.int64)
    for margin, own, level in zip(references, outside, levels, strict=True):
        rows = own & several
        n = count[rows]
        # Its distance d from the mean of all is d·n/(n − 1) from that of the others,
        # whose own error makes the variance n/(n − 1) as large.
        away = (level.off(margin[rows]) - mean[rows]) * np.sqrt(n / (n - 1))
        of_others = np.maximum(scatter[rows] - away**2, 0.0)
        drawn = _standardised(away, of_others, n - 2, prior)
        places = np.searchsorted(ascending, np.sort(drawn), side="right")
        reached += np.bincount(places, minlength=len(reached))
    at_or_above = np.cumsum(reached[::-1])[::-1][1:]
    place = np.searchsorted(ascending, z, side="left")
    found[seen] = (1 + at_or_above[place]) / (1 + reached.sum())
    return found


def _levels(
    target: NDArray[np.floating[Any]],
    references: NDArray[np.floating[Any]],
    outside: NDArray[np.bool_],
    nonmember: NDArray[np.bool_],
) -> tuple[Level, list[Level]]:
    """Return the target's level and the references', against the typical reference's.

    A model of too few records is left as it is; all are, if the target is one.
    """
    own_level, *levels = [AS_IT_IS] * (1 + len(references))
    known = nonmember & outside.any(axis=0)
    enough = outside.sum(axis=1) >= LEAST_LEVELLED
    if known.sum() < LEAST_LEVELLED or not enough.any():
        return own_level, levels
    for _ in range(LEVELLING_ROUNDS):
        mean = _mean(references, outside, levels)
        of_mean = {
            model: _level(references[model], outside[model], mean)
            for model in np.flatnonzero(enough)
        }
        # Noise is averaged out of the mean: any model's margins spread more than it.
        shift = float(np.mean([one.shift for one in of_mean.values()]))
        scale = float(np.exp(np.mean([np.log(one.scale) for one in of_mean.values()])))
        for model, level in of_mean.items():
            levels[model] = _relative(level, shift, scale)
        own_level = _relative(_level(target, known, mean), shift, scale)
    return own_level, levels


def _relative(level: Level, shift: float, scale: float) -> Level:
    """Return a level against one that both are told against the same margins."""
    ratio = level.scale / scale
    return Level(level.shift - ratio * shift, ratio)


def _level(
    margin: NDArray[np.floating[Any]],
    chosen: NDArray[np.bool_],
    usual: NDArray[np.float64],
) -> Level:
    """Return a model's level against the usual margins, over the chosen records."""
    own, usual = np.asarray(margin[chosen], dtype=np.float64), usual[chosen]
    spreads = [float(np.abs(one - one.mean()).mean()) for one in (own, usual)]
    scale = spreads[0] / spreads[1] if min(spreads) > 0 else 1.0
    return Level(float(own.mean() - scale * usual.mean()), scale)


def _mean(
    references: NDArray[np.floating[Any]],
    outside: NDArray[np.bool_],
    levels: list[Level],
) -> NDArray[np.float64]:
    """Return each record's mean over its OUT references; 0 without any."""
    total = np.zeros(references.shape[1])
    for margin, own, level in zip(references, outside, levels, strict=True):
        total += np.where(own, level.off(margin), 0.0)
    return np.asarray(total / np.maximum(outside.sum(axis=0), 1))


def _standardised(
    away: NDArray[np.float64],
    scatter: NDArray[np.float64],
    free: NDArray[np.int64],
    prior: lira.Prior,
) -> NDArray[np.float64]:
    """Return distances over a record's spread, drawn towards that of all records."""
    variance = (scatter + 2 * prior.scale) / (free + 2 * prior.shape)
    return np.asarray(away / np.sqrt(variance))


# Claims against the known non-members


def conformal_p_values(
    score: NDArray[np.floating[Any]], nonmember_score: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Return the p-value of each record that it is a non-member like those given.

    Args:
        score: (n_records,) higher for a likelier member.
        nonmember_score: (n_nonmembers,) of non-members that are not among the records.

    Returns:
        (n_records,) (1 + number of non-members at or above) / (1 + n_nonmembers).

    Raises:
        ValueError: if a score is NaN.

    Source: Vovk, Gammerman and Shafer 2005, "Algorithmic Learning in a Random World";
    Bates et al. 2023, arXiv:2104.08279, equation 2.
    """
    if np.isnan(score).any() or np.isnan(nonmember_score).any():
        msg = "a score is NaN"
        raise ValueError(msg)
    return percentiles.attack_p(score, nonmember_score)


def flags(
    score: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
    evaluation: NDArray[np.bool_],
    rate: float,
) -> NDArray[np.bool_]:
    """Return of which records it is claimed that they are members.

    A side's records are compared with the non-members of the other side. Of the claims
    on a side, a share of at most `rate` is false in expectation; the two sides together
    lie between them, which bounds no expectation but is close to it.

    Args:
        score: (n_records,) higher for a likelier member.
        member: (n_records,) whether a record is one; of a side's own records it is not
            looked at.
        evaluation: (n_records,) whether a record is on the attack-eval side.
        rate: the false-discovery rate of either side, in (0, 1).

    Source: Bates et al. 2023, arXiv:2104.08279, theorem 2: conformal p-values depend on
    one another so that Benjamini and Hochberg's procedure holds.
    """
    found = np.zeros(len(score), dtype=bool)
    for side in (evaluation, ~evaluation):
        p = conformal_p_values(score[side], score[~side & ~member])
        adjusted = corrections.benjamini_hochberg(p)
        found[side] = adjusted <= rate * (1 + metrics.EPSILON)
    return found


# The probability of being a member


def posterior(
    score: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
    known: NDArray[np.bool_],
    prior: float,
    seed: int,
) -> NDArray[np.float64]:
    """Return the probability that a record is a member, given its score.

    It is the share of members among known records of such a score, as a function that
    never falls with the score. A known record is judged by those of the other folds.

    Args:
        score: (n_records,) higher for a likelier member.
        member: (n_records,) whether a record is one; unless known it is not looked at.
        known: (n_records,) whose membership may be used.
        prior: the probability before any score is seen, in (0, 1).
        seed: of the folds.

    Returns:
        (n_records,) probabilities, neither 0 nor 1.

    Raises:
        ValueError: if a score is not finite, the prior not in (0, 1), or fewer than two
            records of a side are known.

    Source: Zadrozny and Elkan 2002, "Transforming Classifier Scores into Accurate
    Multiclass Probability Estimates"; Elkan 2001, "The Foundations of Cost-Sensitive
    Learning", theorem 2, on another prior.
    """
    if not np.isfinite(score).all():
        msg = "a score is not finite"
        raise ValueError(msg)
    if not 0 < prior < 1:
        msg = f"the prior must be in (0, 1), got {prior}"
        raise ValueError(msg)
    sides = known & member, known & ~member
    n_members, n_others = (int(side.sum()) for side in sides)
    if min(n_members, n_others) < 2:
        msg = f"calibration needs 2 of either side, got {n_members} and {n_others}"
        raise ValueError(msg)
    fold = folds.drawn(sides, FOLDS, seed, "report.posterior")
    odds = np.empty(len(score))
    for one in (*range(FOLDS), -1):
        chosen, judged = known & (fold != one), fold == one
        odds[judged] = _log_odds(score[judged], score[chosen], member[chosen])
    return np.asarray(expit(odds + logit(prior)))


def _log_odds(
    score: NDArray[np.floating[Any]],
    known_score: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the log-odds of being a member where members and others are as many.

    A member is added at the lowest known score and a non-member at the highest, so that
    n members above all others have odds of n to 1, not infinite ones.
    """
    distinct, place = np.unique(known_score, return_inverse=True)
    total = np.bincount(place).astype(np.float64)
    of_members = np.bincount(place, weights=member)
    total[0] += 1
    of_members[0] += 1
    total[-1] += 1
    share = isotonic_regression(of_members / total, sample_weight=total)
    sides = logit(of_members.sum() / total.sum())
    return np.asarray(logit(np.interp(score, distinct, share)) - sides)


def rank(score: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Return the places of records by risk: 1 is the highest, ties share the best.

    Args:
        score: (n_records,) higher for a likelier member.
    """
    return np.asarray(rankdata(-score, method="min"), dtype=np.int64)
