"""The stage `features` refuses models whose outputs are no logits, each by its name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import config
from pipeline.cache import arrays, documents, kinds, shards, summaries
from pipeline.cache.stages import REFERENCES
from pipeline.cache.stamps import Job
from pipeline.data import modules, sources
from pipeline.errors import AuditError
from pipeline.signals import margins
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


# Logits in half of their space


def of_arrays(folder: Path, logits: Any, **settings: Any) -> Job:
    """Return the job of the stage features of arrays, upstream artifacts made."""
    n = logits.shape[1]
    path, even = folder / "signals.npz", np.arange(n) % 2 == 0
    label, member = np.arange(n) % 3, np.stack((even, ~even))
    np.savez(path, logits=logits, label=label, member=member)
    data = config.Data(source="arrays", path=str(path))
    sections = {"features": settings, "target": {}, "data": {"source": "arrays"}}
    job = jobs.job("features", folder, sections, {"path": str(path)})
    chosen = records.choose(data, sources.catalogue(data))
    references = kinds.References(chosen.id, member[1:, chosen.id])
    for stage, artifact in (("records", chosen), ("references", references)):
        arrays.write(job.artifact(stage), artifact, key=job.key_of(stage), origin={})
    of_target = summaries.Target(checkpoint_sha256=None, accuracies=None)
    documents.write(job.artifact("target"), of_target, key=job.key_of("target"))
    none = summaries.Checkpoints(file=(), checkpoint_sha256=())
    path = job.folder("references") / REFERENCES
    documents.write(path, none, key=job.key_of("references"))
    return job


def test_logits_are_rounded_to_half_precision_and_margins_are_not(
    tmp_path: Path,
) -> None:
    logits = np.random.default_rng(1).normal(0, 9, (2, 60, 2, 3)).astype(np.float32)
    job = of_arrays(tmp_path, logits, store="float16", shard_rows=40)
    features.compute(job)
    of_references = shards.reference_blocks(job)
    for (_, shard), block in zip(shards.target_blocks(job), of_references, strict=True):
        of_target = logits[0, shard.id]
        assert shard.logits.dtype == np.float16
        assert np.array_equal(shard.logits, of_target.astype(np.float16))
        for view in range(2):
            exact = margins.margin(of_target[:, view], shard.label)
            assert np.array_equal(shard.margin[:, view], exact)
        exact = margins.margin(logits[1, shard.id, 1], shard.label)
        assert np.array_equal(block.margin[0, :, 1], exact)


def test_shards_of_another_precision_are_made_anew(tmp_path: Path) -> None:
    logits = np.random.default_rng(1).normal(size=(2, 60, 1, 3)).astype(np.float32)
    kinds_of_logits = []
    for store in ("float16", "exact", "exact"):
        job = of_arrays(tmp_path, logits, store=store)
        line = features.compute(job)
        ((_, shard),) = shards.target_blocks(job)
        kinds_of_logits.append((shard.logits.dtype, line[:6]))
    assert kinds_of_logits == [
        (np.float16, "2 of 2"),
        (np.float32, "2 of 2"),
        (np.float32, "0 of 2"),
    ]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_kept_logits_are_the_nearest_that_half_precision_has(kind: type) -> None:
    """It keeps 11 bits of a number above 2**-14."""
    rng = np.random.default_rng(2)
    exponents = rng.uniform(np.log(2**-14), np.log(65504), (90, 1, 7))
    logits = (rng.choice((-1, 1), exponents.shape) * np.exp(exponents)).astype(kind)
    kept = features.kept(logits, "float16", "target")
    assert kept.dtype == np.float16
    error = np.abs(kept.astype(np.float64) - logits.astype(np.float64))
    assert (error <= 2.0**-11 * np.abs(logits.astype(np.float64))).all()
    assert features.kept(logits, "exact", "target") is logits


@pytest.mark.parametrize("value", [65505.0, -7e4, 1e30])
def test_a_logit_beyond_half_precision_is_refused(value: float) -> None:
    logits = np.zeros((4, 1, 3), np.float32)
    logits[2, 0, 1] = value
    with pytest.raises(AuditError) as caught:
        features.kept(logits, "float16", "references (ref_0.ckpt)")
    assert str(caught.value) == (
        f"references (ref_0.ckpt): has a logit of size {abs(value):.6g}, and float16 "
        'holds none above 65504. Fix: set features.store = "exact".'
    )
    assert np.isfinite(features.kept(np.sign(logits) * 65504, "float16", "")).all()
