from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from pipeline.config import OwnTraining
from pipeline.errors import AuditError
from pipeline.models import checkpoints, devices, recipes
from tests import trainsets
from tests.trainsets import recipe, train, trainset, weights

HEAD = """
import random
import mindspore as ms
import numpy as np
from mindspore import nn

def moved(network):
    for parameter in network.trainable_params():
        parameter.set_data(parameter + 1)
"""


@pytest.fixture(autouse=True)
def _cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    devices.start("CPU")


def linear() -> nn.Cell:
    return nn.Dense(6, 5, weight_init="ones")


def trainer(text: str, build: Any = linear, **more: Any) -> recipes.Trainer:
    """Return the trainer of a recipe of one's own."""
    Path("my_recipe.py").write_text(HEAD + text)
    settings = OwnTraining(recipe="my_recipe.py:train", **more)
    return trainsets.trainer(settings, build)


def refusal(text: str, build: Any = linear) -> str:
    with pytest.raises(AuditError) as caught:
        train(trainer(text, build))
    return str(caught.value)


def line_of(words: str) -> int:
    lines = Path("my_recipe.py").read_text().splitlines()
    return 1 + next(n for n, line in enumerate(lines) if words in line)


@pytest.mark.parametrize("end", ["", "    return network", "    return None"])
def test_a_recipe_trains_in_place_or_returns_the_network(end: str) -> None:
    text = f"def train(network, records, seed):\n    moved(network)\n{end}"
    network = train(trainer(text))
    assert (network.weight.asnumpy() == 2).all()
    assert not network.training


def test_a_recipe_may_return_another_cell_with_the_same_parameters() -> None:
    text = (
        "def train(network, records, seed):\n"
        "    return nn.Dense(6, 5, weight_init='zeros')\n"
    )
    assert (train(trainer(text)).weight.asnumpy() == 0).all()


def test_a_recipe_is_given_its_records_and_a_seed_below_two_to_the_31() -> None:
    text = (
        "def train(network, records, seed):\n"
        "    (batch,) = records.dataset().batch(99).create_dict_iterator(\n"
        "        output_numpy=True, num_epochs=1)\n"
        "    np.savez('seen', ids=records.ids, n=len(records), seed=seed, **batch)\n"
        "    moved(network)\n"
    )
    train(trainer(text))
    with np.load("seen.npz") as seen:
        images, label = trainsets.drawn()
        assert np.array_equal(seen["image"], images)
        assert np.array_equal(seen["label"], label)
        assert seen["ids"].tolist() == (2 * np.arange(41)).tolist()
        assert seen["n"] == 41
        assert 0 <= seen["seed"] < 2**31


# What goes wrong in it


def test_an_exception_is_told_with_the_line_of_the_users_file() -> None:
    Path("helper.py").write_text("def broken(x):\n    return int(x)\n")
    text = (
        "import helper\n"
        "def train(network, records, seed):\n"
        "    helper.broken('nothing')\n"
    )
    assert refusal(text) == (
        "my_recipe.py:train: fails (helper.py, line 2: ValueError: invalid literal for "
        "int() with base 10: 'nothing'). Fix: correct the recipe."
    )
    assert ms.get_context("mode") == ms.GRAPH_MODE


def test_an_exception_within_a_library_is_told_with_the_users_line() -> None:
    text = "import json\ndef train(network, records, seed):\n    json.loads('{')\n"
    message = refusal(text)
    assert message.startswith(
        f"my_recipe.py:train: fails (my_recipe.py, line {line_of('json.loads')}: JSON"
    )


@pytest.mark.parametrize("words", ["network, records", "network, *, records, seed"])
def test_other_arguments_are_refused_before_anything_is_read(words: str) -> None:
    with pytest.raises(AuditError) as caught:
        trainer(f"def train({words}): ...\n")
    assert str(caught.value) == (
        f"my_recipe.py:train: takes ({words}), not (network, records, seed). Fix: "
        "begin it with `def train(network, records, seed):`."
    )


def test_a_further_argument_with_a_default_is_allowed() -> None:
    text = "def train(network, records, seed, epochs=3):\n    moved(network)\n"
    train(trainer(text))


def test_a_recipe_that_is_not_there_is_refused() -> None:
    with pytest.raises(AuditError, match=r"has no function 'train'"):
        trainer("")


def test_what_is_no_network_is_refused() -> None:
    text = "def train(network, records, seed):\n    return [network]\n"
    assert refusal(text) == (
        "my_recipe.py:train: returns list, not a mindspore.nn.Cell. Fix: return the "
        "network, or nothing if it is trained in place."
    )


def test_another_network_is_refused_by_its_parameters() -> None:
    text = "def train(network, records, seed):\n    return nn.Conv2d(6, 4, 1)\n"
    assert refusal(text) == (
        "my_recipe.py:train: gives another network back, which lacks bias; has in "
        "another shape weight. Fix: train the network that it is given, and return "
        "that or nothing."
    )


def test_a_layer_that_is_added_is_refused() -> None:
    text = (
        "def train(network, records, seed):\n"
        "    moved(network)\n"
        "    network.more = nn.Dense(5, 5, has_bias=False)\n"
    )
    assert "which has besides more.weight. Fix: train" in refusal(text)


@pytest.mark.parametrize(("value", "kind"), [("nan", "NaN"), ("inf", "infinite")])
def test_weights_that_are_not_finite_are_refused(value: str, kind: str) -> None:
    text = (
        "def train(network, records, seed):\n"
        "    values = network.weight.asnumpy().copy()\n"
        f"    values[0, :2] = np.{value}\n"
        "    network.weight.set_data(ms.Tensor(values))\n"
    )
    assert refusal(text) == (
        f"my_recipe.py:train: leaves 2 of 30 values of weight {kind}. Fix: lower its "
        "learning rate, or clip its gradients."
    )


def normalised() -> nn.Cell:
    return nn.SequentialCell(nn.Dense(6, 5), nn.BatchNorm1d(5))


@pytest.mark.parametrize("pass_over", ["pass", "network.set_train()(ms.Tensor(x))"])
def test_a_recipe_that_trains_nothing_is_refused(pass_over: str) -> None:
    """Even if the statistics of batch norm have moved."""
    text = (
        "def train(network, records, seed):\n"
        "    x, label = records.batch(np.arange(9))\n"
        f"    {pass_over}\n"
    )
    assert refusal(text, normalised) == (
        "my_recipe.py:train: leaves all weights as they were. Fix: let its optimizer "
        "move the parameters of the network it is given."
    )


def test_a_rate_of_learning_that_moves_nothing_is_refused() -> None:
    with pytest.raises(AuditError) as caught:
        train(trainsets.trainer(recipe(optimizer="sgd", learning_rate=1e-30), linear))
    assert str(caught.value) == (
        "target.training: leaves all weights as they were. Fix: raise "
        "target.training.learning_rate."
    )


def test_layers_may_be_frozen() -> None:
    text = (
        "def train(network, records, seed):\n"
        "    network[0].weight.requires_grad = False\n"
        "    moved(network)\n"
    )
    train(trainer(text, normalised))


def test_parameters_keep_their_names_where_a_cell_holds_the_network() -> None:
    """MindSpore puts the name of the cell's attribute before them."""
    text = (
        "class Loss(nn.Cell):\n"
        "    def __init__(self, network):\n"
        "        super().__init__()\n"
        "        self.backbone = network\n"
        "def train(network, records, seed):\n"
        "    loss = Loss(network)\n"
        "    loss.update_parameters_name('run.')\n"
        "    assert network.weight.name != 'weight', network.weight.name\n"
        "    moved(network)\n"
    )
    assert [*train(trainer(text)).parameters_dict()] == ["weight", "bias"]


# Each model as if it were the only one


DRAWS = """
STATE = []

def train(network, records, seed):
    STATE.append(1)
    drawn = [random.random(), np.random.rand(), records.rng.random(), len(STATE)]
    order = [
        int(label)
        for batch in records.dataset().shuffle(41).batch(8).create_dict_iterator(
            output_numpy=True, num_epochs=1)
        for label in batch["label"]
    ]
    images, label = map(ms.Tensor, records.batch(np.arange(41)))
    dropout, loss = nn.Dropout(p=0.5).set_train(), nn.CrossEntropyLoss()
    optimizer = nn.Adam(network.trainable_params())
    step = ms.value_and_grad(
        lambda x, y: loss(network(dropout(x)), y), None, optimizer.parameters)
    for _ in range(9):
        optimizer(step(images, label)[1])
    values = np.array([*drawn, *order][:30], np.float32).reshape(5, 6)
    network.weight.set_data(network.weight + ms.Tensor(values))
"""


def test_a_model_is_the_same_whatever_was_trained_before() -> None:
    """Whatever it draws by, and whatever its file keeps from call to call."""
    shared = trainer(DRAWS, lambda: nn.Dense(6, 5))
    first, second = (weights(train(shared, seed)) for seed in (7, 8))
    assert first != second
    assert weights(train(trainer(DRAWS, lambda: nn.Dense(6, 5)), 8)) == second
    assert weights(train(shared, 7)) == first


@pytest.mark.parametrize("kind", ["own", "built-in"])
def test_weights_and_training_are_seeded_apart(kind: str) -> None:
    def by(weights_seed: int, seed: int) -> list[bytes]:
        if kind == "own":
            shared = trainer(DRAWS, lambda: nn.Dense(6, 5))
        else:
            build = lambda: nn.SequentialCell(nn.Dropout(p=0.5), nn.Dense(6, 5))  # noqa: E731
            shared = trainsets.trainer(recipe(), build)
        return weights(shared.train(trainset(), weights=weights_seed, seed=seed))

    assert by(1, 1) == by(1, 1)
    assert by(1, 1) != by(2, 1)
    if kind == "own":
        assert by(1, 1) != by(1, 2)


def test_a_recipe_begins_in_mindspores_own_mode_and_leaves_ours() -> None:
    text = (
        "def train(network, records, seed):\n"
        "    assert ms.get_context('mode') == ms.PYNATIVE_MODE\n"
        "    moved(network)\n"
    )
    train(trainer(text))
    assert ms.get_context("mode") == ms.GRAPH_MODE


@pytest.mark.parametrize(
    ("mode", "slow", "is_told"),
    [("PYNATIVE", 0.0, True), ("PYNATIVE", 3600.0, False), ("GRAPH", 0.0, False)],
)
def test_a_slow_recipe_in_pynative_mode_is_told_once_what_may_help(
    mode: str,
    slow: float,
    is_told: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(recipes, "SLOW", slow)
    of_two = trainer(
        "def train(network, records, seed):\n"
        f"    ms.set_context(mode=ms.{mode}_MODE)\n"
        "    moved(network)\n"
    )
    train(of_two)
    train(of_two)
    note = (
        "note: my_recipe.py:train trains in PyNative mode; if your network can be "
        "compiled, `ms.set_context(mode=ms.GRAPH_MODE)` in it is often many times as "
        "fast\n"
    )
    assert capsys.readouterr().err == (note if is_told else "")


# A start


def saved(network: nn.Cell, name: str = "start.ckpt") -> str:
    checkpoints.save(network, Path(name))
    return name


def two_layers(n_classes: int = 5) -> nn.Cell:
    class Net(nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.fc = nn.Dense(6, 4), nn.Dense(4, n_classes)

        def construct(self, x: Any) -> Any:
            return self.fc(self.body(x))

    return Net()


SEEN = """
def train(network, records, seed):
    np.savez("seen", **{k: v.asnumpy() for k, v in network.parameters_dict().items()})
    moved(network)
"""


def seen() -> dict[str, Any]:
    with np.load("seen.npz") as arrays:
        return dict(arrays)


def test_every_model_starts_from_the_weights_of_a_file() -> None:
    pretrained = two_layers()
    shared = trainer(SEEN, two_layers, start=saved(pretrained))
    for seed in (1, 2):
        train(shared, seed)
        for name, values in pretrained.parameters_dict().items():
            assert np.array_equal(seen()[name], values.asnumpy())


def test_a_new_head_is_fresh_for_each_model_and_the_rest_is_not() -> None:
    pretrained = two_layers(n_classes=9)
    optimizer = nn.Adam(pretrained.trainable_params())
    parameters = [*pretrained.get_parameters(), *optimizer.get_parameters()]
    whole = [{"name": each.name, "data": each} for each in parameters]
    ms.save_checkpoint(whole, "start.ckpt")
    shared = trainer(SEEN, two_layers, start="start.ckpt", start_allow_missing=["fc.*"])
    heads = []
    for seed in (1, 2, 1):
        train(shared, seed)
        assert np.array_equal(seen()["body.weight"], pretrained.body.weight.asnumpy())
        heads.append(seen()["fc.weight"])
    assert heads[0].shape == (5, 4)
    assert np.array_equal(heads[0], heads[2])
    assert not np.array_equal(heads[0], heads[1])


def test_the_built_in_recipe_starts_there_too() -> None:
    pretrained = two_layers()
    settings = recipe(
        start=saved(pretrained), optimizer="sgd", learning_rate=1e-5, epochs=1
    )
    shared = trainsets.trainer(settings, two_layers)
    for seed in (1, 2):
        network = train(shared, seed)
        for name, values in pretrained.parameters_dict().items():
            after = network.parameters_dict()[name].asnumpy()
            np.testing.assert_allclose(after, values.asnumpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("n_classes", "patterns", "message"),
    [
        (
            9,
            [],
            "start.ckpt: has in another shape fc.weight (9, 4) for (5, 4), fc.bias "
            "(9,) for (5,). Fix: name what is new in start_allow_missing, such as "
            '["fc.*"], or give other weights.',
        ),
        (
            5,
            ["head.*"],
            "start_allow_missing (head.*): matches no parameter of the network or of "
            "start.ckpt. Fix: correct it; parameters are body.weight, body.bias, "
            "fc.weight and 1 more.",
        ),
        (
            5,
            ["*"],
            "start_allow_missing: leaves no parameter to take from start.ckpt. Fix: "
            "name new parameters only.",
        ),
    ],
)
def test_a_start_that_does_not_fit_is_refused_by_name(
    n_classes: int, patterns: list[str], message: str
) -> None:
    saved(two_layers(n_classes))
    shared = trainer(SEEN, two_layers, start="start.ckpt", start_allow_missing=patterns)
    with pytest.raises(AuditError) as caught:
        train(shared)
    assert str(caught.value) == message


def test_what_a_start_lacks_and_has_besides_is_named() -> None:
    saved(nn.SequentialCell(nn.Dense(6, 4)))
    with pytest.raises(AuditError) as caught:
        train(trainer(SEEN, two_layers, start="start.ckpt"))
    message = str(caught.value)
    assert "lacks body.weight, body.bias, fc.weight and 1 more" in message
    assert "has besides 0.weight, 0.bias. Fix: name what is new" in message


def test_a_start_that_is_not_finite_is_refused() -> None:
    pretrained = two_layers()
    pretrained.body.weight.set_data(ms.Tensor(np.full((4, 6), np.nan, np.float32)))
    with pytest.raises(AuditError, match=r"24 of 24 values of body\.weight that are"):
        train(trainer(SEEN, two_layers, start=saved(pretrained)))
