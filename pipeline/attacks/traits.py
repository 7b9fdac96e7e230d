"""Traits: features of a record that do not identify it.

They are what an attack can learn from on some models, or records, and use on others:
margins of the target beside those of references, and what the target's outputs look
like by themselves.
"""

from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.attacks import lira
from pipeline.attacks.evidence import (
    Evidence,
    blocks,
    evidence,
    together,
    view_spread,
)
from pipeline.attacks.moments import along, mean_axis
from pipeline.signals import margins
from pipeline.signals.stored import Stored

Float = TypeVar("Float", np.float32, np.float64)
WIDTH = 64  # numbers of each record that are at hand while its features are computed
RATIO = 11  # the place of the log likelihood ratio among `features`
FARTHEST = 6.0  # standard deviations at which features are clipped


class Signal(NamedTuple):
    """A kind of margin, in nats."""

    target: NDArray[np.floating[Any]]  # (n_records, n_views)
    references: Stored  # (n_models, n_records, n_views)


class Scale(NamedTuple):
    """Location and scale of each model's margins over all records, in nats."""

    centre: NDArray[np.float64]  # (n_models,)
    spread: NDArray[np.float64]  # (n_models,)


def scale_of(margin: Stored, audited: NDArray[np.bool_]) -> Scale:
    """Return how each model's margins are spread.

    Args:
        margin: (n_models, n_records, n_views).
        audited: (n_records,) which of them count.
    """
    # Model by model: all together need as much room again as the margins.
    centre, spread = np.empty((2, len(margin)))
    for model, own in enumerate(margin):
        chosen = own[audited].astype(np.float64)
        centre[model], spread[model] = chosen.mean(), chosen.std()
    return Scale(centre, np.where(spread > 0, spread, 1.0))


def rescaled(
    margin: NDArray[np.floating[Any]], own: Scale, common: Scale
) -> NDArray[np.float64]:
    """Return margins on a common scale: models differ in how far they were trained.

    Args:
        margin: (n_models, n_records, n_views).
        own: of these models.
        common: of the references; its mean location and scale become those of all.
    """
    ratio = common.spread.mean() / own.spread
    centred = np.asarray(margin, dtype=np.float64) - own.centre[:, None, None]
    return np.asarray(centred * ratio[:, None, None] + common.centre.mean())


def features(
    target: NDArray[np.floating[Any]],
    of_references: Evidence,
    prior: lira.Hierarchy,
) -> NDArray[np.float32]:
    """Return features of each record that do not identify it.

    They are the margin and the log confidence of the target, the means of both over the
    IN and OUT references, as they are and shrunk towards the prior, the differences
    from the target, the likelihood ratios of LiRA (under `prior`) and RMIA, and with
    several views how much the target and either side vary over them. Where a side has
    no reference, what the prior makes of the other side stands in.

    Args:
        target: (n_records, n_views) margins in nats.
        of_references: the evidence.
        prior: of the records' means.

    Returns:
        (n_records, n_features).
    """
    in_side, out_side = of_references.in_side, of_references.out_side
    basis = mean_axis(target.shape[1])
    sides = [along(side.margin, basis) for side in (in_side, out_side)]
    centre, variance = lira.posterior(prior, *sides)
    likely = margins.log_confidence(centre)
    seen = np.stack([side.count > 0 for side in sides])
    means = np.where(seen, [side.mean[:, 0] for side in sides], centre)
    known = [side.log_confidence for side in (in_side, out_side)]
    confidences = np.where(seen, known, likely)

    def columns(rows: slice) -> NDArray[np.float32]:
        own = target[rows]
        phi = np.asarray(own, dtype=np.float64).mean(axis=1)
        log_p = margins.log_mean_confidence(own)
        log_in, log_out = confidences[:, rows]
        log_prior = np.logaddexp(log_in, log_out) - np.log(2)
        each = [phi, log_p, log_in, log_out]
        each += [log_p - log_prior, log_p - log_in, log_p - log_out]
        for mean in means[:, rows]:
            each += [mean, phi - mean]
        mean, spread = centre[:, rows], variance[:, rows]
        z = (phi - mean) / np.sqrt(spread)
        ratio = 0.5 * (z[1] ** 2 - z[0] ** 2 + np.log(spread[1] / spread[0]))
        shrunk = np.logaddexp(*likely[:, rows]) - np.log(2)
        each += [ratio, *mean, *(phi - mean), *z, log_p - shrunk]
        if own.shape[1] > 1:
            each += [view_spread(own), own.min(axis=1), own.max(axis=1)]
            each += [in_side.view_spread[rows], out_side.view_spread[rows]]
        return np.asarray(np.stack(each, axis=1), dtype=np.float32)

    return np.concatenate([columns(rows) for rows in blocks(len(target), WIDTH)])


def hierarchy_of(
    target: NDArray[np.floating[Any]],
    of_references: Evidence,
    audited: NDArray[np.bool_],
) -> lira.Hierarchy:
    """Return the prior of the records' means.

    Args:
        target: (n_records, n_views) margins, in nats.
        of_references: the evidence.
        audited: (n_records,) whether the target may be trained on it.
    """
    basis = mean_axis(target.shape[1])
    in_side = along(of_references.in_side.margin, basis)
    out_side = along(of_references.out_side.margin, basis)
    return lira.fitted_hierarchy(target @ basis, in_side, out_side, audited)


class Prepared(NamedTuple):
    """A signal on a common scale, and the target's features from it."""

    references: Stored  # (n_models, n_records, n_views) not rescaled
    scale: Scale  # of the references
    prior: lira.Hierarchy
    features: NDArray[np.float32]  # (n_records, n_features) of the target


def prepared(
    signal: Signal,
    in_models: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    audited: NDArray[np.bool_],
) -> Prepared:
    """Return a signal with the target's features from it; see `scores`."""
    target, references = signal
    common = scale_of(references, audited)
    sides = in_models & kept, ~in_models & kept
    # Beside references on one side of all records the level of the target is what shows
    # its members.
    is_alike = all(side.any() for side in sides)
    own = scale_of(target[None], audited) if is_alike else common
    phi = rescaled(target[None], own, common)[0]
    of_references = together(
        [
            evidence(
                rescaled(references[:, block], common, common),
                *(side[:, block] for side in sides),
            )
            for block in blocks(len(phi), len(references) * phi.shape[1])
        ]
    )
    prior = hierarchy_of(phi, of_references, audited)
    return Prepared(references, common, prior, features(phi, of_references, prior))


def clipped(
    inputs: NDArray[Float], centre: NDArray[Float], spread: NDArray[Float]
) -> NDArray[Float]:
    """Return standardised features, the farthest clipped.

    Args:
        inputs: (n_rows, n_features).
        centre: (n_features,).
        spread: (n_features,) standard deviations, > 0.
    """
    return np.clip((inputs - centre) / spread, -FARTHEST, FARTHEST)


def first_view_excess(margin: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return the (..., 1) margin of the unchanged record, less the mean over views.

    A model that was trained on this very image fits it better than its mirror image.
    """
    return np.asarray(margin[..., :1] - margin.mean(axis=-1, keepdims=True))
