from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn
from numpy.typing import NDArray

from pipeline import draws
from pipeline.config import Training
from pipeline.errors import AuditError
from pipeline.models import devices, recipes, training
from tests import trainsets
from tests.trainsets import drawn, recipe, train, trainer, trainset, weights


@pytest.fixture(autouse=True)
def _cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # MindSpore leaves its compiler's reports in the current folder when it fails.
    monkeypatch.chdir(tmp_path)
    devices.start("CPU")


def trained(settings: Training, n: int = 41, seed: int = 1) -> nn.Cell:
    return train(trainer(settings), seed, n)


def logits(network: nn.Cell, images: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(network(ms.Tensor(images)).asnumpy())


def test_training_is_decided_by_the_seed_to_the_last_bit() -> None:
    first, again, other = (trained(recipe(), seed=seed) for seed in (1, 1, 2))
    assert weights(first) == weights(again)
    assert weights(first) != weights(other)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw"])
def test_a_model_is_the_same_whatever_its_trainer_trained_before(
    optimizer: str,
) -> None:
    settings = recipe(optimizer=optimizer, schedule="cosine", weight_decay=0.1)
    shared = trainer(settings)
    first, second = (weights(train(shared, seed)) for seed in (7, 8))
    assert first != second
    assert weights(train(trainer(settings), 8)) == second
    assert weights(train(shared, 7)) == first


class Drawing(nn.Cell):
    """A network that draws in training, by a layer or by a function."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first, self.last = nn.Dense(6, 16), nn.Dense(16, 5)
        self.dropout = nn.Dropout(p=0.5)

    def construct(self, x: Any) -> Any:
        hidden = self.first(x)
        if self.kind == "layer":
            hidden = self.dropout(hidden)
        else:
            hidden = hidden + ms.ops.standard_normal(hidden.shape)
        return self.last(hidden)


@pytest.mark.parametrize("kind", ["layer", "function"])
def test_a_network_that_draws_is_the_same_whatever_was_trained_before(
    kind: str,
) -> None:
    """A compiled graph goes on with the draws where the last model left them."""
    shared = trainer(recipe(), lambda: Drawing(kind))
    first, second = (weights(train(shared, seed)) for seed in (7, 8))
    assert first != second
    assert weights(train(trainer(recipe(), lambda: Drawing(kind)), 8)) == second
    assert weights(train(shared, 7)) == first


def test_one_graph_serves_all_models_of_a_size_that_draw_nothing() -> None:
    shared = trainer(recipe(epochs=1))
    graphs = [train(shared, seed, n) for seed, n in ((1, 41), (2, 41), (3, 40))]
    assert graphs[0] is graphs[1]
    assert graphs[0] is not graphs[2]


def test_first_weights_and_order_have_seeds_of_their_own() -> None:
    def by(weights_seed: int, order_seed: int) -> list[bytes]:
        records = trainset(seed=order_seed)
        return weights(trainer(recipe()).train(records, weights=weights_seed, seed=1))

    assert by(1, 1) == by(1, 1)
    assert by(1, 1) != by(2, 1)
    assert by(1, 1) != by(1, 2)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw"])
def test_training_learns_its_records(optimizer: str) -> None:
    rate = {"sgd": 0.5, "momentum": 0.1, "adam": 0.02, "adamw": 0.02}[optimizer]
    settings = recipe(optimizer=optimizer, learning_rate=rate, epochs=100)
    images, label = drawn()
    predicted = logits(trained(settings), images).argmax(axis=1)
    # A guess is right for a fifth of the random labels.
    assert (predicted == label).mean() > 0.8


def by_hand(settings: Training, n: int) -> NDArray[np.float64]:
    """Return the (5, 6) weights of a linear classifier after steps by all records.

    Source: of the optimizers, Kingma and Ba 2015, arXiv:1412.6980, end of section 2;
    Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2; Sutskever et al. 2013,
    section 2, with the momentum looked ahead.
    """
    images, label = drawn(n)
    smoothed = (1 - settings.label_smoothing) * np.eye(5)[label]
    smoothed += settings.label_smoothing / 5
    weight = start().astype(np.float64)
    moment, second = np.zeros_like(weight), np.zeros_like(weight)
    for step, rate in enumerate(training.learning_rates(settings, 1), start=1):
        scores = np.exp(images @ weight.T)
        probabilities = scores / scores.sum(axis=1, keepdims=True)
        gradient = (probabilities - smoothed).T @ images / n
        if settings.clip_norm is not None:
            norm = np.sqrt((gradient**2).sum())
            gradient = gradient * min(1, settings.clip_norm / norm)
        if settings.optimizer == "adamw":
            weight = weight * (1 - rate * settings.weight_decay)
        else:
            gradient = gradient + settings.weight_decay * weight
        if settings.optimizer == "momentum":
            moment = settings.momentum * moment + gradient
            ahead = gradient + settings.momentum * moment
            weight = weight - rate * (ahead if settings.nesterov else moment)
            continue
        moment = 0.9 * moment + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        unbiased = np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        weight = weight - rate * unbiased * moment / (np.sqrt(second) + 1e-8)
    return weight


def start() -> NDArray[np.float32]:
    return np.random.default_rng(3).normal(size=(5, 6)).astype(np.float32)


def linear() -> nn.Cell:
    dense = nn.Dense(6, 5, has_bias=False)
    dense.weight.set_data(ms.Tensor(start()))
    return dense


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adamw", "weight_decay": 0.3},
        {"optimizer": "adam", "weight_decay": 0.3},
        {"optimizer": "momentum", "nesterov": True},
        {"optimizer": "momentum", "clip_norm": 0.05, "weight_decay": 0.1},
        {"optimizer": "momentum", "clip_norm": 100.0},
        {"optimizer": "momentum", "label_smoothing": 0.4},
        {"optimizer": "momentum", "warmup_epochs": 3, "schedule": "cosine"},
    ],
    ids=str,
)
def test_every_setting_does_what_its_definition_says(settings: dict[str, Any]) -> None:
    # Several epochs, in each of which one step sees all records.
    how = recipe(epochs=5, batch_size=40, learning_rate=0.2, **settings)
    network = train(trainer(how, linear), n=40)
    expected = by_hand(how, 40)
    assert np.abs(expected - start()).max() > 0.05
    np.testing.assert_allclose(network.weight.asnumpy(), expected, rtol=0, atol=2e-5)


def test_decay_leaves_what_batch_norm_learned() -> None:
    """As MindSpore's own optimizers do."""
    settings = recipe(
        optimizer="adamw", learning_rate=1e-9, weight_decay=1e8, epochs=1, batch_size=41
    )
    network = trained(settings)
    assert np.abs(network[0].weight.asnumpy()).max() < 0.95 / np.sqrt(6)
    np.testing.assert_allclose(network[1].gamma.asnumpy(), 1, atol=1e-6)


def test_every_step_is_made_and_told() -> None:
    steps: list[tuple[Any, Any]] = []
    records = trainset(progress=lambda *step: steps.append(step))
    trainer(recipe(epochs=3)).train(records, weights=1, seed=1)
    assert len(steps) == 3 * (41 // 8)
    losses, totals = zip(*steps, strict=True)
    assert np.isfinite(losses).all()
    assert {*totals} == {len(steps)}


def test_a_batch_larger_than_the_data_still_trains() -> None:
    first = trained(recipe(epochs=1, batch_size=999, learning_rate=1e-9), n=5)
    moved = trained(recipe(epochs=9, batch_size=999), n=5)
    assert weights(first) != weights(moved)


def test_training_that_diverges_is_refused() -> None:
    with pytest.raises(AuditError, match=r"gives a loss of .* in training"):
        trained(recipe(optimizer="sgd", learning_rate=1e30, epochs=20))


def test_a_recipe_that_diverges_is_named_by_its_section() -> None:
    settings = recipe(optimizer="sgd", learning_rate=1e30, epochs=20)
    shared = recipes.Trainer(
        settings, trainsets.network, "references.training", n_classes=5
    )
    with pytest.raises(AuditError) as caught:
        train(shared)
    where, _, fix = caught.value.args
    assert where == "references.training"
    assert fix == "lower references.training.learning_rate"


class Unwilling(nn.Cell):
    """A network that only Python can run, as it asks for values on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(6, 5)

    def construct(self, x: Any) -> Any:
        return self.dense(x * float(x.asnumpy().max() > -99))


def test_a_network_that_cannot_be_compiled_is_trained_in_pynative_mode() -> None:
    network = train(trainer(recipe(), Unwilling))
    assert ms.get_context("mode") == ms.PYNATIVE_MODE
    expected = drawn()[0] @ network.dense.weight.asnumpy().T
    expected += network.dense.bias.asnumpy()
    np.testing.assert_allclose(logits(network, drawn()[0]), expected, atol=1e-5)


def test_the_order_of_records_is_drawn_by_their_own_generator() -> None:
    seen: list[NDArray[np.int64]] = []
    records = trainset()
    whole = records.batch

    def spy(rows: NDArray[np.int64], augmentation: Any = "none") -> Any:
        seen.append(rows)
        return whole(rows)

    records.batch = spy  # type: ignore[method-assign]
    trainer(recipe(epochs=1)).train(records, weights=1, seed=1)
    order = draws.rng(1, "target.order").permutation(41)[:40]
    tried, *steps = seen
    assert tried.tolist() == list(range(8))
    assert np.concatenate(steps).tolist() == order.tolist()


@pytest.mark.parametrize(
    ("settings", "factors"),
    [
        ({"schedule": "constant"}, [1, 1, 1, 1, 1, 1, 1, 1]),
        ({"schedule": "step"}, [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]),
        # Half of 1 + cos of 0, 22.5, 45, ... degrees.
        (
            {"schedule": "cosine"},
            [1, 0.96194, 0.85355, 0.69134, 0.5, 0.30866, 0.14645, 0.03806],
        ),
        (
            {"schedule": "cosine", "warmup_epochs": 1},
            # Half of 1 + cos of 0, 45, 90, 135 degrees.
            [0.25, 0.5, 0.75, 1, 1, 0.85355, 0.5, 0.14645],
        ),
        (
            {"schedule": "constant", "warmup_epochs": 1},
            [0.25, 0.5, 0.75, 1, 1, 1, 1, 1],
        ),
    ],
)
def test_learning_rates_follow_their_schedule(
    settings: dict[str, Any], factors: list[float]
) -> None:
    how = recipe(learning_rate=0.5, epochs=2, **settings)
    rates = training.learning_rates(how, 4)
    np.testing.assert_allclose(rates, 0.5 * np.array(factors), atol=1e-5)
