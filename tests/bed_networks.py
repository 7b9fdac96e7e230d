"""Networks: many small networks of one recipe, trained side by side in NumPy.

Each model learns its own records. All of them take each step together, so that a bed of
a dozen models costs little more than its arithmetic.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of Adam: decay of the moments, and what keeps the division finite.
FIRST, SECOND, LEAST = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Recipe:
    """How the models of a bed are built and trained."""

    hidden: tuple[int, ...]
    epochs: int
    rate: float = 2e-3
    batch: int = 64
    decay: float = 0.0  # of the weights, in each step as a share of the rate
    smoothing: float = 0.0  # of the labels
    dropout: float = 0.0  # share of hidden units dropped in a step
    noise: float = 0.0  # standard deviation added to inputs in training
    # A rate that does not fall, so that models differ by classes.
    constant: bool = False
    views: bool = False  # train on any view of a record, not on the first alone


def trained(
    inputs: NDArray[np.float32],
    label: NDArray[np.integer[Any]],
    member: NDArray[np.bool_],
    n_classes: int,
    recipe: Recipe,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Train a model on each row of memberships, and return what all say of all records.

    Args:
        inputs: (n_views, n_records, n_features).
        label: (n_records,) classes to learn.
        member: (n_models, n_records), as many for each model.
        n_classes: how many outputs.
        recipe: of all models.
        rng: of weights, order and noise.

    Returns:
        (n_models, n_records, n_views, n_classes) logits.
    """
    n_views, _, n_features = inputs.shape
    n_models = len(member)
    own = np.stack([np.flatnonzero(row) for row in member])
    widths = (n_features, *recipe.hidden, n_classes)
    state = []
    for fan_in, fan_out in itertools.pairwise(widths):
        scale = np.sqrt(2 / fan_in)
        weights = rng.standard_normal((n_models, fan_in, fan_out), dtype=np.float32)
        state += [weights * np.float32(scale), np.zeros((n_models, 1, fan_out), "f4")]
    moments = [(np.zeros_like(w), np.zeros_like(w)) for w in state]
    n_own = own.shape[1]
    batch = min(recipe.batch, n_own)
    n_steps = recipe.epochs * (n_own // batch)
    step = 0
    for _ in range(recipe.epochs):
        order = rng.permuted(own, axis=1)
        for first in range(0, n_own - batch + 1, batch):
            rows = order[:, first : first + batch]
            view = rng.integers(n_views, size=rows.shape) if recipe.views else 0
            x = inputs[view, rows]
            if recipe.noise:
                x = x + recipe.noise * rng.standard_normal(x.shape, dtype=np.float32)
            step += 1
            rate = recipe.rate
            if not recipe.constant:
                rate *= 0.5 * (1 + np.cos(np.pi * step / (n_steps + 1)))
            slopes = _slopes(state, x, label[rows], recipe, rng)
            _advance(state, slopes, moments, step, rate, recipe.decay)
    logits = [_values(state, inputs[view])[-1] for view in range(n_views)]
    return np.stack(logits, axis=2)


def _values(
    state: list[NDArray[np.float32]],
    x: NDArray[np.float32],
    dropout: float = 0.0,
    rng: np.random.Generator | None = None,
) -> list[NDArray[np.float32]]:
    """Return the inputs of all layers, and the logits last."""
    values = [x]
    for place in range(0, len(state), 2):
        x = np.matmul(x, state[place]) + state[place + 1]
        if place + 2 < len(state):
            np.maximum(x, 0, out=x)
            if dropout and rng is not None:
                kept = rng.random(x.shape, dtype=np.float32) >= dropout
                x *= kept / np.float32(1 - dropout)
        values.append(x)
    return values


def _slopes(
    state: list[NDArray[np.float32]],
    x: NDArray[np.float32],
    label: NDArray[np.integer[Any]],
    recipe: Recipe,
    rng: np.random.Generator,
) -> list[NDArray[np.float32]]:
    """Return the gradient of the mean cross-entropy by backpropagation."""
    values = _values(state, x, recipe.dropout, rng)
    odds = values[-1]
    odds = odds - odds.max(axis=-1, keepdims=True)
    slope = np.exp(odds)
    slope /= slope.sum(axis=-1, keepdims=True)
    n_classes = slope.shape[-1]
    slope -= recipe.smoothing / n_classes
    own = np.arange(n_classes) == label[..., None]
    slope -= (1 - recipe.smoothing) * own
    slope = (slope / slope.shape[1]).astype(np.float32)
    slopes: list[NDArray[np.float32]] = []
    for place in range(len(state) - 2, -1, -2):
        before = values[place // 2]
        slopes = [
            np.matmul(before.transpose(0, 2, 1), slope),
            slope.sum(axis=1, keepdims=True),
            *slopes,
        ]
        if place:
            kept_share = np.float32(1 / (1 - recipe.dropout))
            slope = np.matmul(slope, state[place].transpose(0, 2, 1))
            slope *= (before > 0) * kept_share
    return slopes


def _advance(
    state: list[NDArray[np.float32]],
    slopes: list[NDArray[np.float32]],
    moments: list[tuple[NDArray[np.float32], NDArray[np.float32]]],
    step: int,
    rate: float,
    decay: float,
) -> None:
    """Take a step of Adam with decoupled weight decay, in place."""
    length = np.float32(rate * np.sqrt(1 - SECOND**step) / (1 - FIRST**step))
    for weights, slope, (first, second) in zip(state, slopes, moments, strict=True):
        first += np.float32(1 - FIRST) * (slope - first)
        second += np.float32(1 - SECOND) * (slope * slope - second)
        if decay and weights.shape[1] > 1:
            weights *= np.float32(1 - rate * decay)
        weights -= length * first / (np.sqrt(second) + np.float32(LEAST))
