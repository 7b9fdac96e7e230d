"""Drawn records to train tiny networks on."""

from collections.abc import Callable
from typing import Any

import numpy as np
from mindspore import nn
from numpy.typing import NDArray

from pipeline import draws
from pipeline.config import Data, OwnTraining, Training
from pipeline.models import recipes
from pipeline.models.trainset import TrainingSet


def drawn(n: int = 41) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return (n, 6) inputs and random labels of five classes."""
    rng = np.random.default_rng(1)
    label = rng.integers(0, 5, n).astype(np.int32)
    return rng.normal(size=(n, 6)).astype(np.float32), label


def trainset(
    n: int = 41, seed: int = 1, progress: Callable[..., None] = lambda *_: None
) -> TrainingSet:
    images, label = drawn(n)
    return TrainingSet(
        Data(source="my_data.py:datasets"),
        (images,),
        np.arange(n),
        ids=2 * np.arange(n),
        label=label,
        rng=draws.rng(seed, "target.order"),
        progress=progress,
    )


def network() -> nn.Cell:
    return nn.SequentialCell(
        nn.Dense(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dense(16, 5)
    )


def recipe(**more: Any) -> Training:
    settings: dict[str, Any] = {"learning_rate": 0.05, "epochs": 2, "batch_size": 8}
    return Training(**(settings | more))


def trainer(
    settings: Training | OwnTraining, build: Callable[[], nn.Cell] = network
) -> recipes.Trainer:
    return recipes.Trainer(settings, build, "target.training", n_classes=5)


def train(trainer: recipes.Trainer, seed: int = 1, n: int = 41) -> nn.Cell:
    return trainer.train(
        trainset(n, seed),
        weights=draws.integer(seed, "target.weights"),
        seed=draws.integer(seed, "target.recipe"),
    )


def weights(network: nn.Cell) -> list[bytes]:
    return [p.asnumpy().tobytes() for p in network.get_parameters()]
