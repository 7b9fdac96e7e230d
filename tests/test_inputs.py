"""Audits of networks that take something else than an image, from end to end."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.config import Data
from pipeline.data import sources
from pipeline.errors import AuditError
from tests.conftest import Checkout, new_checkout

CONFIG = """
[data]
source = "own.py:datasets"
inputs = INPUTS

[target]
network = "own.py:build"

[target.training]
learning_rate = 0.05
epochs = 2
batch_size = 20

[features]
device = "CPU"
batch_size = 32

[attack]
attacks = ["loss"]
"""
OWN = """
import mindspore.dataset as ds
import numpy as np
from mindspore import nn

rng = np.random.default_rng(4)
N = 120
LABEL = (np.arange(N) % 3).astype(np.int32)
COLUMNS = {
    "ids": rng.integers(0, 50, (N, 7)).astype(np.int32),
    "mask": (rng.random((N, 7)) < 0.7).astype(np.float32),
    "table": rng.normal(size=(N, 4)),
}
INPUTS = WANTED

class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 6)
        self.text = nn.Dense(6, 3)
        self.numbers = nn.Dense(4, 3)

    def construct(self, *inputs):
        return CONSTRUCT

def build():
    return Net()

def datasets():
    def part(rows):
        columns = {name: COLUMNS[name][rows] for name in INPUTS}
        whole = ds.NumpySlicesDataset({**columns, "label": LABEL[rows]}, shuffle=False)
        return whole.batch(25)
    return part(slice(0, 60)), part(slice(60, N))
"""
CASES = {
    "text": (("ids",), "self.text(self.embedding(inputs[0]).mean(1))"),
    "table": (("table",), "self.numbers(inputs[0])"),
    "two": (
        ("ids", "mask"),
        "(inputs[1], {'logits': self.text("
        "(self.embedding(inputs[0]) * inputs[1].expand_dims(2)).sum(1))})[1]",
    ),
}


def expected(
    kind: str, weights: dict[str, NDArray[Any]], columns: list[NDArray[Any]]
) -> NDArray[np.float64]:
    """Return the logits of a network of that kind, by NumPy."""
    wide = {name: values.astype(np.float64) for name, values in weights.items()}
    layer = "numbers" if kind == "table" else "text"
    hidden = columns[0]
    if kind != "table":
        hidden = wide["embedding.embedding_table"][columns[0]]
        hidden = (
            hidden.mean(axis=1)
            if kind == "text"
            else (hidden * columns[1][:, :, None]).sum(axis=1)
        )
    return np.asarray(hidden @ wide[f"{layer}.weight"].T + wide[f"{layer}.bias"])


def checkout(folder: Path, kind: str) -> Checkout:
    made = new_checkout(folder)
    inputs, construct = CASES[kind]
    text = OWN.replace("WANTED", str(inputs)).replace("CONSTRUCT", construct)
    (folder / "own.py").write_text(text, encoding="utf-8")
    listed = "[" + ", ".join(f'"{name}"' for name in inputs) + "]"
    made.config.write_text(CONFIG.replace("INPUTS", listed), encoding="utf-8")
    return made


@pytest.mark.parametrize("kind", CASES)
def test_a_network_of_these_inputs_is_trained_and_read(
    kind: str, tmp_path: Path
) -> None:
    import mindspore as ms

    made = checkout(tmp_path / "checkout", kind)
    done = made.make("features")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a pass over 120 records takes about 1 s" in done.stdout
    told = "note: table holds float64, which the networks are given as float32"
    assert (told in done.stderr) == (kind == "table")

    weights = {
        name: values.asnumpy()
        for name, values in ms.load_checkpoint(
            str(made.run / "target" / "checkpoint.ckpt")
        ).items()
    }
    scope: dict[str, Any] = {}
    exec((made.folder / "own.py").read_text(encoding="utf-8"), scope)
    columns = [scope["COLUMNS"][name] for name in CASES[kind][0]]
    (path,) = sorted((made.run / "features" / "target").glob("*.h5"))
    with h5py.File(path) as file:
        ids, logits = file["id"][...], file["logits"][:, 0]
    assert np.array_equal(ids, np.arange(120))
    np.testing.assert_allclose(
        logits, expected(kind, weights, columns), rtol=1e-4, atol=1e-5
    )


def test_records_of_several_lengths_can_be_padded_as_the_error_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mindspore import dataset as ds

    def of_several_lengths() -> Any:
        def rows() -> Any:
            for length in (3, 5, 4):
                yield np.arange(1, 1 + length, dtype=np.int32), np.int32(1)

        return ds.GeneratorDataset(rows, ["ids", "label"], shuffle=False)

    def read(batched: Any) -> list[sources.Inputs]:
        pair = (batched(of_several_lengths()), batched(of_several_lengths()))
        monkeypatch.setattr(sources.modules, "call", lambda _: pair)
        data = Data(source="own.py:datasets", inputs=("ids",))
        content = sources.catalogue(data).content
        return list(sources.blocks(data, [np.arange(6)], [content]))

    with pytest.raises(AuditError) as caught:
        read(lambda dataset: dataset.batch(2))
    assert str(caught.value) == (
        "own.py:datasets: batches records of different shapes. Fix: pad or resize all "
        "records to one shape (mindspore.dataset.transforms.PadEnd, or "
        "dataset.padded_batch in place of batch)."
    )
    padded = [[1, 2, 3, 0, 0, 0], [1, 2, 3, 4, 5, 0], [1, 2, 3, 4, 0, 0]]
    pad_end = ds.transforms.PadEnd([6], 0)
    for batched in (
        lambda dataset: dataset.map(pad_end, input_columns="ids").batch(2),
        lambda dataset: dataset.padded_batch(2, pad_info={"ids": ([6], 0)}),
    ):
        ((ids,),) = read(batched)
        assert ids.dtype == np.int32
        assert ids.tolist() == padded * 2
