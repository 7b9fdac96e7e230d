"""A network is tried on a few records before anything is trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import cli, config
from pipeline.cache.costs import Pass
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
        BEFORE
        return KIND

def build():
    return Net()
"""
UNCOMPILABLE = "try: {}['no such key']\n        except KeyError: pass"
DATA = config.Data(source="digits", members=60)


def check(
    folder: Path,
    kind: str,
    change: Any = None,
    *,
    trained: bool = True,
    before: str = "",
    **more: Any,
) -> Pass:
    from pipeline.data import modules
    from pipeline.models import checkpoints, trial

    path = folder / "net.py"
    text = NETWORK.replace("KIND", kind).replace("BEFORE", before)
    path.write_text(text, encoding="utf-8")
    name = f"{path}:build"
    network = modules.call(name)
    where = {"checkpoint": str(folder / "net.ckpt")} if trained else {}
    if change is not None:
        change(network)
    checkpoints.save(network, folder / "net.ckpt")
    settings = config.Target(network=name, **where)
    chosen = records.choose(DATA, sources.catalogue(DATA))
    return trial.tried(settings, DATA, config.Features(**more), chosen)


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
    rate = check(tmp_path, kind)
    assert 0 < rate.per_record < rate.first
    assert rate.n_bytes == 4 * ((64 + 1) * 16 + (16 + 1) * 10)


def test_a_pass_is_told_of_all_views_of_all_records() -> None:
    rate = Pass(first=50.0, per_record=0.001, n_bytes=8)
    line = "a pass over 1,000 records takes about 3 s"
    assert target.phrase(rate, 1000, 3) == line


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("logits", None),
        ("logits * 0", None),
        ("ops.softmax(logits, -1)", "target.network: gives probabilities"),
        ("logits[:, :4]", "has 4 outputs, but a record has the label 9"),
        ("logits.argmax(1)", "target.network: gives outputs of type int64"),
        ("logits * float('inf')", "gives logits that are not finite"),
        ("(logits, logits + 1)", "say by target.output which are the logits"),
    ],
    ids=["logits", "constant", "softmax", "classes", "decided", "infinite", "two"],
)
def test_a_network_is_tried_before_it_is_trained(
    kind: str, words: str | None, tmp_path: Path
) -> None:
    if words is None:
        check(tmp_path, kind, trained=False)
        return
    with pytest.raises(AuditError, match=words):
        check(tmp_path, kind, trained=False)


def test_a_network_is_tried_as_it_will_be_run(tmp_path: Path) -> None:
    large = "logits * 1e6"  # finite in float32 alone
    check(tmp_path, large)
    with pytest.raises(AuditError, match="gives logits that are not finite"):
        check(tmp_path, large, precision="float16")
    with pytest.raises(AuditError, match=r"target\.network: cannot be compiled"):
        check(tmp_path, "logits", mode="graph", before=UNCOMPILABLE)


def test_views_of_what_is_no_image_are_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.models import trial

    table = np.random.default_rng(2).normal(size=(96, 64)).astype(np.float32)
    chosen = records.choose(DATA, sources.catalogue(DATA))
    monkeypatch.setattr(
        sources, "blocks", lambda _, ids, __: iter([(table[: len(b)],) for b in ids])
    )
    text = NETWORK.replace("KIND", "logits").replace("BEFORE", "")
    (tmp_path / "net.py").write_text(text, encoding="utf-8")
    settings = config.Target(network="net.py:build")
    data = config.Data(source="own.py:datasets")
    trial.tried(settings, data, config.Features(), chosen)
    features = config.Features(views=("identity", "flip"))
    with pytest.raises(AuditError, match=r"no image to be mirrored or moved: image"):
        trial.tried(settings, data, features, chosen)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *((0.01, "1 s"), (12.4, "12 s"), (89, "89 s"), (91, "2 min")),
        *((5399, "90 min"), (5400, "2 h"), (36000, "10 h")),
    ],
)
def test_durations_are_told_in_one_unit(seconds: float, words: str) -> None:
    assert cli.duration(seconds) == words


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
