"""A checkpoint that is given is tried before anything is trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import config
from pipeline.data import sources
from pipeline.errors import AuditError
from stages import records, target

NETWORK = """
import numpy as np
from mindspore import Tensor, nn, ops

class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.flatten = nn.Flatten()
        self.hidden = nn.Dense(64, 16)
        self.last = nn.Dense(16, 10)

    def construct(self, x):
        logits = self.last(ops.relu(self.hidden(self.flatten(x))))
        return KIND

def build():
    return Net()
"""
DATA = config.Data(source="digits", members=60)


def check(folder: Path, kind: str, change: Any = None) -> None:
    from pipeline.data import modules
    from pipeline.models import checkpoints

    path = folder / "net.py"
    path.write_text(NETWORK.replace("KIND", kind), encoding="utf-8")
    name = f"{path}:build"
    network = modules.call(name)
    if change is not None:
        change(network)
    checkpoints.save(network, folder / "net.ckpt")
    settings = config.Target(network=name, checkpoint=str(folder / "net.ckpt"))
    target.check(settings, DATA, records.choose(DATA, sources.catalogue(DATA)))


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # MindSpore leaves its compiler's reports in the current folder when it fails.
    monkeypatch.chdir(tmp_path)


def fill(value: float) -> Any:
    def change(network: Any) -> None:
        from mindspore import Tensor

        shape = network.hidden.weight.shape
        network.hidden.weight.set_data(Tensor(np.full(shape, value, np.float32)))

    return change


@pytest.mark.parametrize("kind", ["logits", "ops.log_softmax(logits, -1)"])
def test_a_sound_checkpoint_passes(kind: str, tmp_path: Path) -> None:
    check(tmp_path, kind)


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("logits", fill(np.nan), "net.ckpt: has 1024 of 1024 values of hidden.weight"),
        ("logits", fill(-1e3), "net.ckpt: gives the same outputs for every record"),
        ("ops.softmax(logits, -1)", None, "net.ckpt: gives probabilities"),
        (
            "ops.dropout(logits, p=0.5, training=True)",
            None,
            "when the same records are read again in other batches",
        ),
    ],
    ids=["NaN", "dead", "probabilities", "dropout"],
)
def test_a_checkpoint_that_says_nothing_of_a_record_is_refused(
    kind: str, change: Any, words: str, tmp_path: Path
) -> None:
    with pytest.raises(AuditError, match=words):
        check(tmp_path, kind, change)
