import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn
from mindspore.dataset import NumpySlicesDataset, vision
from numpy.typing import NDArray

from pipeline.config import Data
from pipeline.data import preprocessing
from pipeline.errors import AuditError
from pipeline.models import checkpoints, devices, inference, networks
from pipeline.models.logits import Logits
from pipeline.signals import margins


@pytest.fixture(autouse=True)
def _cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # MindSpore leaves its compiler's reports in the current folder when it fails.
    monkeypatch.chdir(tmp_path)
    devices.start("CPU")


class Linear(nn.Cell):
    """A layer whose logits numpy can compute as well."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.matrix = (rng.normal(size=(6, 5)) * scale).astype(np.float32)
        self.dense = nn.Dense(6, 5, has_bias=False)
        self.dense.weight.set_data(ms.Tensor(self.matrix.T))

    def construct(self, x: Any) -> Any:
        return self.dense(x)


def drawn(n: int = 41) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    rng = np.random.default_rng(1)
    label = rng.integers(0, 5, n).astype(np.int32)
    return rng.normal(size=(n, 6)).astype(np.float32), label


def extractor(network: nn.Cell, **more: Any) -> Any:
    """Return what extracts the outputs of a network of one input."""
    given = {"precision": "float32", "batch_size": 16} | more
    extract = inference.Extractor(Logits(network, 5), **given)
    return lambda images, label: extract((images,), label)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_signals_agree_with_numpy_in_float64(scale: float) -> None:
    network = Linear(scale)
    images, label = drawn()
    found = extractor(network)(images, label)
    logits = images.astype(np.float64) @ network.matrix.astype(np.float64)
    margin = margins.margin(logits, label)
    np.testing.assert_allclose(found.logits, logits, rtol=1e-5, atol=2e-6 * scale)
    # Float32 keeps 2**-24 of the largest logit; a handful of operations follow.
    tolerance = 16 * 2**-24 * np.abs(logits).max()
    np.testing.assert_allclose(found.margin, margin, rtol=0, atol=tolerance + 1e-6)
    loss = margins.loss(margin)
    found_loss = margins.loss(found.margin)
    np.testing.assert_allclose(found_loss, loss, rtol=2 * tolerance + 2e-6)


def test_a_last_partial_batch_is_neither_dropped_nor_changed() -> None:
    images, label = drawn(48)
    whole = extractor(Linear())(images, label)
    part = extractor(Linear())(images[:41], label[:41])
    assert len(part.margin) == 41
    assert np.array_equal(part.logits, whole.logits[:41])
    assert np.array_equal(part.margin, whole.margin[:41])


def test_the_graph_sees_one_shape_only() -> None:
    shapes: set[tuple[int, ...]] = set()
    run = inference.run

    def spy(cell: nn.Cell, *inputs: ms.Tensor, **more: Any) -> Any:
        shapes.add(inputs[0].shape)
        return run(cell, *inputs, **more)

    extract = extractor(Linear())
    inference.run = spy
    try:
        for n in (1, 16, 41):
            assert len(extract(*drawn(n)).margin) == n
    finally:
        inference.run = run
    assert shapes == {(16, 6)}


def test_extraction_is_in_evaluation_mode() -> None:
    network = nn.SequentialCell(
        nn.Dense(6, 8), nn.BatchNorm1d(8), nn.Dropout(p=0.5), nn.Dense(8, 5)
    )
    network.set_train(True)
    images, label = drawn()
    before = network[1].moving_mean.asnumpy().copy()
    extract = extractor(network)
    assert np.array_equal(extract(images, label).logits, extract(images, label).logits)
    assert np.array_equal(network[1].moving_mean.asnumpy(), before)


def test_half_precision_is_near_the_whole() -> None:
    images, label = drawn()
    half = extractor(Linear(), precision="float16")(images, label)
    whole = extractor(Linear())(images, label)
    assert not np.array_equal(half.logits, whole.logits)
    np.testing.assert_allclose(half.logits, whole.logits, atol=0.05)


def test_the_last_batch_is_filled_up_with_other_records() -> None:
    images, label = drawn(19)
    batches: list[Any] = []
    run = inference.run

    def spy(cell: nn.Cell, *inputs: ms.Tensor, **more: Any) -> Any:
        batches.append(inputs[0].asnumpy())
        return run(cell, *inputs, **more)

    inference.run = spy
    try:
        extractor(Linear())(images, label)
    finally:
        inference.run = run
    assert np.array_equal(batches[0], images[:16])
    assert np.array_equal(batches[1], np.concatenate((images[16:], images[:13])))


@pytest.mark.parametrize("n", [1, 2, 17, 31])
def test_a_records_outputs_do_not_depend_on_what_fills_its_batch(n: int) -> None:
    """The first records fill the last batch, and these are others each time."""
    images, label = drawn(60)
    extract = extractor(Linear())
    rng = np.random.default_rng(n)
    shown = []
    for _ in range(3):
        first = rng.permutation(60)[:16]
        rows = np.concatenate((first, np.arange(n)))
        shown.append(extract(images[rows], label[rows]).logits[16:])
    np.testing.assert_allclose(shown[1], shown[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(shown[2], shown[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("n", "size"), [(1, 4), (2, 4), (3, 4), (4, 4), (7, 4), (8, 4), (9, 4), (30, 4)]
)
def test_other_company_is_another_set_of_records(n: int, size: int) -> None:
    in_sequence = [set(range(k, min(k + size, n))) for k in range(0, n, size)]
    found = inference.other_company(n, size)
    for rows in found:
        assert len(rows) <= size
        assert len(set(rows.tolist())) == len(rows)
        assert set(rows.tolist()) not in in_sequence or n == 1
    if n < 2 * size:
        assert sorted(np.concatenate(found)) == list(range(n))
    else:
        # Spread over the batches.
        (rows,) = found
        assert max(len(batch & set(rows.tolist())) for batch in in_sequence) <= 2


class Unsteady(nn.Cell):
    """A network whose outputs are no function of the record alone."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.calls = ms.Parameter(ms.Tensor(0.0), name="calls", requires_grad=False)

    def construct(self, x: Any) -> Any:
        if self.kind == "dropout":
            return ms.ops.dropout(x, p=0.5, training=True)
        if self.kind == "statistics":
            mean = x.sum(axis=0, keepdims=True) / len(x)
            return (x - mean) / ((x - mean) ** 2).sum(axis=0, keepdims=True) ** 0.5
        if self.kind == "largest":
            return x / x.max()
        if self.kind == "state":
            self.calls += 1
            return x + self.calls * x.sum(axis=1, keepdims=True) * x
        return x + ms.ops.standard_normal(x.shape)


@pytest.mark.parametrize("n", [12, 16, 20, 41])
@pytest.mark.parametrize(
    "kind", ["dropout", "statistics", "largest", "state", "sampling"]
)
def test_outputs_that_change_with_company_or_chance_are_refused(
    kind: str, n: int
) -> None:
    with pytest.raises(AuditError) as caught:
        extractor(Unsteady(kind))(*drawn(n))
    where, problem, fix = caught.value.args
    assert where == "target.network"
    assert problem.startswith("gives outputs that differ by up to ")
    assert problem.endswith(" when the same records are read again in other batches")
    assert fix == (
        "make its outputs a function of the record alone: no dropout or batch "
        "statistics in evaluation (training=True), no sampling or state in "
        "construct, no sum over the batch"
    )


def test_records_are_read_again_once_per_network() -> None:
    calls: list[int] = []
    run = inference.run

    def spy(cell: nn.Cell, *inputs: ms.Tensor, **more: Any) -> Any:
        calls.append(1)
        return run(cell, *inputs, **more)

    extract = extractor(Linear())
    inference.run = spy
    try:
        extract(*drawn(41))
        assert len(calls) == 3 + 1
        extract(*drawn(41))
        assert len(calls) == 3 + 1 + 3
    finally:
        inference.run = run


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("n", [1, 2, 15, 33])
def test_sound_networks_are_not_taken_for_unsteady_ones(n: int, precision: str) -> None:
    network = nn.SequentialCell(
        nn.Dense(6, 64),
        nn.BatchNorm1d(64),
        nn.ReLU(),
        nn.Dropout(p=0.5),
        nn.Dense(64, 5),
    )
    found = extractor(network, precision=precision)(*drawn(n))
    assert found.logits.shape == (n, 5)


class PythonOnly(nn.Cell):
    """A network that only Python can run, as it asks for values on its way."""

    def __init__(self, kind: str = "sound") -> None:
        super().__init__()
        self.inner = Linear()
        self.kind = kind

    def construct(self, x: Any) -> Any:
        largest = float(x.asnumpy().max())
        if self.kind == "broken" or largest != largest:
            return x.no_such_method()
        return self.inner(x)


def test_a_network_that_cannot_be_compiled_runs_in_pynative_mode(
    capsys: pytest.CaptureFixture[str],
) -> None:
    images, label = drawn()
    found = extractor(PythonOnly())(images, label)
    expected = images.astype(np.float64) @ Linear().matrix
    np.testing.assert_allclose(found.logits, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        found.margin, margins.margin(expected, label), atol=1e-5, rtol=1e-5
    )
    notes = [line for line in capsys.readouterr().err.splitlines() if "note: " in line]
    assert len(notes) == 1
    assert notes[0].startswith(
        "note: target.network cannot be compiled in graph mode and runs in PyNative "
        "mode, which may be slower ("
    )


def test_a_network_that_runs_in_no_mode_is_refused_in_pythons_words() -> None:
    with pytest.raises(AuditError) as caught:
        extractor(PythonOnly("broken"))(*drawn())
    where, problem, fix = caught.value.args
    assert where == "target.network"
    line = PythonOnly.construct.__code__.co_firstlineno + 3
    assert problem == (
        f"fails on inputs (8, 6) float32 (test_models.py, line {line}: AttributeError: "
        "'Tensor' object has no attribute 'no_such_method')"
    )
    assert fix == (
        "have its construct take these inputs, in this order, and return logits; "
        "docs/own-data.md tells what it is called with"
    )
    assert ms.get_context("mode") == ms.GRAPH_MODE


# Outputs on another scale than logits


class Ending(nn.Cell):
    """A network with something after its logits."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.inner = Linear()
        self.kind = kind

    def construct(self, x: Any) -> Any:
        logits = self.inner(x)
        if self.kind == "softmax":
            return ms.ops.softmax(logits, -1)
        if self.kind == "log-softmax":
            return ms.ops.log_softmax(logits, -1)
        if self.kind == "negated":
            return -ms.ops.log_softmax(logits, -1)
        if self.kind == "one-hot":
            largest = logits.max(axis=1, keepdims=True)
            return (logits == largest).astype(ms.float32)
        if self.kind == "constant":
            return ms.ops.zeros_like(logits) + 3
        return logits


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (
            "softmax",
            "target.network: gives probabilities, which lie in [0, 1] and sum to 1, as "
            "logits. Fix: remove the softmax at its end, or return its logarithm "
            "(log_softmax).",
        ),
        (
            "negated",
            "target.network: gives negative log-probabilities as logits. Fix: return "
            "log-probabilities or logits, of the opposite sign.",
        ),
        (
            "one-hot",
            "target.network: gives decisions, a 1 for one class and 0 for all others, "
            "as logits. Fix: return the logits from which they are decided.",
        ),
        (
            "constant",
            "target.network: gives the same outputs for every record. Fix: check that "
            "its weights are trained and the records are its own inputs.",
        ),
        ("log-softmax", None),
        ("nothing", None),
    ],
)
def test_a_network_that_gives_no_logits_is_refused(
    kind: str, line: str | None, precision: str
) -> None:
    said = extractor(Ending(kind), precision=precision)(*drawn())
    if line is None:
        inference.check_scale(said.logits, "target.network")
        return
    with pytest.raises(AuditError) as caught:
        inference.check_scale(said.logits, "target.network")
    assert str(caught.value) == line


def test_log_probabilities_of_a_network_have_the_margins_of_its_logits() -> None:
    images, label = drawn()
    found = extractor(Ending("log-softmax"))(images, label)
    expected = extractor(Ending("nothing"))(images, label)
    np.testing.assert_allclose(found.margin, expected.margin, atol=1e-5)


class Odd(nn.Cell):
    """A network that returns something else than logits."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def construct(self, x: Any) -> Any:
        if self.kind == "scalar":
            return x.sum()
        if self.kind == "one class":
            return x[:, :1]
        if self.kind == "three axes":
            return x.reshape(-1, 2, 3)
        return x * np.inf


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("scalar", "target.network: "),
        ("one class", "target.network: "),
        ("three axes", "target.network: "),
        ("infinite", "target.network: gives logits that are not finite"),
    ],
)
def test_outputs_that_are_no_logits_are_refused(kind: str, words: str) -> None:
    with pytest.raises(AuditError) as caught:
        extractor(Odd(kind))(*drawn())
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_label_beyond_the_outputs_is_refused() -> None:
    images, label = drawn()
    label[7] = 5
    with pytest.raises(AuditError, match="has 5 outputs, but a record has the label 5"):
        extractor(Linear())(images, label)


def test_inputs_of_a_wrong_shape_are_refused() -> None:
    with pytest.raises(AuditError, match=r"fails on inputs \(8, 7\) float32"):
        extractor(Linear())(np.zeros((3, 7), np.float32), np.zeros(3, np.int32))


@pytest.mark.parametrize("name", ["Ascend", "GPU"])
def test_an_absent_device_is_refused(name: str) -> None:
    with pytest.raises(AuditError, match=f"device: {name} cannot be used by MindSpore"):
        devices.start(name)


def test_auto_takes_the_first_device_there_is() -> None:
    assert devices.start("auto") == "CPU"


@pytest.mark.parametrize(
    ("target", "processors", "depth"),
    [("CPU", 1, 0), ("CPU", 2, 0), ("CPU", 3, 1), ("Ascend", 2, 1), ("GPU", 64, 1)],
)
def test_batches_are_read_ahead_where_the_processors_are_free_for_it(
    target: str, processors: int, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ms.get_context("device_target") == "CPU"
    monkeypatch.setattr(devices.os, "cpu_count", lambda: processors)
    monkeypatch.setattr(devices.ms, "get_context", {"device_target": target}.get)
    assert devices.batches_ahead() == depth


def test_images_are_made_as_the_tutorials_pipeline_makes_them() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)
    mean, std = (0.4465, 0.4822, 0.4914), (0.2010, 0.1994, 0.2023)
    pipeline = NumpySlicesDataset({"image": images}, shuffle=False).map(
        [
            vision.Resize((64, 64)),
            vision.Rescale(1 / 255, 0.0),
            vision.Normalize(mean, std),
            vision.HWC2CHW(),
        ],
        input_columns="image",
    )
    expected = [
        row["image"] for row in pipeline.create_dict_iterator(output_numpy=True)
    ]
    data = Data(source="cifar100", path="x", image_size=64)
    (found,) = preprocessing.inputs((images,), data, devices.resize)
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-6)


def test_digits_can_be_resized() -> None:
    assert devices.resize(np.zeros((2, 8, 8, 1), np.uint8), 16).shape == (2, 16, 16, 1)


# Checkpoints


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "a.ckpt"
    checkpoints.save(Linear(), path)
    return path


def refusal(network: nn.Cell, path: Path) -> str:
    before = {n: p.asnumpy().copy() for n, p in network.parameters_dict().items()}
    with pytest.raises(AuditError) as caught:
        checkpoints.load(network, path)
    for name, parameter in network.parameters_dict().items():
        assert np.array_equal(parameter.asnumpy(), before[name])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("ending", ["ckpt", "safetensors"])
def test_a_checkpoint_is_loaded(ending: str, tmp_path: Path) -> None:
    saved = Linear(3.0)
    ms.save_checkpoint(saved, str(tmp_path / f"a.{ending}"), format=ending)
    network = Linear()
    checkpoints.load(network, tmp_path / f"a.{ending}")
    assert np.array_equal(network.dense.weight.asnumpy(), saved.dense.weight.asnumpy())


def test_equal_networks_are_saved_as_equal_files(
    checkpoint: Path, tmp_path: Path
) -> None:
    checkpoints.save(Linear(), tmp_path / "b.ckpt")
    assert (tmp_path / "b.ckpt").read_bytes() == checkpoint.read_bytes()
    checkpoints.save(Linear(2.0), tmp_path / "b.ckpt")
    assert (tmp_path / "b.ckpt").read_bytes() != checkpoint.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ckpt", "b.ckpt"]


def test_the_state_of_the_optimizer_is_passed_over(tmp_path: Path) -> None:
    network = Linear()
    optimizer = nn.Momentum(network.trainable_params(), 0.1, 0.9)
    step = nn.TrainOneStepCell(
        nn.WithLossCell(network, nn.CrossEntropyLoss()), optimizer
    )
    images, label = drawn()
    step.set_train()(ms.Tensor(images), ms.Tensor(label))
    ms.save_checkpoint(
        step, str(tmp_path / "a.ckpt"), append_dict={"epoch_num": 1, "step_num": 2}
    )
    found = ms.load_checkpoint(str(tmp_path / "a.ckpt"))
    assert len(found) > len(network.parameters_dict())
    loaded = Linear()
    checkpoints.load(loaded, tmp_path / "a.ckpt")
    assert np.array_equal(loaded.dense.weight.asnumpy(), network.dense.weight.asnumpy())


def groups(parameters: list[Any]) -> list[dict[str, Any]]:
    return [
        {"params": parameters[:1], "lr": 0.1},
        {"params": parameters[1:], "lr": 0.2},
    ]


OPTIMIZERS: dict[str, Callable[[list[Any]], nn.Cell]] = {
    "Momentum, by group": lambda p: nn.Momentum(groups(p), 0.1, 0.9),
    "SGD": lambda p: nn.SGD(p, 0.1, momentum=0.9),
    "Adam": lambda p: nn.Adam(p, use_amsgrad=True),
    "AdamWeightDecay": nn.AdamWeightDecay,
    "AdaMax": nn.AdaMax,
    "Lamb": lambda p: nn.Lamb(p, 0.1),
    "RMSProp": lambda p: nn.RMSProp(p, 0.1, centered=True),
    "FTRL": nn.FTRL,
    "Adagrad": nn.Adagrad,
    "Adadelta": nn.Adadelta,
    "AdaFactor": nn.AdaFactor,
    "ASGD": nn.ASGD,
    "Rprop": nn.Rprop,
    "LARS": lambda p: nn.LARS(nn.Momentum(p, 0.1, 0.9)),
    "mint Adam": lambda p: ms.mint.optim.Adam(p, amsgrad=True),
    "mint AdamW": ms.mint.optim.AdamW,
    "mint SGD": lambda p: ms.mint.optim.SGD(p, lr=0.1, momentum=0.9),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_of_every_optimizer_is_passed_over(name: str, tmp_path: Path) -> None:
    def fresh() -> nn.Cell:
        return nn.SequentialCell(nn.Dense(6, 4), nn.BatchNorm1d(4), nn.Dense(4, 5))

    network = fresh()
    optimizer = OPTIMIZERS[name](network.trainable_params())
    ms.save_checkpoint(
        [
            {"name": each, "data": parameter}
            for each, parameter in {
                **network.parameters_dict(),
                **optimizer.parameters_dict(),
            }.items()
        ],
        str(tmp_path / "a.ckpt"),
    )
    saved = ms.load_checkpoint(str(tmp_path / "a.ckpt"))
    assert len(saved) > len(network.parameters_dict())
    loaded = fresh()
    checkpoints.load(loaded, tmp_path / "a.ckpt")
    for each, parameter in loaded.parameters_dict().items():
        expected = network.parameters_dict()[each].asnumpy()
        assert np.array_equal(parameter.asnumpy(), expected)


def test_the_state_of_loss_scaling_is_passed_over(tmp_path: Path) -> None:
    network = Linear()
    step = nn.TrainOneStepWithLossScaleCell(
        nn.WithLossCell(network, nn.CrossEntropyLoss()),
        nn.Lamb(network.trainable_params(), 0.1),
        nn.DynamicLossScaleUpdateCell(2**12, 2, 1000),
    )
    ms.save_checkpoint(step, str(tmp_path / "a.ckpt"))
    assert "scale_sense" in ms.load_checkpoint(str(tmp_path / "a.ckpt"))
    loaded = Linear(2.0)
    checkpoints.load(loaded, tmp_path / "a.ckpt")
    assert np.array_equal(loaded.dense.weight.asnumpy(), network.dense.weight.asnumpy())


def ones(names: dict[str, tuple[int, ...]], path: Path) -> Path:
    """Save a checkpoint of parameters of these names and shapes, all ones."""
    tensors = [
        {"name": name, "data": ms.Tensor(np.ones(shape, np.float32))}
        for name, shape in names.items()
    ]
    ms.save_checkpoint(tensors, str(path))
    return path


def test_a_model_that_mindspore_trained_and_saved_is_loaded(tmp_path: Path) -> None:
    images, label = drawn(8)
    network = Linear()
    model = ms.train.Model(
        network,
        nn.CrossEntropyLoss(),
        nn.AdamWeightDecay(network.trainable_params()),
        loss_scale_manager=ms.amp.FixedLossScaleManager(
            1024, drop_overflow_update=False
        ),
        amp_level="O0",
    )
    saving = ms.train.ModelCheckpoint(
        prefix="a",
        directory=str(tmp_path),
        config=ms.train.CheckpointConfig(1, append_info=["epoch_num", "step_num"]),
    )
    records = NumpySlicesDataset({"image": images, "label": label}, shuffle=False)
    model.train(1, records.batch(8), callbacks=saving, dataset_sink_mode=False)
    (path,) = tmp_path.glob("a*.ckpt")
    assert len(ms.load_checkpoint(str(path))) > len(network.parameters_dict())
    loaded = Linear(2.0)
    checkpoints.load(loaded, path)
    assert np.array_equal(loaded.dense.weight.asnumpy(), network.dense.weight.asnumpy())
    assert not np.array_equal(loaded.dense.weight.asnumpy(), Linear().matrix.T)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("my_state.a", (2,)),
        ("my_state_fc.a", (3,)),
        ("step", ()),
        ("step", (1,)),
        ("schedule.step", (1,)),
    ],
)
def test_the_state_of_an_optimizer_of_ones_own_is_passed_over(
    name: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    own: dict[str, tuple[int, ...]] = {"a": (2,), "fc.a": (3,)}
    path = ones({**own, name: shape}, tmp_path / "a.ckpt")
    checkpoints.load(Other(own), path)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("state.a", (4,)),
        ("1fc.a", (3,)),
        ("fc.scale", ()),
        ("table", (2,)),
        ("table", (1, 1)),
        ("learning_rate_group_x", (2,)),
    ],
)
def test_what_may_be_a_layer_more_is_no_state(
    name: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    own: dict[str, tuple[int, ...]] = {"a": (2,), "fc.a": (3,)}
    path = ones({**own, name: shape}, tmp_path / "a.ckpt")
    assert f"{path}: has besides {name}. Fix: set target.net" in refusal(
        Other(own), path
    )


# Averages of the weights, and other prefixes


@pytest.fixture
def averaged(tmp_path: Path) -> Path:
    """A checkpoint of weights 1, their averages 2, and the optimizer's state 3."""
    path = tmp_path / "a.ckpt"
    tensors = [
        {"name": f"{start}{name}", "data": ms.ops.full((2,), value, dtype=ms.float32)}
        for start, value in {"": 1, "ema.": 2, "moment1.": 3}.items()
        for name in ("a", "b")
    ]
    ms.save_checkpoint(tensors, str(path), append_dict={"epoch_num": 7})
    return path


def test_averages_of_the_weights_are_named_with_the_ways_out(averaged: Path) -> None:
    assert refusal(Other({"a": (2,), "b": (2,)}), averaged) == (
        f"{averaged}: has averages of the weights besides, ema.a, ema.b. Fix: set "
        'target.prefix = "ema." to audit the averages, or "" to audit the weights '
        "themselves."
    )


@pytest.mark.parametrize(("prefix", "value"), [("", 1), ("ema.", 2)])
def test_a_prefix_chooses_between_weights_and_averages(
    prefix: str, value: float, averaged: Path
) -> None:
    network = Other({"a": (2,), "b": (2,)})
    checkpoints.load(network, averaged, prefix=prefix)
    found = [p.asnumpy().tolist() for p in network.get_parameters()]
    assert found == [[value, value]] * 2


@pytest.mark.parametrize("start", ["ema_", "model_ema.", "swa.", "net.averaged."])
def test_averages_are_known_by_many_names(start: str, tmp_path: Path) -> None:
    path = ones({"a": (2,), f"{start}a": (2,)}, tmp_path / "a.ckpt")
    words = f"has averages of the weights besides, {start}a. Fix: set target.prefix"
    assert words in refusal(Other({"a": (2,)}), path)


@pytest.mark.parametrize("start", ["exp_avg.", "schema.", "exp_avg_diff.", "swap."])
def test_what_only_sounds_like_averages_is_state(start: str, tmp_path: Path) -> None:
    path = ones({"a": (2,), f"{start}a": (2,)}, tmp_path / "a.ckpt")
    checkpoints.load(Other({"a": (2,)}), path)


def test_a_common_prefix_is_offered_and_taken(tmp_path: Path) -> None:
    names = {"module.a": (2,), "module.b.c": (3,), "moments.module.a": (2,)}
    path = ones({**names, "head.d": (5,)}, tmp_path / "a.ckpt")
    own = {"a": (2,), "b.c": (3,)}
    assert refusal(Other(own), path) == (
        f"{path}: lacks a, b.c; has besides module.a, module.b.c, moments.module.a and "
        '1 more. Fix: set target.prefix = "module.", which stands before every name '
        "there."
    )
    network = Other(own)
    for parameter in network.get_parameters():
        parameter.set_data(ms.ops.zeros_like(parameter))
    checkpoints.load(network, path, prefix="module.")
    assert all((p.asnumpy() == 1).all() for p in network.get_parameters())


def test_a_wrong_prefix_is_told_with_the_right_one_or_without(tmp_path: Path) -> None:
    path = ones({"module.a": (2,)}, tmp_path / "a.ckpt")
    with pytest.raises(AuditError, match=r'target.prefix = "module.", which stands'):
        checkpoints.load(Other({"a": (2,)}), path, prefix="modul.")
    with pytest.raises(
        AuditError,
        match=r'has besides a. Fix: correct target.prefix, which is "module."',
    ):
        checkpoints.load(Other({"b": (2,)}), path, prefix="module.")


def test_what_stands_under_a_prefix_besides_is_refused(tmp_path: Path) -> None:
    path = ones({"net.a": (2,), "net.b": (3,)}, tmp_path / "a.ckpt")
    with pytest.raises(AuditError, match="has besides b"):
        checkpoints.load(Other({"a": (2,)}), path, prefix="net.")


# Types


@pytest.mark.parametrize("saved", [ms.float16, ms.bfloat16, ms.float64, ms.float32])
@pytest.mark.parametrize("own", [ms.float16, ms.bfloat16, ms.float32])
@pytest.mark.parametrize("ending", ["ckpt", "safetensors"])
def test_floats_of_every_width_are_loaded_into_every_other(
    saved: Any, own: Any, ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{ending}"
    weight = ms.Tensor(np.array([7, -0.5], np.float32)).astype(saved)
    mask = ms.Tensor(np.array([0, -np.inf], np.float32))
    tensors = [{"name": "weight", "data": weight}, {"name": "mask", "data": mask}]
    ms.save_checkpoint(tensors, str(path), format=ending)
    network = Masked(own)
    checkpoints.load(network, path)
    assert network.weight.dtype == own
    assert network.weight.astype(ms.float32).asnumpy().tolist() == [7, -0.5]


@pytest.mark.parametrize("kind", [ms.int32, ms.bool_, ms.uint8])
def test_whole_numbers_for_floats_are_refused(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    tensor = ms.Tensor(np.ones(2)).astype(kind)
    ms.save_checkpoint([{"name": "a", "data": tensor}], str(path))
    name = tensor.asnumpy().dtype.name
    words = f"has a as {name}, where the network's is float32. Fix: set target.network"
    assert words in refusal(Other({"a": (2,)}), path)


def test_several_files_are_loaded_by_their_index(tmp_path: Path) -> None:
    names = {"a": "1.safetensors", "b": "2.safetensors"}
    for name, file in names.items():
        tensors = [{"name": name, "data": ms.Tensor(np.full(2, 5, np.float32))}]
        ms.save_checkpoint(tensors, str(tmp_path / file), format="safetensors")
    index = tmp_path / "param_name_map.json"
    index.write_text(json.dumps({"weight_map": names}))
    network = Other({"a": (2,), "b": (2,)})
    checkpoints.load(network, index)
    assert [p.asnumpy().tolist() for p in network.get_parameters()] == [[5, 5]] * 2


@pytest.mark.parametrize("name", ["exp_avg.b", "mu_b", "learning_rate_group_x"])
def test_what_only_looks_like_state_is_refused(name: str, tmp_path: Path) -> None:
    checkpoints.save(Other({"a": (2,), name: (2,)}), tmp_path / "a.ckpt")
    assert f"has besides {name}" in refusal(Other({"a": (2,)}), tmp_path / "a.ckpt")


def test_a_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in refusal(Linear(), tmp_path / "none.ckpt")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_checkpoint_is_refused(share: float, checkpoint: Path) -> None:
    whole = checkpoint.read_bytes()
    path = checkpoint.with_name("cut.ckpt")
    path.write_bytes(whole[: int(share * len(whole))])
    assert "is truncated or not a checkpoint" in refusal(Linear(), path)


@pytest.mark.parametrize("name", ["junk.ckpt", "junk.safetensors", "junk.bin"])
def test_what_is_no_checkpoint_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04junk" * 50)
    assert "is truncated or not a checkpoint" in refusal(Linear(), tmp_path / name)


class Other(nn.Cell):
    """Parameters of other names and shapes than `Linear`."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        super().__init__()
        for name, shape in shapes.items():
            parameter = ms.Parameter(ms.ops.ones(shape), name=name)
            self.insert_param_to_cell(name.replace(".", "_"), parameter)


@pytest.mark.parametrize(
    ("network", "saved", "words"),
    [
        (
            {"a": (2,), "b": (3,)},
            {"a": (2,)},
            "lacks b. Fix: set target.network to the network",
        ),
        ({"a": (2,)}, {"a": (2,), "b": (3,)}, "has besides b"),
        ({"a": (2,)}, {"a": (4,)}, "has in another shape a (4,) for (2,)"),
        (
            {f"p{i}": (1,) for i in range(6)},
            {"q": (1,)},
            "lacks p0, p1, p2 and 3 more; has besides q",
        ),
        # MindSpore would strip this common prefix and load it without a word.
        ({"a": (2,)}, {"net.a": (2,)}, "lacks a; has besides net.a"),
    ],
)
def test_parameters_that_do_not_fit_are_named(
    network: dict[str, tuple[int, ...]],
    saved: dict[str, tuple[int, ...]],
    words: str,
    tmp_path: Path,
) -> None:
    checkpoints.save(Other(saved), tmp_path / "a.ckpt")
    assert words in refusal(Other(network), tmp_path / "a.ckpt")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("ending", ["ckpt", "safetensors"])
def test_parameters_that_are_not_finite_are_named(
    value: float, ending: str, tmp_path: Path
) -> None:
    saved = Linear()
    matrix = saved.matrix.T.copy()
    matrix[1, 2] = matrix[3, 4] = value
    saved.dense.weight.set_data(ms.Tensor(matrix))
    path = tmp_path / f"a.{ending}"
    ms.save_checkpoint(saved, str(path), format=ending)
    kind = "NaN" if np.isnan(value) else "infinite"
    assert refusal(Linear(), path) == (
        f"{path}: has 2 of 30 values of dense.weight that are {kind}. Fix: give a "
        "checkpoint of before its training diverged, or a whole copy."
    )


class Masked(nn.Cell):
    """A network with infinities of its own."""

    def __init__(self, dtype: Any = ms.float32, weight: float = 1.0) -> None:
        super().__init__()
        mask = ms.Tensor(np.array([0, -np.inf], np.float32))
        self.mask = ms.Parameter(mask, name="mask", requires_grad=False)
        values = ms.Tensor(np.array([weight, 2], np.float32)).astype(dtype)
        self.weight = ms.Parameter(values, name="weight")


def test_a_mask_that_the_network_itself_has_is_loaded(tmp_path: Path) -> None:
    checkpoints.save(Masked(weight=7.0), tmp_path / "a.ckpt")
    network = Masked()
    checkpoints.load(network, tmp_path / "a.ckpt")
    assert network.weight.asnumpy().tolist() == [7, 2]
    assert network.mask.asnumpy().tolist() == [0, -np.inf]


def test_parameters_in_bfloat16_are_looked_at(tmp_path: Path) -> None:
    checkpoints.save(Masked(ms.bfloat16, 7.0), tmp_path / "a.ckpt")
    network = Masked(ms.bfloat16)
    checkpoints.load(network, tmp_path / "a.ckpt")
    assert network.weight.astype(ms.float32).asnumpy().tolist() == [7, 2]
    checkpoints.save(Masked(ms.bfloat16, np.nan), tmp_path / "b.ckpt")
    with pytest.raises(AuditError, match="has 1 of 2 values of weight that are NaN"):
        checkpoints.load(network, tmp_path / "b.ckpt")


def test_a_full_disk_at_saving_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditError, match="cannot be written"):
        checkpoints.save(Linear(), tmp_path / "file" / "a.ckpt")


def test_one_extractor_says_what_each_networks_weights_say(tmp_path: Path) -> None:
    images, label = drawn()
    shared = Linear()
    outputs = extractor(shared)
    said = []
    for scale in (1.0, 2.0, 1.0):
        checkpoints.save(Linear(scale), tmp_path / "a.ckpt")
        alone = Linear(5.0)
        checkpoints.load(alone, tmp_path / "a.ckpt")
        checkpoints.load(shared, tmp_path / "a.ckpt")
        logits = outputs(images, label).logits
        assert np.array_equal(logits, extractor(alone)(images, label).logits)
        said.append(logits)
    assert np.array_equal(said[0], said[2])
    assert not np.array_equal(said[0], said[1])


# Networks


def test_vgg16_has_the_parameters_of_the_tutorial() -> None:
    network = networks.build("vgg16", 100)
    shapes = {name: p.shape for name, p in network.parameters_dict().items()}
    convolutions = [shape for shape in shapes.values() if len(shape) == 4]
    widths = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    inputs = [3, *widths[:-1]]
    assert convolutions == [(o, i, 3, 3) for i, o in zip(inputs, widths, strict=True)]
    # Places within layers: convolution, batch norm, ReLU, and a pooling after a group.
    for index in (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40):
        assert f"layers.{index}.weight" in shapes
        assert f"layers.{index + 1}.gamma" in shapes
        assert f"layers.{index}.bias" not in shapes
    assert shapes["classifier.0.weight"] == (4096, 512 * 7 * 7)
    assert shapes["classifier.3.weight"] == (4096, 4096)
    assert shapes["classifier.6.weight"] == (100, 4096)
    # 13 × (weight, gamma, beta, mean, variance) and 3 × (weight, bias).
    assert len(shapes) == 13 * 5 + 3 * 2


@pytest.mark.parametrize(
    ("name", "shape"), [("cnn", (3, 32)), ("cnn_digits", (1, 8)), ("vgg16_32", (3, 32))]
)
def test_a_network_gives_logits_of_its_images(
    name: str, shape: tuple[int, int]
) -> None:
    channels, side = shape
    images = np.zeros((2, channels, side, side), np.float32)
    network = networks.build(name, 7)
    found = extractor(network, batch_size=2)(images, np.zeros(2, np.int32))
    assert found.logits.shape == (2, 7)


def package(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Put a package named mindcv where Python finds it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "mindcv"]:
        monkeypatch.delitem(sys.modules, name)
    (folder / "mindcv.py").write_text(code)
    monkeypatch.syspath_prepend(folder)


ZOO = """
from mindspore import nn
def create_model(model_name, num_classes=1000, pretrained=False, width=1):
    if model_name != "tiny":
        raise RuntimeError(f"Unknown model {model_name}")
    return nn.SequentialCell(nn.Dense(6, width), nn.Dense(width, num_classes))
def tiny(num_classes=3):
    return nn.Dense(6, num_classes)
"""


@pytest.mark.parametrize(
    ("name", "arguments", "shapes"),
    [
        ("mindcv:tiny", {}, [(1, 6), (1,), (7, 1), (7,)]),
        (
            "mindcv:tiny",
            {"width": 4, "num_classes": 2},
            [(4, 6), (4,), (2, 4), (2,)],
        ),
    ],
)
def test_a_network_of_the_zoo_has_as_many_outputs_as_there_are_classes(
    name: str,
    arguments: dict[str, int],
    shapes: list[tuple[int, ...]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package(tmp_path, monkeypatch, ZOO)
    network = networks.build(name, 7, arguments)
    assert [p.shape for p in network.get_parameters()] == shapes


def test_a_model_that_the_zoo_has_not_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path, monkeypatch, ZOO)
    with pytest.raises(AuditError) as caught:
        networks.build("mindcv:huge", 7)
    assert str(caught.value) == (
        "mindcv:huge: raises RuntimeError: Unknown model huge. Fix: name one of "
        "`mindcv.list_models()`, with network_args that it takes."
    )


def test_a_package_that_does_not_import_is_refused() -> None:
    with pytest.raises(AuditError) as caught:
        networks.build("nothing.nets:tiny", 7)
    assert str(caught.value) == (
        "nothing.nets: does not import (ModuleNotFoundError: No module named "
        f"'nothing'). Fix: make `{sys.executable} -c 'import nothing.nets'` run."
    )


def test_a_function_of_any_package_is_given_its_arguments_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "nets.py").write_text(ZOO)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_package", raising=False)
    for arguments, n in (({}, 3), ({"num_classes": 5}, 5)):
        network = networks.build("my_package.nets:tiny", 7, arguments)
        assert network.weight.shape == (n, 6)


def test_arguments_reach_a_users_function(tmp_path: Path) -> None:
    (tmp_path / "my_net.py").write_text(ZOO)
    network = networks.build("my_net.py:tiny", 7, {"num_classes": 4})
    assert network.weight.shape == (4, 6)
    with pytest.raises(AuditError) as caught:
        networks.build("my_net.py:tiny", 7, {"n": 4})
    assert str(caught.value) == (
        "my_net.py:tiny: raises TypeError: tiny() got an unexpected keyword argument "
        "'n'. Fix: make it run with the arguments n."
    )


def test_a_users_function_must_return_a_network(tmp_path: Path) -> None:
    (tmp_path / "my_net.py").write_text("def build(): return [1]")
    with pytest.raises(AuditError, match=r"returns list, not a mindspore.nn.Cell"):
        networks.build("my_net.py:build", 10)
