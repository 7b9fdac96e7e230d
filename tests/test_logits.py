"""Networks of any inputs and outputs: where their logits stand, and in which mode."""

import os
from collections import namedtuple
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops
from numpy.typing import NDArray

from pipeline import draws
from pipeline.config import Data, Training
from pipeline.errors import AuditError
from pipeline.models import devices, inference, networks, recipes
from pipeline.models.logits import Logits
from pipeline.models.trainset import TrainingSet
from pipeline.signals import margins

N, CLASSES = 24, 3
RNG = np.random.default_rng(3)
TABLE = RNG.normal(size=(N, 4)).astype(np.float32)
IDS = RNG.integers(0, 9, (N, 5)).astype(np.int32)
LABEL = (np.arange(N) % CLASSES).astype(np.int32)
MATRIX = RNG.normal(size=(4, CLASSES)).astype(np.float32)
EXPECTED = TABLE.astype(np.float64) @ MATRIX

Pair = namedtuple("Pair", ["logits", "hidden"])


@pytest.fixture(autouse=True)
def _cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    devices.start("CPU")


class Answer:
    """What some libraries' networks return."""

    def __init__(self, logits: Any, hidden: Any) -> None:
        self.logits = logits
        self.hidden = hidden


class Returning(nn.Cell):
    """A network whose logits stand somewhere in what it returns."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.dense = nn.Dense(4, CLASSES, has_bias=False)
        self.dense.weight.set_data(ms.Tensor(MATRIX.T))

    def construct(self, table: Any) -> Any:
        logits = self.dense(table)
        if self.kind == "tuple":
            return table.sum(), logits, table
        if self.kind == "list":
            return [table, logits]
        if self.kind == "dict":
            return {"loss": logits.sum(), "logits": logits, "table": table}
        if self.kind == "named tuple":
            return Pair(logits, table)
        if self.kind == "object":
            return Answer(logits, table)
        if self.kind == "two heads":
            return logits, logits * 2, table
        if self.kind == "wide":
            return logits, ops.concat((logits, logits), 1).sum(0)
        if self.kind == "hidden only":
            return table[:, 0], logits.sum()
        if self.kind == "classes":
            return logits.argmax(axis=1)
        if self.kind == "none":
            return None
        return logits


def extracted(
    network: nn.Cell,
    *inputs: NDArray[Any],
    label: NDArray[np.int32] = LABEL,
    output: int | str | None = None,
    **more: Any,
) -> inference.Outputs:
    logits = Logits(network, int(label.max()) + 1, output)
    given = {"precision": "float32", "batch_size": 16} | more
    return inference.Extractor(logits, **given)(inputs or (TABLE,), label)


def refused(network: nn.Cell, *inputs: NDArray[Any], **more: Any) -> str:
    with pytest.raises(AuditError) as caught:
        extracted(network, *inputs, **more)
    return str(caught.value)


def agrees(found: inference.Outputs, expected: NDArray[np.float64] = EXPECTED) -> bool:
    return np.allclose(found.logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "output", "modes"),
    [
        ("tensor", None, ("graph", "pynative")),
        ("tuple", None, ("graph", "pynative")),
        ("tuple", 1, ("graph",)),
        ("list", None, ("graph",)),
        ("dict", None, ("graph", "pynative")),
        ("dict", "logits", ("graph",)),
        # Objects of Python have no place in a graph.
        ("named tuple", 0, ("auto", "pynative")),
        ("object", None, ("auto", "pynative")),
        ("object", "logits", ("pynative",)),
    ],
)
def test_logits_are_found_in_what_a_network_returns(
    kind: str, output: Any, modes: tuple[str, ...]
) -> None:
    for mode in modes:
        devices.start("CPU")
        assert agrees(extracted(Returning(kind), output=output, mode=mode))
        is_graph = ms.get_context("mode") == ms.GRAPH_MODE
        assert is_graph == (mode == "graph")


def test_of_two_heads_the_named_one_is_read() -> None:
    assert agrees(extracted(Returning("two heads"), output=0))
    assert agrees(extracted(Returning("two heads"), output=1), 2 * EXPECTED)


@pytest.mark.parametrize(
    ("kind", "output", "line"),
    [
        (
            "two heads",
            None,
            "target.network: returns 0 (8, 3) float32, 1 (8, 3) float32, 2 (8, 4) "
            "float32 for 8 records. Fix: say by target.output which are the logits, "
            "such as 0.",
        ),
        (
            "hidden only",
            None,
            "target.network: returns 0 (8,) float32, 1 () float32 for 8 records. Fix: "
            "return logits of shape (n, n_classes), of 3 classes.",
        ),
        (
            "none",
            None,
            "target.network: returns no tensor for 8 records. Fix: return logits of "
            "shape (n, n_classes), of 3 classes.",
        ),
        (
            "dict",
            "logit",
            "target.output: is 'logit', but the network returns 'loss' () float32, "
            "'logits' (8, 3) float32, 'table' (8, 4) float32. Fix: name one of these.",
        ),
        (
            "tensor",
            0,
            "target.output: is 0, but the network returns a single tensor. Fix: leave "
            "it out.",
        ),
        (
            "dict",
            "loss",
            "target.network: gives outputs of shape () for 8 records. Fix: return "
            "(n, n_classes) logits, or (n, 1) of two classes.",
        ),
        (
            "classes",
            None,
            "target.network: gives outputs of type int64. Fix: return the logits, not "
            "the classes that are decided from them.",
        ),
    ],
)
def test_outputs_without_clear_logits_are_refused(
    kind: str, output: Any, line: str
) -> None:
    assert refused(Returning(kind), output=output) == line


def test_a_network_may_have_more_outputs_than_labels_occur() -> None:
    label = LABEL % 2
    assert agrees(extracted(Returning("tuple"), label=label, output=1))
    assert agrees(extracted(Returning("wide"), label=label))


class Single(nn.Cell):
    """A network of two classes with a single output."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def construct(self, table: Any) -> Any:
        logit = table[:, :1] - table[:, 1:2]
        if self.kind == "flat":
            return logit[:, 0]
        if self.kind == "tuple":
            return logit, table
        return ops.sigmoid(logit) if self.kind == "sigmoid" else logit


@pytest.mark.parametrize(
    ("kind", "output"), [("column", None), ("flat", None), ("tuple", 0)]
)
def test_a_single_logit_is_read_beside_a_zero(kind: str, output: Any) -> None:
    label = LABEL % 2
    found = extracted(Single(kind), label=label, output=output)
    logit = (TABLE[:, 0] - TABLE[:, 1]).astype(np.float64)
    expected = np.stack((np.zeros(N), logit), axis=1)
    assert agrees(found, expected)
    # Of two classes the margin is the logit itself, by the label's sign.
    np.testing.assert_allclose(found.margin, np.where(label, logit, -logit), atol=1e-5)
    assert np.allclose(found.margin, margins.margin(expected, label), atol=1e-5)


def test_a_single_logit_beside_something_else_is_not_guessed() -> None:
    assert "Fix: say by target.output" in refused(Single("tuple"), label=LABEL % 2)
    assert "has 2 outputs, but a record has the label 2" in refused(Single("column"))


def test_a_sigmoid_within_a_network_is_refused_once_it_is_trained() -> None:
    found = extracted(Single("sigmoid"), label=LABEL % 2)
    inference.check_scale(found.logits, "target.network", is_trained=False)
    with pytest.raises(AuditError) as caught:
        inference.check_scale(found.logits, "target.network")
    assert str(caught.value) == (
        "target.network: gives a probability, which lies in [0, 1], as its single "
        "logit. Fix: remove the sigmoid at its end."
    )


@pytest.mark.parametrize(
    ("kind", "is_refused"), [("softmax", True), ("constant", False), ("logits", False)]
)
def test_a_softmax_is_recognised_before_training(kind: str, is_refused: bool) -> None:
    raw = RNG.normal(size=(40, 4))
    shown = {
        "softmax": np.exp(raw) / np.exp(raw).sum(1, keepdims=True),
        "constant": np.zeros((40, 4)),
        "logits": raw,
    }[kind]
    if not is_refused:
        inference.check_scale(shown, "target.network", is_trained=False)
        return
    with pytest.raises(AuditError, match="gives probabilities"):
        inference.check_scale(shown, "target.network", is_trained=False)


class Text(nn.Cell):
    """A network of token ids, and a second input if it has weights for one."""

    def __init__(self, kind: str = "ids") -> None:
        super().__init__()
        self.kind = kind
        self.table = nn.Embedding(9, 6)
        self.dense = nn.Dense(6, CLASSES)
        self.other = nn.Dense(4, CLASSES)

    def construct(self, *inputs: Any) -> Any:
        logits = self.dense(self.table(inputs[0]).sum(1))
        if self.kind == "two":
            logits = logits + self.other(inputs[1])
        return {"logits": logits, "ids": inputs[0]} if self.kind == "dict" else logits

    def expected(self, ids: NDArray[Any], *more: NDArray[Any]) -> NDArray[np.float64]:
        def of(dense: nn.Dense, values: NDArray[Any]) -> NDArray[np.float64]:
            weight, bias = dense.weight.asnumpy(), dense.bias.asnumpy()
            return np.asarray(values @ weight.T.astype(np.float64) + bias)

        embedding = self.table.embedding_table.asnumpy().astype(np.float64)
        logits = of(self.dense, embedding[ids].sum(axis=1))
        return logits + of(self.other, more[0]) if more else logits


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_token_ids_reach_an_embedding_as_they_are(kind: type) -> None:
    network = Text()
    found = extracted(network, IDS.astype(kind))
    assert agrees(found, network.expected(IDS))


def test_half_precision_leaves_token_ids_alone() -> None:
    network = Text()
    found = extracted(network, IDS, precision="float16")
    assert np.allclose(found.logits, network.expected(IDS), atol=0.05)


def test_two_inputs_reach_construct_in_their_order() -> None:
    network = Text("two")
    assert agrees(extracted(network, IDS, TABLE), network.expected(IDS, TABLE))
    line = refused(Text("two"), TABLE, IDS)
    assert line.startswith(
        "target.network: fails on inputs (8, 4) float32 and (8, 5) int32 (test_logits."
    )


@pytest.mark.parametrize("kind", ["two", "dict"])
def test_networks_of_any_inputs_and_outputs_are_trained(kind: str) -> None:
    inputs = (IDS, TABLE)[: 2 if kind == "two" else 1]
    recipe = Training(learning_rate=0.1, epochs=100, batch_size=8)
    trainer = recipes.Trainer(
        recipe, lambda: Text(kind), "target.training", n_classes=CLASSES
    )
    losses: list[Any] = []
    names = ("ids", "table")[: len(inputs)]
    records = TrainingSet(
        Data(source="my_data.py:datasets", inputs=names),
        inputs,
        np.arange(N),
        ids=np.arange(N),
        label=LABEL,
        rng=draws.rng(1, "target.order"),
        progress=lambda loss, _: losses.append(loss),
    )
    network = trainer.train(records, weights=1, seed=1)
    found = extracted(network, *inputs)
    assert agrees(found, network.expected(*inputs))
    assert losses[-1] < 0.95 * losses[0]


# Modes


class Uncompilable(nn.Cell):
    """A network that no graph can hold."""

    def construct(self, table: Any) -> Any:
        try:
            factor = float(os.environ["NO_SUCH_NAME"])
        except KeyError:
            factor = 1.0
        return table[:, :3] * factor


def test_a_network_that_cannot_be_compiled_is_refused_in_graph_mode(
    tmp_path: Path,
) -> None:
    line = refused(Uncompilable(), mode="graph")
    assert line.startswith("target.network: cannot be compiled (test_logits.py, line ")
    assert line.endswith(
        'Fix: set features.mode = "auto", or have construct keep to what graphs allow.'
    )
    assert "\n" not in line
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_cannot_be_compiled_is_run_by_python(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = extracted(Uncompilable())
    assert agrees(found, TABLE[:, :3].astype(np.float64))
    assert ms.get_context("mode") == ms.PYNATIVE_MODE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "note: target.network cannot be compiled in graph mode and runs in PyNative "
        "mode, which may be slower (test_logits.py, line "
    )
    # MindSpore's report on it lies elsewhere.
    assert list(tmp_path.iterdir()) == []


def test_a_built_in_network_is_told_the_size_of_its_images() -> None:
    images = np.zeros((9, 1, 16, 16), np.float32)
    line = refused(networks.build("cnn_digits", 3), images, label=LABEL[:9])
    assert line.startswith("target.network: fails on inputs (8, 1, 16, 16) float32 (")
    assert line.endswith(
        "Fix: set data.image_size to the size of image that this network takes."
    )
