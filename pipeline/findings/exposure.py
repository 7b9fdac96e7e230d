"""Exposure: what the attacks say of single records, as p-values and probabilities.

A p-value is small, a posterior and a score are high, for a likelier member.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import rankdata

from pipeline.attacks import lira, percentiles
from pipeline.attacks.moments import Moments
from pipeline.signals.stored import Stored
from pipeline.statistics import metrics

# Of a model with fewer records, an alignment does more harm than good.
LEAST_ALIGNED = 50
# A model weighs on the means that it is aligned by; each round leaves a fourth of that.
ALIGNMENT_ROUNDS = 4


# P-values against the references


class Alignment(NamedTuple):
    """How to bring a model's margins to those of the typical reference."""

    offset: float  # nats
    scale: float

    def aligned(self, margin: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return margins as the typical reference would have them."""
        return (np.asarray(margin, dtype=np.float64) - self.offset) / self.scale


AS_IT_IS = Alignment(0.0, 1.0)


def reference_p_values(
    target: NDArray[np.floating[Any]],
    references: Stored,
    outside: NDArray[np.bool_],
    nonmember: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Return the p-value of each record that the target was not trained on it.

    The distance of the target's margin above the mean of the record's OUT references is
    compared with a pool: the distance of each OUT reference of any record above the
    mean of that record's other OUT references. Distances are divided by the record's
    spread, which is drawn towards that of all records, the more so the fewer references
    there are. So the more references there are, the better a p-value holds for records
    of large and of small spread alike. Pooling lets a p-value be small though
    references are few. The pool knows a spread from one reference less than the target
    does, which makes p-values rather too large than too small.

    A target better fitted than the references would put all its non-members above
    them. With `nonmember`, the models are aligned: the mean and the mean absolute
    deviation of each model's margins, over records that it is OUT of, are brought to
    those of the typical reference. Differences by class, or of the hard records alone,
    are not corrected. Without `nonmember`, the target is assumed to be drawn as the
    references were: p-values are then right over many targets, while those of a single
    target are too small or too large together.

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
    for the spread; Phipson and Smyth 2010, arXiv:1603.05766, for the 1 that is added.
    """
    of_target, *of_references = [AS_IT_IS] * (1 + len(references))
    if nonmember is not None:
        of_target, of_references = _alignments(target, references, outside, nonmember)
    count, mean = outside.sum(axis=0), _mean(references, outside, of_references)
    scatter = np.zeros(len(target))
    # Model by model: all together need as much room again as their signals.
    for margin, out, alignment in zip(references, outside, of_references, strict=True):
        scatter += np.where(out, alignment.aligned(margin) - mean, 0.0) ** 2
    seen, several = count > 0, count > 1
    p_values = np.full(len(target), np.nan)
    if not (scatter[several] > 0).any():
        return p_values

    prior = lira.fitted_prior(Moments(count, mean[:, None], scatter[:, None, None]))
    n = count[seen]
    away = (of_target.aligned(target) - mean)[seen]
    z = _standardised(away / np.sqrt(1 + 1 / n), scatter[seen], n - 1, prior)
    ascending = np.sort(z)
    # How many of the pool lie at or above just so many of the targets.
    reached = np.zeros(len(z) + 1, dtype=np.int64)
    for margin, out, alignment in zip(references, outside, of_references, strict=True):
        rows = out & several
        n = count[rows]
        # Its distance d from the mean of all is d·n/(n − 1) from that of the others,
        # whose own error makes the variance n/(n − 1) as large.
        away = (alignment.aligned(margin[rows]) - mean[rows]) * np.sqrt(n / (n - 1))
        of_others = np.maximum(scatter[rows] - away**2, 0.0)
        of_pool = _standardised(away, of_others, n - 2, prior)
        places = np.searchsorted(ascending, np.sort(of_pool), side="right")
        reached += np.bincount(places, minlength=len(reached))
    at_or_above = np.cumsum(reached[::-1])[::-1][1:]
    place = np.searchsorted(ascending, z, side="left")
    p_values[seen] = (1 + at_or_above[place]) / (1 + reached.sum())
    return p_values


def _alignments(
    target: NDArray[np.floating[Any]],
    references: Stored,
    outside: NDArray[np.bool_],
    nonmember: NDArray[np.bool_],
) -> tuple[Alignment, list[Alignment]]:
    """Return what aligns the target, and each reference, with the typical reference.

    A reference with too few records is left as it is. So are all models, if the target
    has too few.
    """
    of_target, *of_references = [AS_IT_IS] * (1 + len(references))
    known = nonmember & outside.any(axis=0)
    enough = outside.sum(axis=1) >= LEAST_ALIGNED
    if known.sum() < LEAST_ALIGNED or not enough.any():
        return of_target, of_references
    for _ in range(ALIGNMENT_ROUNDS):
        mean = _mean(references, outside, of_references)
        to_mean = {
            model: _alignment(references[model], outside[model], mean)
            for model in np.flatnonzero(enough)
        }
        # Noise is averaged out of the mean: any model's margins spread more than it.
        usual = Alignment(
            float(np.mean([each.offset for each in to_mean.values()])),
            float(np.exp(np.mean([np.log(each.scale) for each in to_mean.values()]))),
        )
        for model, alignment in to_mean.items():
            of_references[model] = _relative(alignment, usual)
        of_target = _relative(_alignment(target, known, mean), usual)
    return of_target, of_references


def _relative(alignment: Alignment, usual: Alignment) -> Alignment:
    """Return a model's alignment with the typical reference.

    Args:
        alignment: of the model with the mean over references.
        usual: of the typical reference with that mean.
    """
    ratio = alignment.scale / usual.scale
    return Alignment(alignment.offset - ratio * usual.offset, ratio)


def _alignment(
    margin: NDArray[np.floating[Any]],
    chosen: NDArray[np.bool_],
    usual: NDArray[np.float64],
) -> Alignment:
    """Return a model's alignment with the usual margins, over the chosen records."""
    own, usual = np.asarray(margin[chosen], dtype=np.float64), usual[chosen]
    spreads = [float(np.abs(each - each.mean()).mean()) for each in (own, usual)]
    scale = spreads[0] / spreads[1] if min(spreads) > 0 else 1.0
    return Alignment(float(own.mean() - scale * usual.mean()), scale)


def _mean(
    references: Stored,
    outside: NDArray[np.bool_],
    alignments: list[Alignment],
) -> NDArray[np.float64]:
    """Return each record's mean over its OUT references, aligned; 0 without any."""
    total = np.zeros(references.shape[1])
    for margin, out, alignment in zip(references, outside, alignments, strict=True):
        total += np.where(out, alignment.aligned(margin), 0.0)
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
    """Return the p-value of each record that it is a non-member like the known ones.

    Args:
        score: (n_records,) higher for a likelier member.
        nonmember_score: (n_nonmembers,) of known non-members, none among the records.

    Returns:
        (n_records,) (1 + number of non-members at or above) / (1 + n_nonmembers).

    Raises:
        ValueError: if a score is NaN.

    Source: Vovk, Gammerman and Shafer 2005, "Algorithmic Learning in a Random World";
    Bates et al. 2023, arXiv:2104.08279, equation 3.
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
    """Return which records are claimed to be members: all above one threshold.

    The records of each side, attack-train and attack-eval, are compared with the
    non-members of the other side: their share above a threshold, times the records of
    the side, estimates how many of its claims would be false. The threshold is the
    lowest score at which the estimates of both sides are together at most `rate` of all
    claims. So no record is claimed before one of a higher score. With a threshold for
    each side, this is the procedure of Benjamini and Hochberg, which is proven to hold.
    With one threshold for both, it is simulated to hold.

    Args:
        score: (n_records,) higher for a likelier member.
        member: (n_records,) whether a record is a member.
        evaluation: (n_records,) whether a record is on the attack-eval side.
        rate: the false-discovery rate of all claims, in (0, 1).

    Raises:
        ValueError: if a score is NaN.

    Source: Benjamini and Hochberg 1995, Journal of the Royal Statistical Society B
    57(1). Bates et al. 2023, arXiv:2104.08279, theorem 2: conformal p-values depend on
    one another in such a way that the procedure holds.
    """
    thresholds = np.unique(score)
    claims = len(score) - np.searchsorted(np.sort(score), thresholds, side="left")
    false = np.zeros(len(thresholds))
    for side in (evaluation, ~evaluation):
        p = conformal_p_values(thresholds, score[~side & ~member])
        false += p * int(side.sum())
    allowed = false <= rate * claims * (1 + metrics.EPSILON)
    lowest = thresholds[allowed].min(initial=np.inf)
    return np.asarray(score >= lowest)


# The probability of being a member


def posterior(
    score: NDArray[np.floating[Any]],
    member: NDArray[np.bool_],
    known: NDArray[np.bool_],
    prior: float,
) -> NDArray[np.float64]:
    """Return the probability that a record is a member, given its score.

    It is the share of members among known records with the same score, made a function
    that never falls with the score. This one function judges all records, so that a
    record of a higher score never has a lower probability. A known record is one of the
    many that the function is fitted to.

    Args:
        score: (n_records,) higher for a likelier member.
        member: (n_records,) whether a record is a member; read of known records alone.
        known: (n_records,) whose membership may be used.
        prior: the probability before any score is seen, in (0, 1).

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
    n_members, n_known = int(member[known].sum()), int(known.sum())
    if min(n_members, n_known - n_members) < 2:
        msg = (
            f"calibration needs 2 of either side, got {n_members} and "
            f"{n_known - n_members}"
        )
        raise ValueError(msg)
    odds = _log_odds(score, score[known], member[known])
    # Where it was interpolated, it may fall by a rounding error.
    order = np.argsort(score, kind="stable")
    odds[order] = np.maximum.accumulate(odds[order])
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
    # Of those that import this module, only the report needs it, which takes long.
    from sklearn.isotonic import isotonic_regression

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
