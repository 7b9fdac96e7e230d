"""A tiny run of every kind of thing that is cached, on inputs that never change.

``python -m tests.golden`` notes their numbers in golden.json, to which
`test_golden.py` compares them.
"""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import config, draws
from pipeline.cache import arrays, documents, kinds
from pipeline.data import selection, sources
from pipeline.signals import margins, recalibration
from stages import features, records
from tests import jobs

NOTED = Path(__file__).with_suffix(".json")


class Golden(NamedTuple):
    """The numbers of a tiny run, and how near another machine must come to them."""

    numbers: list[float]
    # Of each number, relative to it and to the largest: 0 where every machine has the
    # same; else what sums in another order, or another number of CPUs, may change.
    tolerance: float


def flat(*parts: Any) -> list[float]:
    """Return arrays as one list of few numbers: of many, sums with random weights.

    A sum by weights changes if any number does, or two change places.
    """
    numbers: list[float] = []
    for place, part in enumerate(parts):
        array = np.asarray(part)
        if array.dtype.kind in "SU":
            array = np.array([hash_of(str(text)) for text in array.ravel()])
        wide = array.astype(np.float64).ravel()
        weights = np.random.default_rng(place).normal(size=(2, len(wide)))
        numbers += [float(len(wide)), *(weights @ np.nan_to_num(wide, nan=-7.0))]
    return numbers


def hash_of(text: str) -> int:
    return int.from_bytes(text.encode()[:6].ljust(6), "big")


def signals(
    n_models: int = 5, n_records: int = 120, n_views: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.bool_]]:
    """Return logits, labels and memberships of models that know their members."""
    rng = np.random.default_rng(5)
    label = (np.arange(n_records) % 4).astype(np.int32)
    member = rng.random((n_models, n_records)) < 0.5
    member[2::2] = ~member[1::2]
    own = np.arange(4) == label[:, None]
    logits = rng.normal(size=(n_models, n_records, n_views, 4))
    logits += own[:, None] * (1.0 + 1.5 * member[:, :, None, None])
    return logits, label, member


def of_records() -> Golden:
    n = 60
    label = (np.arange(n) % 3).astype(np.int32)
    content = np.array([f"{i % 55:032d}" for i in range(n)], dtype="S32")
    chosen = [
        records.choose(
            config.Data(source="digits", canaries=0.3, population=5, **more),
            sources.Catalogue(label, side, content, 3),
        )
        for more in ({}, {"members": 12, "nonmembers": 9}, {"choose": "first"})
        for side in (None, np.arange(n) < 30)
    ]
    fields = [
        (r.id, r.label, r.member, r.population, r.canary, r.duplicates_dropped)
        for r in chosen
    ]
    return Golden(flat(*(field for each in fields for field in each)), 0.0)


def of_split() -> Golden:
    member, label = np.arange(101) % 3 == 0, (np.arange(101) % 7).astype(np.int32)
    sides = [selection.eval_side(member, label, 0.3, 1, draw) for draw in range(3)]
    return Golden(flat(*sides), 0.0)


def of_references() -> Golden:
    return Golden(flat(selection.halves(101, 6, 1)), 0.0)


def of_checkpoint() -> Golden:
    """The weights of a network after a few steps, by each optimizer."""
    from mindspore import nn

    from pipeline.models import devices, training

    devices.start("CPU")
    rng = np.random.default_rng(1)
    images = rng.normal(size=(24, 6)).astype(np.float32)
    label = (np.arange(24) % 3).astype(np.int32)
    numbers: list[float] = []
    for optimizer in ("sgd", "momentum", "adam"):
        recipe = config.Training(
            optimizer=optimizer,
            schedule="cosine",
            learning_rate=0.05,
            weight_decay=0.01,
            epochs=2,
            batch_size=8,
        )
        trainer = training.Trainer(
            lambda: nn.SequentialCell(nn.Dense(6, 8), nn.ReLU(), nn.Dense(8, 3)),
            recipe,
            len(label),
        )
        network = trainer.train(
            lambda rows, rng: images[rows] + rng.normal(size=6).astype(np.float32) / 9,
            label,
            weights=draws.integer(1, "target.weights"),
            rng=draws.rng(1, "target.order"),
            advance=lambda *_: None,
        )
        numbers += flat(*(p.asnumpy() for p in network.get_parameters()))
    return Golden(numbers, 1e-3)


def of_outputs() -> Golden:
    """Logits and margins of images as they are stored, by either precision."""
    import mindspore as ms
    from mindspore import nn

    from pipeline.models import devices, extraction, inference

    devices.start("CPU")
    data = config.Data(source="digits")
    catalogue = sources.catalogue(data)
    ids = np.arange(40)
    chosen = kinds.Records(
        id=ids,
        label=catalogue.label[ids],
        member=ids < 20,
        population=np.zeros(40, dtype=bool),
        canary=np.zeros(40, dtype=bool),
        content=catalogue.content[ids],
        duplicates_dropped=np.array(0),
        n_classes=np.array(10),
        n_source=np.array(1797),
    )
    weights = np.random.default_rng(2).normal(size=(10, 64)).astype(np.float32)
    numbers = []
    for precision in ("float32", "float16"):
        network = nn.SequentialCell(nn.Flatten(), nn.Dense(64, 10, has_bias=False))
        network[1].weight.set_data(ms.Tensor(weights))
        extractor = inference.extractor(network, precision=precision, batch_size=16)
        blocks = [ids[:25], ids[25:]]
        views = ["identity", "flip", "shift(1,-2)"]
        outputs = extraction.outputs(extractor, data, chosen, blocks, views)
        for block in outputs:
            numbers += flat(block.logits, block.margin)
    return Golden(numbers, 1e-4)


def of_signals() -> Golden:
    logits, label, _ = signals(n_models=2, n_views=2)
    corrections = [recalibration.fitted(model, label) for model in logits]
    recalibrated = [
        recalibration.margin(model, label, correction)
        for model, correction in zip(logits, corrections, strict=True)
    ]
    sample = recalibration.sample(np.arange(30_000) % 3 > 0)
    margin = [margins.margin(model[:, 0], label) for model in logits]
    return Golden(flat(sample) + flat(*recalibrated, *margin), 1e-4)


def of_features() -> Golden:
    """The summary of shards, from arrays: no network, no device."""
    logits, label, member = signals(n_models=3, n_records=70)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "signals.npz"
        np.savez(path, logits=logits, label=label, member=member)
        sections = {
            "features": {"shard_rows": 32},
            "target": {},
            "data": {"source": "arrays"},
        }
        job = jobs.job("features", Path(folder), sections, {"path": str(path)})
        n = np.arange(70)
        audited = kinds.Records(
            id=n,
            label=label,
            member=member[0],
            population=n >= 64,
            canary=n < 0,
            content=np.full(70, b""),
            duplicates_dropped=np.array(0),
            n_classes=np.array(4),
            n_source=np.array(70),
        )
        references = kinds.References(n, member[1:])
        target = kinds.Target(checkpoint_sha256=None, accuracies=None)
        none = kinds.Checkpoints(file=(), checkpoint_sha256=())
        for stage, artifact in (("records", audited), ("references", references)):
            arrays.write(
                job.artifact(stage), artifact, key=job.key_of(stage), origin={}
            )
        documents.write(job.artifact("target"), target, key=job.key_of("target"))
        documents.write(
            job.folder("references") / "references.json",
            none,
            key=job.key_of("references"),
        )
        features.compute(job)
        summary = documents.upstream(job, "features", kinds.Complete)
        return Golden(
            flat(
                [summary.shards, summary.records, summary.views, summary.n_classes],
                [summary.train_accuracy, summary.test_accuracy],
                [(a.train_accuracy, a.test_accuracy) for a in summary.references],
            ),
            0.0,
        )
