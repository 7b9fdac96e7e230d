"""The stage `features` refuses models whose outputs are no logits, each by its name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import config
from pipeline.data import modules, sources
from pipeline.errors import AuditError
from stages import features, records
from tests import jobs

NETWORK = """
from mindspore import nn, ops

class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.flatten = nn.Flatten()
        self.hidden = nn.Dense(64, 16)
        self.last = nn.Dense(16, 10)

    def construct(self, x):
        return self.last(ops.relu(self.hidden(self.flatten(x))))

def build():
    return Net()
"""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, None),
        (-1e3, "gives the same outputs for every record"),
        (np.nan, "has 1024 of 1024 values of hidden.weight that are NaN"),
    ],
    ids=["sound", "dead", "NaN"],
)
def test_a_reference_that_says_nothing_is_named_by_its_checkpoint(
    value: float | None, words: str | None, tmp_path: Path, monkeypatch: Any
) -> None:
    from mindspore import Tensor

    from pipeline.models import checkpoints, ensemble

    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETWORK, encoding="utf-8")
    name = f"{tmp_path / 'net.py'}:build"
    paths = [tmp_path / "target.ckpt", tmp_path / "ref_0.ckpt"]
    network = modules.call(name)
    checkpoints.save(network, paths[0])
    if value is not None:
        filled = np.full(network.hidden.weight.shape, value, np.float32)
        network.hidden.weight.set_data(Tensor(filled))
    checkpoints.save(network, paths[1])
    monkeypatch.setattr(ensemble, "checkpoint", lambda _, __, model: paths[model])
    data = config.Data(source="digits", members=40)
    sections = {
        "features": {"device": "CPU", "batch_size": 32},
        "target": {"network": name, "checkpoint": str(paths[0])},
        "data": {"source": "digits", "members": 40},
    }
    job = jobs.job("features", tmp_path, sections)
    chosen = records.choose(data, sources.catalogue(data))
    source = features.network_source(job, chosen)
    blocks = [np.arange(50), np.arange(50, 80)]
    target = [each.logits for each in source(0, blocks)]
    assert [len(block) for block in target] == [50, 30]
    if words is None:
        of_reference = [each.logits for each in source(1, blocks)]
        assert np.array_equal(np.concatenate(of_reference), np.concatenate(target))
        return
    with pytest.raises(AuditError, match=words) as caught:
        list(source(1, blocks))
    assert caught.value.args[0] == paths[1]


@pytest.mark.parametrize("seed", range(12))
def test_an_audited_record_whose_logits_are_not_finite_is_refused(
    seed: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(seed)
    n, n_classes = int(rng.integers(30, 80)), int(rng.integers(2, 9))
    kind = (np.float16, np.float32, np.float64)[seed % 3]
    arrays = {
        "logits": rng.normal(size=(3, n, 2, n_classes)).astype(kind),
        "label": np.arange(n) % n_classes,
        "member": rng.permuted(np.tile(np.arange(n) % 2 == 0, (3, 1)), axis=1),
    }
    path = tmp_path / "signals.npz"
    data = config.Data(source="arrays", path=str(path))
    np.savez(path, **arrays)
    chosen = records.choose(data, sources.catalogue(data))
    blocks = [np.arange(20), np.arange(20, len(chosen.id))]
    sound = [
        list(features.arrays_source(data, chosen)(model, blocks)) for model in range(3)
    ]
    assert all(np.isfinite(margin).all() for model in sound for _, margin in model)
    place = (seed % 3, rng.choice(chosen.id), seed % 2, rng.integers(n_classes))
    arrays["logits"][place] = (np.nan, np.inf, -np.inf)[seed % 3]
    np.savez(path, **arrays)
    source = features.arrays_source(data, records.choose(data, sources.catalogue(data)))
    with pytest.raises(AuditError) as caught:
        list(source(seed % 3, blocks))
    name = ("the target", "model 1", "model 2")[seed % 3]
    assert str(caught.value) == (
        f"{path}: has logits that are NaN or infinite: {name}, record {place[1]}. "
        "Fix: correct them; log-probabilities stay finite by log-softmax."
    )
