"""Recalibration: removes from a model's logits what it does alike on all records.

Two models of the same training recipe differ in more than their members: the one
prefers cats where the other prefers dogs, depending on the last training steps. These
preferences move the margins of thousands of records by more than the membership of a
single record does. They are few numbers, though, and can be estimated from the labels:
a linear correction of the logits, fitted to each model alone so that it predicts the
labels best, makes the models comparable. No membership is used.

Source: matrix scaling of Guo et al. 2017, "On Calibration of Modern Neural Networks",
arXiv:1706.04599, section 4.2, with a ridge; there it serves to calibrate, here to
compare.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from threadpoolctl import threadpool_limits

from pipeline import draws
from pipeline.signals import margins
from pipeline.signals.stored import Stored

# Inverse prior variance of a weight between logits of unit size.
PRECISION = 100.0
# More records than these do not improve the fit.
MOST_RECORDS = 20_000
# Directions of the logits, by variance, that a correction may use: a thousand classes
# squared would be too many weights.
MOST_AXES = 100
STEPS = 200  # at most; about 50 are usual
BLOCK_ROWS = 4096  # corrected at once, so that a million records need little memory


class Correction(NamedTuple):
    """A model's corrected logits are z + z·weights + bias."""

    weights: NDArray[np.float64]  # (n_classes, n_classes)
    bias: NDArray[np.float64]  # (n_classes,) nats


def sample(audited: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the rows to fit corrections to, ascending, the same for every model.

    Args:
        audited: (n_records,) rows to choose from: half of them are members of the
            target and of every reference, while the target has no member in a
            population.
    """
    # A constant seed: the signals of a model depend on no seed of the config.
    rng = draws.rng(0, "recalibration.sample")
    rows = rng.permutation(np.flatnonzero(audited))
    return np.sort(rows[:MOST_RECORDS])


def fitted(
    logits: NDArray[np.floating[Any]], label: NDArray[np.integer[Any]]
) -> Correction:
    """Fit a model's correction by penalised maximum likelihood of the labels.

    It minimises Σ −log softmax(z + z·W + b)_y + ½ · PRECISION · s² · ‖W‖² over all
    records and views, where s² is the variance of the logits about their mean, so that
    the penalty depends neither on their scale nor on their mean; b is not penalised.

    Args:
        logits: (n_records, n_views, n_classes).
        label: (n_records,) true classes.
    """
    z = centred(logits).reshape(-1, logits.shape[2])
    own = np.arange(z.shape[1]) == np.repeat(label, logits.shape[1])[:, None]
    usual = z.mean(axis=0)
    away = z - usual
    axes = _axes(away)
    size = float(np.sqrt(np.mean(away**2))) or 1.0
    inputs = away @ axes / size
    shape = (inputs.shape[1] + 1, z.shape[1])

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, bias = flat.reshape(shape)[:-1], flat.reshape(shape)[-1]
        odds = z + inputs @ weights + bias
        odds -= odds.max(axis=1, keepdims=True)
        own_odds = odds[own].sum()
        np.exp(odds, out=odds)
        total = odds.sum(axis=1, keepdims=True)
        odds /= total
        odds -= own
        slope = np.vstack((inputs.T @ odds + PRECISION * weights, odds.sum(axis=0)))
        value = np.log(total).sum() - own_odds + PRECISION / 2 * (weights**2).sum()
        return value / len(z), slope.ravel() / len(z)

    # Sums of as many threads as there are processors differ in their last bits.
    with threadpool_limits(1):
        minimum = optimize.minimize(
            loss,
            np.zeros(shape).ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": STEPS},
        ).x.reshape(shape)
    weights = axes @ minimum[:-1] / size
    return Correction(weights, minimum[-1] - usual @ weights)


def margin(
    logits: Stored,
    label: NDArray[np.integer[Any]],
    correction: Correction,
) -> NDArray[np.float32]:
    """Return the margins of the corrected logits.

    Args:
        logits: (n_records, n_views, n_classes).
        label: (n_records,) true classes.
        correction: of the model.

    Returns:
        (n_records, n_views) in nats; higher for a likelier member.
    """
    out = np.empty(logits.shape[:2], dtype=np.float32)
    for first in range(0, len(logits), BLOCK_ROWS):
        rows = slice(first, first + BLOCK_ROWS)
        z = centred(logits[rows])
        corrected = z + z @ correction.weights + correction.bias
        for view in range(out.shape[1]):
            out[rows, view] = margins.margin(corrected[:, view], label[rows])
    return out


def centred(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return logits less their mean over the classes, which decides no probability.

    Args:
        logits: (..., n_classes).
    """
    wide = np.asarray(logits, dtype=np.float64)
    return np.asarray(wide - wide.mean(axis=-1, keepdims=True))


def _axes(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n_classes, n_axes) orthonormal directions, those of most variance."""
    n_classes = z.shape[1]
    if n_classes <= MOST_AXES:
        return np.eye(n_classes)
    return np.asarray(np.linalg.eigh(z.T @ z)[1][:, -MOST_AXES:])
