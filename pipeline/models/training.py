"""Training: the built-in recipe.

It is a function of a network, its records and a seed, as a user's own recipe is, see
docs/recipes.md.
"""

import math
from collections.abc import Callable
from contextlib import closing
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from numpy.typing import NDArray

from pipeline.config import Training
from pipeline.data import readahead
from pipeline.data.sources import Inputs
from pipeline.errors import AuditError
from pipeline.models import devices
from pipeline.models.inference import run
from pipeline.models.logits import Logits
from pipeline.models.trainset import TrainingSet


class Loss(nn.Cell):  # type: ignore[misc]
    """The cross-entropy of a network, of however many inputs it has.

    Args:
        logits: of the network.
        label_smoothing: share of the label that all classes have in common, in [0, 1).
    """

    def __init__(self, logits: Logits, label_smoothing: float = 0.0) -> None:
        super().__init__(auto_prefix=False)
        self.logits = logits
        self.loss = nn.CrossEntropyLoss(label_smoothing=label_smoothing)

    def construct(self, *inputs_and_label: Any) -> Any:
        """Return the mean loss of a batch, in nats; its labels come last."""
        logits = self.logits(*inputs_and_label[:-1])
        return self.loss(logits, inputs_and_label[-1])


class Step(nn.Cell):  # type: ignore[misc]
    """A step of training: gradients, clipped if so wanted, decay, and the optimizer.

    Args:
        loss: of the network.
        optimizer: of the network's weights.
        clip_norm: the largest norm of all gradients together; None for any.
        decoupled: whether the weights decay before the optimizer moves them.

    Source: decoupled weight decay is that of Loshchilov and Hutter 2019,
    arXiv:1711.05101, algorithm 2.
    """

    def __init__(
        self,
        loss: nn.Cell,
        optimizer: nn.Cell,
        clip_norm: float | None,
        *,
        decoupled: bool,
    ) -> None:
        super().__init__(auto_prefix=False)
        self.loss = loss
        self.loss.set_grad()
        self.optimizer = optimizer
        self.weights = optimizer.parameters
        self.gradients = ops.GradOperation(get_by_list=True)
        self.clip_norm = clip_norm
        # What decay leaves of weights, which follows the learning rate.
        self.keep = ms.Parameter(ms.Tensor(1.0, ms.float32), requires_grad=False)
        # As MindSpore's own optimizers, which let those of batch norm be.
        self.decayed = ms.ParameterTuple(
            weight
            for weight in self.weights
            if decoupled and "gamma" not in weight.name and "beta" not in weight.name
        )

    def construct(self, *inputs_and_label: Any) -> Any:
        """Return the loss of a batch before the step."""
        loss = self.loss(*inputs_and_label)
        gradients = self.gradients(self.loss, self.weights)(*inputs_and_label)
        if self.clip_norm is not None:
            gradients = ops.clip_by_global_norm(gradients, self.clip_norm)
        for weight in self.decayed:
            loss = ops.depend(loss, ops.assign(weight, weight * self.keep))
        return ops.depend(loss, self.optimizer(gradients))


class Graph:
    """A network and its compiled step, for one model after the other.

    Args:
        logits: of the network to be trained.
        settings: the recipe.
        n_steps: in an epoch.
    """

    def __init__(self, logits: Logits, settings: Training, n_steps: int) -> None:
        self._logits, self.network = logits, logits.network
        network = self.network
        rates = learning_rates(settings, n_steps)
        self._keep = [1 - rate * settings.weight_decay for rate in rates]
        self._step = Step(
            Loss(logits, settings.label_smoothing),
            _optimizer(network, rates, settings),
            settings.clip_norm,
            decoupled=settings.optimizer == "adamw" and settings.weight_decay > 0,
        )
        own = {id(parameter) for parameter in network.get_parameters()}
        self._state = [
            (parameter, parameter.asnumpy().copy())
            for parameter in self._step.get_parameters()
            if id(parameter) not in own
        ]
        self._done = 0
        self.set_train()

    def set_train(self, mode: bool = True) -> None:
        """Set the mode of the network, and of the step."""
        self._step.set_train(mode)

    def reset(self, start: dict[str, NDArray[Any]]) -> None:
        """Give the network these parameters, and the optimizer its start."""
        for name, parameter in self.network.parameters_dict().items():
            parameter.set_data(ms.Tensor(start[name]))
        for parameter, value in self._state:
            parameter.set_data(ms.Tensor(value))
        self._done = 0

    def is_repeatable(self, start: dict[str, NDArray[Any]], batch: Inputs) -> bool:
        """Return whether it makes the same first step twice; it is reset then.

        In PyNative mode there is no graph that would be worth keeping.
        """
        losses = []
        for _ in range(2):
            self.reset(start)
            losses.append(self.step(batch))
            if ms.get_context("mode") != ms.GRAPH_MODE:
                return False
        self.reset(start)
        return losses[0] == losses[1]

    def step(self, batch: Inputs) -> float:
        """Make a step by a batch of records, and return its loss before that."""
        self._logits.find(batch[:-1])
        if self._step.decayed:
            self._step.keep.set_data(ms.Tensor(self._keep[self._done], ms.float32))
        self._done += 1
        tensors = map(ms.Tensor, batch)
        loss = run(self._step, *tensors, network=self.network)
        return float(loss.asnumpy())


class BuiltIn:
    """The built-in recipe, as a function that trains one network after the other.

    To compile a large network takes long, so a graph is kept and given the parameters
    of the next network, unless it draws anything, as dropout does: then it goes on with
    the draws where the model before left them, and every model needs its own.

    Args:
        settings: of the recipe.
        spare: builds another network such as those that are trained, to try.
        logits: returns those of a network.
        section: of the config that holds the settings, for errors.
    """

    def __init__(
        self,
        settings: Training,
        spare: Callable[[], nn.Cell],
        logits: Callable[[nn.Cell], Logits],
        section: str,
    ) -> None:
        self._settings = settings
        self._spare = spare
        self._logits = logits
        self._section = section
        self._graphs: dict[int, Graph] = {}  # by the number of records
        self._may_keep = True

    def __call__(self, network: nn.Cell, records: TrainingSet, seed: int) -> nn.Cell:
        """Train a network on all records.

        Args:
            network: with the weights to start from.
            records: that it is to learn; their generator draws their order and how
                they are augmented.
            seed: of what the network itself draws.

        Returns:
            The network that was trained, which the next training may overwrite.

        Raises:
            AuditError: if the loss is not finite, or the network does not accept its
                input.
        """
        settings = self._settings
        size = min(settings.batch_size, len(records))
        n_steps = len(records) // size
        graph = self._graph(network, records, size, seed)
        for _ in range(settings.epochs):
            order = records.rng.permutation(len(records))[: n_steps * size]
            batches = (
                records.batch(rows, settings.augmentation)
                for rows in order.reshape(n_steps, size)
            )
            losses = []
            with closing(readahead.ahead(batches, devices.batches_ahead())) as ready:
                for batch in ready:
                    losses.append(graph.step(batch))
                    records.advance(float(np.mean(losses)), n_steps * settings.epochs)
            if not math.isfinite(losses[-1]):
                problem = f"gives a loss of {losses[-1]} in training"
                fix = f"lower {self._section}.learning_rate"
                raise AuditError(self._section, problem, fix)
        graph.set_train(False)
        return graph.network

    def _graph(
        self, network: nn.Cell, records: TrainingSet, size: int, seed: int
    ) -> Graph:
        """Return a graph with the parameters of a network."""
        start = {
            name: parameter.asnumpy().copy()
            for name, parameter in network.parameters_dict().items()
        }
        if (kept := self._graphs.get(len(records))) is not None:
            kept.set_train()
            kept.reset(start)
            return kept
        n_steps = len(records) // size
        if self._may_keep:
            graph = Graph(self._logits(self._spare()), self._settings, n_steps)
            batch = records.batch(np.arange(size))
            if graph.is_repeatable(start, batch):
                self._graphs[len(records)] = graph
                return graph
            self._may_keep = False
        ms.set_seed(seed)
        return Graph(self._logits(network), self._settings, n_steps)


def learning_rates(settings: Training, n_steps: int) -> list[float]:
    """Return the learning rate of every step.

    It rises in equal parts to the first rate at the end of the warm-up (Goyal et al.
    2017, arXiv:1706.02677, section 2.2). From there, "cosine" falls to 0 along half a
    wave (Loshchilov and Hutter 2017, arXiv:1608.03983); "step" divides by ten after
    half and after three quarters.

    Args:
        settings: the recipe.
        n_steps: in an epoch.
    """
    n_warmup = settings.warmup_epochs * n_steps
    total = settings.epochs * n_steps - n_warmup
    done = np.arange(total) / total
    factor = {
        "constant": np.ones(total),
        "cosine": (1 + np.cos(np.pi * done)) / 2,
        "step": 0.1 ** ((done >= 0.5).astype(float) + (done >= 0.75)),
    }[settings.schedule]
    warmup = np.arange(1, n_warmup + 1) / max(n_warmup, 1)
    factors = np.concatenate((warmup, factor))
    return [float(rate) for rate in settings.learning_rate * factors]


def _optimizer(network: nn.Cell, rates: list[float], settings: Training) -> nn.Cell:
    weights = network.trainable_params()
    decay = settings.weight_decay
    if settings.optimizer == "adamw":
        return nn.Adam(weights, learning_rate=rates)  # the step decays the weights
    if settings.optimizer == "adam":
        return nn.Adam(weights, learning_rate=rates, weight_decay=decay)
    if settings.optimizer == "sgd":
        return nn.SGD(weights, learning_rate=rates, weight_decay=decay)
    if settings.nesterov:
        # On CPU, MindSpore's Momentum leaves its use_nesterov aside.
        momentum = settings.momentum
        return nn.SGD(weights, rates, momentum, weight_decay=decay, nesterov=True)
    return nn.Momentum(weights, rates, settings.momentum, weight_decay=decay)
