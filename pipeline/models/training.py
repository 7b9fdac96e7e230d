"""Training: one compiled step, for one model after the other."""

import math
from collections.abc import Callable
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn
from numpy.typing import NDArray

from pipeline.config import Training
from pipeline.data.sources import Inputs
from pipeline.errors import AuditError
from pipeline.models.inference import run
from pipeline.models.logits import Logits, Part


class Loss(nn.Cell):  # type: ignore[misc]
    """The cross-entropy of a network, of however many inputs it has."""

    def __init__(self, logits: Logits) -> None:
        super().__init__(auto_prefix=False)
        self.logits = logits
        self.loss = nn.CrossEntropyLoss()

    def construct(self, *inputs_and_label: Any) -> Any:
        """Return the mean loss of a batch, in nats; its labels come last."""
        logits = self.logits(*inputs_and_label[:-1])
        return self.loss(logits, inputs_and_label[-1])


class Trainer:
    """One compiled training step, for one model after the other.

    A model is the same whether it is the first or the last that a trainer trains.

    Args:
        network: builds the network with fresh weights.
        settings: the recipe.
        n_records: that every model is trained on.
        section: of the config that holds the recipe, for errors.
        n_classes: of the labels.
        output: where the logits stand in what the network returns; None to find it.
    """

    def __init__(
        self,
        network: Callable[[], nn.Cell],
        settings: Training,
        n_records: int,
        section: str = "target.training",
        *,
        n_classes: int,
        output: Part | None = None,
    ) -> None:
        self._fresh = network
        self._settings = settings
        self._section = section
        self._size = min(settings.batch_size, n_records)
        self.n_steps = n_records // self._size  # in an epoch
        self._network = network()
        self._logits = Logits(self._network, n_classes, output)
        rates = learning_rates(settings, self.n_steps)
        self._step = nn.TrainOneStepCell(
            Loss(self._logits),
            _optimizer(self._network, rates, settings),
        )
        own = {id(parameter) for parameter in self._network.get_parameters()}
        self._state = [
            (parameter, parameter.asnumpy().copy())
            for parameter in self._step.get_parameters()
            if id(parameter) not in own
        ]

    def train(
        self,
        batch: Callable[[NDArray[np.int64], np.random.Generator], Inputs],
        label: NDArray[np.int32],
        *,
        weights: int,
        rng: np.random.Generator,
        advance: Callable[[int, float], None],
    ) -> nn.Cell:
        """Train a model on all records.

        Args:
            batch: returns the inputs of the rows asked for, freshly augmented.
            label: (n_records,) classes.
            weights: seed of the first weights.
            rng: draws the order of records and the augmentation.
            advance: told the number of steps made and the mean loss of the epoch.

        Returns:
            The network, which the next training will overwrite.

        Raises:
            AuditError: if the loss is not finite, or the network does not accept its
                input.
        """
        self._reset(weights)
        used = self.n_steps * self._size
        self._step.set_train()
        for _ in range(self._settings.epochs):
            order = rng.permutation(len(label))
            losses = []
            for rows in order[:used].reshape(self.n_steps, self._size):
                inputs = batch(rows, rng)
                self._logits.find(inputs)
                tensors = map(ms.Tensor, (*inputs, label[rows]))
                losses.append(
                    float(run(self._step, *tensors, network=self._network).asnumpy())
                )
                advance(1, float(np.mean(losses)))
            if not math.isfinite(losses[-1]):
                problem = f"gives a loss of {losses[-1]} in training"
                fix = f"lower {self._section}.learning_rate"
                raise AuditError(self._section, problem, fix)
        self._step.set_train(False)
        return self._network

    def _reset(self, seed: int) -> None:
        """Give the network the weights of a fresh one, and the optimizer its start."""
        ms.set_seed(seed)
        fresh = self._fresh().parameters_dict()
        for name, parameter in self._network.parameters_dict().items():
            parameter.set_data(ms.Tensor(fresh[name].asnumpy()))
        for parameter, start in self._state:
            parameter.set_data(ms.Tensor(start))


def learning_rates(settings: Training, n_steps: int) -> list[float]:
    """Return the learning rate of every step.

    "cosine" falls from the first rate to 0 along half a wave (Loshchilov and Hutter
    2017, arXiv:1608.03983); "step" divides by ten after half and after three quarters.

    Args:
        settings: the recipe.
        n_steps: in an epoch.
    """
    total = settings.epochs * n_steps
    done = np.arange(total) / total
    factor = {
        "constant": np.ones(total),
        "cosine": (1 + np.cos(np.pi * done)) / 2,
        "step": 0.1 ** ((done >= 0.5).astype(float) + (done >= 0.75)),
    }[settings.schedule]
    return [float(rate) for rate in settings.learning_rate * factor]


def _optimizer(network: nn.Cell, rates: list[float], settings: Training) -> nn.Cell:
    weights = network.trainable_params()
    decay = settings.weight_decay
    if settings.optimizer == "adam":
        return nn.Adam(weights, learning_rate=rates, weight_decay=decay)
    if settings.optimizer == "sgd":
        return nn.SGD(weights, learning_rate=rates, weight_decay=decay)
    return nn.Momentum(weights, rates, settings.momentum, weight_decay=decay)
