"""Recipes: what trains a network, and what is checked of the network that comes back.

A recipe is a function ``train(network, records, seed)`` that trains the network in
place, or returns one with the same parameters. It is the built-in one, or a user's own.
"""

import inspect
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn
from numpy.typing import NDArray

from pipeline import cli, draws
from pipeline.config import OwnTraining, Target, Training
from pipeline.data import modules
from pipeline.errors import AuditError
from pipeline.models import checkpoints, devices, failures, networks, training
from pipeline.models.logits import Logits, Part
from pipeline.models.trainset import TrainingSet

# Seconds that a model may take in PyNative mode without a word.
SLOW = 30.0

TrainFunction = Callable[[nn.Cell, TrainingSet, int], Any]


class Trainer:
    """Trains one model after the other, each as if it were the only one.

    Args:
        settings: of the recipe.
        build: returns the network with fresh weights.
        section: of the config that holds the settings, for errors.
        n_classes: of the labels.
        output: where the logits stand in what the network returns; None to find it.

    Raises:
        AuditError: if there is no such function of the user's, or it takes other
            arguments.
    """

    def __init__(
        self,
        settings: Training | OwnTraining,
        build: Callable[[], nn.Cell],
        section: str,
        *,
        n_classes: int,
        output: Part | None = None,
    ) -> None:
        devices.repeat_draws()
        self._settings = settings
        self._build = build
        self._train: TrainFunction
        if isinstance(settings, OwnTraining):
            self.name = settings.recipe
            self._train = _Own(settings.recipe)
        else:
            self.name = section
            self._train = training.BuiltIn(
                settings,
                build,
                lambda network: Logits(network, n_classes, output),
                section,
            )

    def train(self, records: TrainingSet, *, weights: int, seed: int) -> nn.Cell:
        """Return a network that has learned the records, in evaluation mode.

        Args:
            records: that it is to learn.
            weights: seed of its first weights.
            seed: of all that the recipe draws.

        Returns:
            The network, which the next training may overwrite.

        Raises:
            AuditError: if the recipe fails, or what it returns has other parameters,
                has some that are not finite, or learned nothing.
        """
        seeded(weights)
        network = self._build()
        if self._settings.start is not None:
            path, new = Path(self._settings.start), self._settings.start_allow_missing
            checkpoints.start(network, path, new)
        names = [(each.name, each) for each in network.get_parameters()]
        before = _values(network)
        trainable = [parameter.name for parameter in network.trainable_params()]
        seeded(seed)
        returned = self._train(network, records, seed)
        for name, parameter in names:
            # A cell that holds the network has put its own name before them.
            if parameter.name != name:
                parameter.name = name
        trained = network if returned is None else returned
        if not isinstance(trained, nn.Cell):
            problem = f"returns {type(trained).__name__}, not a mindspore.nn.Cell"
            fix = "return the network, or nothing if it is trained in place"
            raise AuditError(self.name, problem, fix)
        self._check(before, _values(trained), trainable or [*before])
        trained.set_train(False)
        return trained

    def _check(
        self,
        before: Mapping[str, NDArray[Any]],
        after: Mapping[str, NDArray[Any]],
        trainable: Iterable[str],
    ) -> None:
        differences = {
            "lacks": [name for name in before if name not in after],
            "has besides": [name for name in after if name not in before],
            "has in another shape": [
                name
                for name in before
                if name in after and after[name].shape != before[name].shape
            ],
        }
        problems = [
            f"{verb} {checkpoints.listed(names)}"
            for verb, names in differences.items()
            if names
        ]
        if problems:
            problem = f"gives another network back, which {'; '.join(problems)}"
            fix = "train the network that it is given, and return that or nothing"
            raise AuditError(self.name, problem, fix)
        for name, values in after.items():
            # A network may hold infinities of its own, as in a mask of attention.
            bad = ~np.isfinite(values) & (values != before[name])
            if bad.any():
                kind = "NaN" if np.isnan(values[bad]).any() else "infinite"
                problem = f"leaves {bad.sum()} of {bad.size} values of {name} {kind}"
                fix = "lower its learning rate, or clip its gradients"
                raise AuditError(self.name, problem, fix)
        if all(np.array_equal(before[name], after[name]) for name in trainable):
            problem = "leaves all weights as they were"
            fix = "let its optimizer move the parameters of the network it is given"
            if isinstance(self._settings, Training):
                fix = f"raise {self.name}.learning_rate"
            raise AuditError(self.name, problem, fix)


def trainer(
    target: Target, settings: Training | OwnTraining, n_classes: int
) -> Trainer:
    """Return what trains a target, or models like it.

    Args:
        target: whose network is trained.
        settings: of its recipe, or of that of its references if it has none.
        n_classes: that the network tells apart.

    Raises:
        AuditError: as `Trainer`.
    """
    section = "target" if target.training else "references"
    return Trainer(
        settings,
        lambda: networks.of_target(target, n_classes),
        f"{section}.training",
        n_classes=n_classes,
        output=target.output,
    )


class _Own:
    """A user's recipe, whose file runs anew for each model."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_told = False
        self._checked()

    def __call__(self, network: nn.Cell, records: TrainingSet, seed: int) -> Any:
        mode = ms.get_context("mode")
        # As it is where a script of the user's begins.
        ms.set_context(mode=ms.PYNATIVE_MODE)
        train = self._checked()
        start = time.perf_counter()
        try:
            returned = train(network, records, seed)
            self._tell(time.perf_counter() - start)
            return returned
        except AuditError:
            raise
        except (Exception, SystemExit) as error:
            problem = f"fails ({failures.reason(error)})"
            raise AuditError(self._name, problem, "correct the recipe") from error
        finally:
            ms.set_context(mode=mode)

    def _tell(self, seconds: float) -> None:
        """Tell once how a slow recipe may become faster."""
        is_compiled = ms.get_context("mode") == ms.GRAPH_MODE
        if is_compiled or seconds < SLOW or self._is_told:
            return
        self._is_told = True
        cli.note(
            f"{self._name} trains in PyNative mode; if your network can be compiled, "
            "`ms.set_context(mode=ms.GRAPH_MODE)` in it is often many times as fast"
        )

    def _checked(self) -> Callable[..., Any]:
        train = modules.function(self._name)
        signature = inspect.signature(train)
        try:
            signature.bind(None, None, None)
        except TypeError:
            name = self._name.rpartition(":")[2]
            problem = f"takes {signature}, not (network, records, seed)"
            fix = f"begin it with `def {name}(network, records, seed):`"
            raise AuditError(self._name, problem, fix) from None
        return train


def seeded(seed: int) -> None:
    """Seed every generator that a network or a recipe may draw from unasked."""
    draws.seed_globally(seed)
    ms.set_seed(seed)  # which also seeds mindspore.dataset


def _values(network: nn.Cell) -> dict[str, NDArray[Any]]:
    def array(parameter: Any) -> NDArray[Any]:
        # NumPy has no bfloat16.
        wide = parameter.dtype == ms.bfloat16
        return np.array((parameter.astype(ms.float32) if wide else parameter).asnumpy())

    return {name: array(each) for name, each in network.parameters_dict().items()}
