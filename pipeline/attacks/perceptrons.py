"""Perceptrons: networks of one shape, trained together on the same records.

The algorithm is that of scikit-learn's MLPClassifier with Adam: its first weights,
batches, steps and rule for stopping. Trained alone, a network takes thousands of steps
so small that most of the time passes between them. Networks that differ in their
penalty alone have the same first weights and batches, and take each step together.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.neural_network import MLPClassifier
from sklearn.utils import check_random_state, gen_batches, shuffle

# As MLPClassifier computes if it is given float32; it takes half the time of float64.
DTYPE = np.float32
BATCH = 200  # records, where batch_size is "auto"; MLPClassifier's
GLOROT = 6.0  # in the bound of the first weights, for ReLU


class Networks:
    """Networks of one shape, all numbers of each in one row."""

    def __init__(self, numbers: NDArray[Any], sizes: Sequence[int]) -> None:
        """Divide `numbers` into layers, without a copy.

        Args:
            numbers: (n_networks, n_numbers), first all weights and then all biases.
            sizes: of the layers, from the features to the one output.
        """
        self.numbers, self.sizes = numbers, tuple(sizes)
        shapes = [*pairwise(sizes)]
        shapes += [(1, size) for size in sizes[1:]]
        ends = np.cumsum([height * width for height, width in shapes])
        layers = [
            part.reshape(len(numbers), *shape)
            for part, shape in zip(
                np.split(numbers, ends[:-1], axis=1), shapes, strict=True
            )
        ]
        half = len(sizes) - 1
        self.weights = layers[:half]  # (n_networks, size, next size) each
        self.biases = layers[half:]  # (n_networks, 1, next size) each
        self.all_weights = numbers[:, : ends[half - 1]]  # (n_networks, n_weights)

    def layers(self, rows: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the values of every layer for rows of features.

        Args:
            rows: (n_rows, n_features).

        Returns:
            The rows, then (n_networks, n_rows, size) of each layer. The last holds
            probabilities of class 1.
        """
        values = [rows]
        for weight, bias in zip(self.weights, self.biases, strict=True):
            values.append(np.matmul(values[-1], weight))
            values[-1] += bias
            if len(values) < len(self.sizes):
                np.maximum(values[-1], 0, out=values[-1])
        expit(values[-1], out=values[-1])
        return values

    def probability(self, rows: NDArray[np.float64]) -> NDArray[Any]:
        """Return (n_networks, n_rows) probabilities of class 1."""
        return self.layers(rows.astype(self.numbers.dtype))[-1][:, :, 0]


class Fitted(NamedTuple):
    """Trained networks, in the order of their penalties."""

    networks: Networks
    converged: NDArray[np.bool_]  # (n_networks,) False if stopped at its last iteration


class _Training:
    """Networks on their way, with the moments of their gradients."""

    def __init__(
        self, networks: Networks, alphas: Sequence[float], settings: Mapping[str, Any]
    ) -> None:
        self.networks, self.settings = networks, settings
        self.place = np.arange(len(alphas))  # of each network among all
        numbers = networks.numbers
        self.alphas = np.array(alphas, dtype=numbers.dtype)[:, None]
        self.mean, self.square = np.zeros_like(numbers), np.zeros_like(numbers)
        self.least = float(np.finfo(numbers.dtype).eps)  # probability in the loss
        self.n_steps = 0
        self.best = np.full(len(alphas), np.inf)  # loss so far
        self.n_stale = np.zeros(len(alphas), dtype=np.int64)  # iterations without gain
        self._make_room()

    def _make_room(self) -> None:
        """Allocate once what every step writes over."""
        numbers = self.networks.numbers
        self.gradient = Networks(np.empty_like(numbers), self.networks.sizes)
        self.room = np.empty_like(numbers)

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Go on with some of the networks."""
        self.networks = Networks(self.networks.numbers[kept], self.networks.sizes)
        self.place, self.alphas = self.place[kept], self.alphas[kept]
        self.mean, self.square = self.mean[kept], self.square[kept]
        self.best, self.n_stale = self.best[kept], self.n_stale[kept]
        self._make_room()

    def step(self, rows: NDArray[Any], member: NDArray[Any]) -> NDArray[np.float64]:
        """Take one step, and return the networks' losses before it, per record."""
        values = self.networks.layers(rows)
        penalty = [float(weights @ weights) for weights in self.networks.all_weights]
        error = values[-1] - member[:, None]
        loss = _cross_entropy(values[-1][:, :, 0], member, self.least)
        loss += self.alphas[:, 0] * np.array(penalty) / (2 * len(rows))
        self._backwards(values, error)
        self._update()
        return loss

    def _backwards(self, values: list[NDArray[Any]], error: NDArray[Any]) -> None:
        """Write the gradient of the loss, from the error of the output."""
        n_rows = len(values[0])
        for layer in reversed(range(len(self.networks.weights))):
            before = values[layer].swapaxes(-1, -2)
            np.matmul(before, error, out=self.gradient.weights[layer])
            np.sum(error, axis=1, keepdims=True, out=self.gradient.biases[layer])
            if layer:
                weight = self.networks.weights[layer].swapaxes(-1, -2)
                # BLAS takes no product over a single output.
                is_last = error.shape[-1] == 1
                error = error * weight if is_last else np.matmul(error, weight)
                error *= values[layer] > 0
        decay = self.gradient.all_weights
        decay += self.alphas * self.networks.all_weights
        self.gradient.numbers /= n_rows

    def _update(self) -> None:
        """Move the numbers against their gradient, by Adam."""
        first, second = self.settings["beta_1"], self.settings["beta_2"]
        gradient, room = self.gradient.numbers, self.room
        self.n_steps += 1
        self.mean *= first
        self.mean += np.multiply(gradient, 1 - first, out=room)
        self.square *= second
        np.multiply(gradient, gradient, out=room)
        room *= 1 - second
        self.square += room
        rate = self.settings["learning_rate_init"]
        rate *= (1 - second**self.n_steps) ** 0.5 / (1 - first**self.n_steps)
        np.sqrt(self.square, out=room)
        room += self.settings["epsilon"]
        np.divide(self.mean, room, out=room)
        room *= rate
        self.networks.numbers -= room

    def stopping(self, loss: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which networks stop after an iteration of this mean loss."""
        # Its square overflows long before a gradient does, and then nothing moves.
        overflown = ~np.isfinite(self.square).all(axis=1)
        self.networks.numbers[overflown] = np.nan
        gains = loss <= self.best - self.settings["tol"]
        self.n_stale = np.where(gains, 0, self.n_stale + 1)
        self.best = np.minimum(self.best, loss)
        return np.asarray(self.n_stale > self.settings["n_iter_no_change"])


def suits(params: Mapping[str, Any]) -> bool:
    """Return whether networks of these parameters can be trained together."""
    settings = MLPClassifier(**params).get_params()
    return bool(
        settings["solver"] == "adam"
        and settings["activation"] == "relu"
        and settings["random_state"] is not None
        and not settings["early_stopping"]
    )


@np.errstate(over="ignore", invalid="ignore")  # said by NaN instead
def fitted(
    train: NDArray[np.float64],
    member: NDArray[np.bool_],
    params: Mapping[str, Any],
    alphas: Sequence[float],
    dtype: type[np.floating[Any]] = DTYPE,
) -> Fitted:
    """Train one network for each penalty. None depends on which others there are.

    Args:
        train: (n_train, n_features).
        member: (n_train,) whether each is a member.
        params: of MLPClassifier, which `suits`; their alpha is not read.
        alphas: the penalties.
        dtype: to compute in.

    Returns:
        The networks; all numbers of one are NaN if some number does not stay finite.

    Source: Kingma & Ba 2015, arXiv:1412.6980, Algorithm 1; first weights by Glorot &
        Bengio 2010, equation 16.
    """
    settings = MLPClassifier(**params).get_params()
    rows, target = train.astype(dtype), member.astype(dtype)
    state = check_random_state(settings["random_state"])
    hidden = np.atleast_1d(settings["hidden_layer_sizes"]).astype(int).tolist()
    sizes = (train.shape[1], *hidden, 1)
    numbers = np.tile(_first(sizes, state).astype(dtype), (len(alphas), 1))
    training = _Training(Networks(numbers.copy(), sizes), alphas, settings)
    converged = np.zeros(len(alphas), dtype=bool)
    size = BATCH if settings["batch_size"] == "auto" else settings["batch_size"]
    order = np.arange(len(rows))
    for _ in range(settings["max_iter"]):
        if settings["shuffle"]:
            order = shuffle(order, random_state=state)
        loss = np.zeros(len(training.place))
        for batch in gen_batches(len(rows), min(size, len(rows))):
            chosen = order[batch]
            loss += training.step(rows[chosen], target[chosen]) * len(chosen)
        stops = training.stopping(loss / len(rows))
        if stops.any():
            numbers[training.place[stops]] = training.networks.numbers[stops]
            converged[training.place[stops]] = True
            training.keep(~stops)
        if converged.all():
            break
    numbers[training.place] = training.networks.numbers
    numbers[~np.isfinite(numbers).all(axis=1)] = np.nan
    return Fitted(Networks(numbers, sizes), converged)


def _first(sizes: Sequence[int], state: np.random.RandomState) -> NDArray[np.float64]:
    """Return (n_numbers,) first weights and biases, drawn as MLPClassifier does."""
    weights, biases = [], []
    for size, following in pairwise(sizes):
        bound = np.sqrt(GLOROT / (size + following))
        weights.append(state.uniform(-bound, bound, size * following))
        biases.append(state.uniform(-bound, bound, following))
    return np.concatenate(weights + biases)


def _cross_entropy(
    probability: NDArray[Any], member: NDArray[Any], least: float
) -> NDArray[np.float64]:
    """Return (n_networks,) mean losses, of probabilities in [least, 1 - least]."""
    of_class = np.where(member > 0, probability, 1 - probability)
    np.minimum(np.maximum(of_class, least, out=of_class), 1 - least, out=of_class)
    total: NDArray[np.float64] = np.log(of_class).sum(axis=1, dtype=np.float64)
    return -total / len(member)
