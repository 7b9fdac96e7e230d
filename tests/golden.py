"""A tiny run of every kind of thing that is cached, on inputs that never change.

``python -m tests.golden`` notes their numbers in golden.json, to which
`test_golden.py` compares them.
"""

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from pipeline import config, draws
from pipeline.attacks import forests, growth, learned
from pipeline.audit import experiment, search
from pipeline.cache import arrays, documents, keys, kinds, summaries
from pipeline.data import selection, sources
from pipeline.findings import blind, controls, curves, exposure
from pipeline.findings.report import findings
from pipeline.pages import card, content
from pipeline.signals import margins, recalibration
from stages import features, records, target
from tests import jobs, views
from tests.test_findings import inputs

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
            config.Data(source="digits", canaries=0.3, **more),
            sources.Catalogue(label, side, content, 3),
        )
        for more in (
            {},
            {"members": 12, "nonmembers": 9, "population": 3},
            {"choose": "first"},
        )
        for side in (None, np.arange(n) < 30)
    ]
    fields = [
        (
            *(r.id, r.label, r.member, r.population, r.canary),
            *(r.duplicates_dropped, r.copies_dropped, r.copies),
        )
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

    from pipeline.models import devices, recipes, trainset

    devices.start("CPU")
    rng = np.random.default_rng(1)
    images = rng.normal(size=(24, 6)).astype(np.float32)
    label = (np.arange(24) % 3).astype(np.int32)

    class Noisy(trainset.TrainingSet):
        def batch(self, rows: NDArray[np.int64], augmentation: Any = "none") -> Any:
            if augmentation == "none":
                return images[rows], label[rows]
            noise = self.rng.normal(size=6).astype(np.float32) / 9
            return images[rows] + noise, label[rows]

    numbers: list[float] = []
    ways = [{"optimizer": name} for name in ("sgd", "momentum", "adam", "adamw")]
    more = {"clip_norm": 0.2, "label_smoothing": 0.1, "warmup_epochs": 1}
    for way in (*ways, {"optimizer": "momentum", "nesterov": True, **more}):
        recipe = config.Training(
            **way,
            schedule="cosine",
            learning_rate=0.05,
            weight_decay=0.01,
            epochs=2,
            batch_size=8,
            augmentation="flip",
        )
        trainer = recipes.Trainer(
            recipe,
            lambda: nn.SequentialCell(nn.Dense(6, 8), nn.ReLU(), nn.Dense(8, 3)),
            "target.training",
            n_classes=3,
        )
        records = Noisy(
            config.Data(source="my_data.py:datasets"),
            (images,),
            np.arange(24),
            ids=np.arange(24),
            label=label,
            rng=draws.rng(1, "target.order"),
            progress=lambda *_: None,
        )
        network = trainer.train(
            records, weights=draws.integer(1, "target.weights"), seed=1
        )
        numbers += flat(*(p.asnumpy() for p in network.get_parameters()))
    return Golden(numbers, 1e-3)


def of_outputs() -> Golden:
    """Logits and margins of images as they are stored, by either precision."""
    import mindspore as ms
    from mindspore import nn

    from pipeline.models import devices, extraction, inference
    from pipeline.models.logits import Logits

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
        copies_dropped=np.array(0),
        copies=np.empty((0, 2), dtype=np.int64),
        n_classes=np.array(10),
        n_source=np.array(1797),
    )
    weights = np.random.default_rng(2).normal(size=(10, 64)).astype(np.float32)
    numbers = []
    for precision in ("float32", "float16"):
        network = nn.SequentialCell(nn.Flatten(), nn.Dense(64, 10, has_bias=False))
        network[1].weight.set_data(ms.Tensor(weights))
        extractor = inference.Extractor(
            Logits(network, 10), precision=precision, batch_size=16
        )
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
            copies_dropped=np.array(0),
            copies=np.empty((0, 2), dtype=np.int64),
            n_classes=np.array(4),
            n_source=np.array(70),
        )
        references = kinds.References(n, member[1:])
        nothing = summaries.Target(checkpoint_sha256=None, accuracies=None)
        none = summaries.Checkpoints(file=(), checkpoint_sha256=())
        for stage, artifact in (("records", audited), ("references", references)):
            arrays.write(
                job.artifact(stage), artifact, key=job.key_of(stage), origin={}
            )
        documents.write(job.artifact("target"), nothing, key=job.key_of("target"))
        documents.write(
            job.folder("references") / "references.json",
            none,
            key=job.key_of("references"),
        )
        features.compute(job)
        summary = documents.upstream(job, "features", summaries.Complete)
        return Golden(
            flat(
                [summary.shards, summary.records, summary.views, summary.n_classes],
                [summary.train_accuracy, summary.test_accuracy],
                [summary.within_classes, *summary.contradicted.model_dump().values()],
                [(a.train_accuracy, a.test_accuracy) for a in summary.references],
            ),
            0.0,
        )


def of_target() -> Golden:
    """How the accuracies of a target are counted, from a network that is known."""
    logits, label, member = signals(n_models=1, n_records=80)
    n = np.arange(80)
    chosen = kinds.Records(
        id=n,
        label=label,
        member=member[0],
        population=~member[0] & (n >= 70),
        canary=n < 0,
        content=np.full(80, b""),
        duplicates_dropped=np.array(0),
        copies_dropped=np.array(0),
        copies=np.empty((0, 2), dtype=np.int64),
        n_classes=np.array(4),
        n_source=np.array(80),
    )
    found = target.accuracies(logits[0, :, 0].argmax(axis=1), chosen)
    return Golden(flat([found.train_accuracy, found.test_accuracy]), 0.0)


def of_blind() -> Golden:
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (160, 6, 6, 1)).astype(np.uint8)
    label = (np.arange(160) % 4).astype(np.int32)
    member = rng.random(160) < 0.5
    numbers = []
    for shift in (0, 40):
        shown = np.where(member[:, None, None, None], images // 2 + shift, images // 2)
        outcome = blind.baseline(
            blind.description(shown.astype(np.uint8)), label, member, 1
        )
        assert outcome.interval is not None
        numbers += [outcome.auc, *outcome.interval, outcome.statistics]
        numbers += [d.p_value for d in outcome.differing if d.p_value is not None]
        numbers += [d.auc for d in outcome.differing if d.auc is not None]
    return Golden([float(number or 0.0) for number in numbers], 1e-6)


def of_fit() -> Golden:
    rng = np.random.default_rng(4)
    member = rng.random(150) < 0.5
    features = rng.normal(size=(150, 4)) + member[:, None] * [1.0, 0.5, 0.0, 0.0]
    train, others = features[:100], features[100:]
    numbers: list[float] = []
    for method, params in {
        "lr": {"C": 0.5},
        "knn": {"n_neighbors": 5},
        "mlp": {"hidden_layer_sizes": [8], "max_iter": 20},
        "rf": {"n_estimators": 10, "max_depth": 3},
        "gbm": {"max_iter": 10},
    }.items():
        classifier = learned.estimator(method, params, 1)
        said = learned.judge(classifier, train, member[:100], [others])
        numbers += flat(said.score, said.decision, [said.converged])
    folds = search.fold_sides(member, 3, 1)
    candidates = search.sample([{"C": float(c)} for c in range(1, 9)], 3, 1)
    numbers += flat(*(rows for fold in folds for rows in fold))
    return Golden(numbers + flat([c["C"] for c in candidates]), 1e-6)


def of_accelerated() -> Golden:
    """Probabilities of fits that are made together, forests by scikit-learn's trees."""
    rng = np.random.default_rng(4)
    member = rng.random(150) < 0.5
    features = rng.normal(size=(150, 4)) + member[:, None] * [1.0, 0.5, 0.0, 0.0]
    data = features[:100], member[:100], lambda: [features[100:]]
    grids: dict[str, list[dict[str, Any]]] = {
        "lr": [{"C": 0.5}],
        "mlp": [
            {"hidden_layer_sizes": [8], "max_iter": 20, "alpha": alpha}
            for alpha in (0.01, 1.0)
        ],
        "rf": [{"n_estimators": 10, "max_depth": depth} for depth in (1, 3, None)],
    }
    numbers: list[float] = []
    with mock.patch.object(forests, "find_spec", return_value=None):
        for method, candidates in grids.items():
            for said in learned.judge_together(method, candidates, 1, *data):
                numbers += flat(said.score, [said.converged])
    return Golden(numbers, 1e-4)


def of_attack() -> Golden:
    """The scores, readings and thresholds of every attack, and who is the strongest."""
    view = views.drawn(n_models=6, n_records=80, population=20, n_views=2)
    settings = config.Attack(methods=())
    with tempfile.TemporaryDirectory() as folder:
        outcome = experiment.run(settings, view, Path(folder))
    numbers: list[float] = []
    for name, scored in outcome.scored.items():
        reading = [] if scored.reading is None else scored.reading
        threshold = outcome.decided[name].threshold or 0.0
        numbers += flat(scored.score, reading, [threshold, outcome.auc[name]])
    numbers.append(float([*outcome.scored].index(outcome.strongest)))
    p_value = exposure.reference_p_values(
        view.phi[:, 0],
        view.references.mean(axis=2),
        view.out_models,
        ~view.division.member & view.attack_train,
    )
    shuffled = controls.shuffled(
        view.division.member, (view.attack_train, ~view.attack_train), 1
    )
    points = growth.points(view, ("lira_online_fixed", "rmia_online"))
    grown = [part for point in points for part in ([point.references], point.score)]
    return Golden(numbers + flat(p_value, shuffled, *grown), 1e-4)


def of_report() -> Golden:
    """Every number of the report of drawn scores, and of the table of the records."""
    report, table, _ = findings(inputs(), config.Report())
    numbers: list[float] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list | tuple):
            for inner in value:
                walk(inner)
        elif isinstance(value, bool | int | float):
            numbers.append(float(value))

    walk(report.model_dump(mode="json", exclude={"schema_version", "provenance"}))
    return Golden(flat(numbers) + flat(*table.values()), 1e-6)


def of_page() -> Golden:
    """Every number of the card of drawn scores, and of the curves of the page."""
    report, table, _ = findings(inputs(), config.Report())
    scores = inputs().audited
    judged = scores.evaluation
    made = content.Content(
        report=report,
        report_sha256="",
        threshold=0.6,
        member=scores.member[judged],
        unit=None,
        score={
            name: score[judged]
            for name, score in zip(scores.method, scores.score, strict=True)
        },
        loss=scores.loss[judged],
        exposed=(),
        exposed_units=(),
        unseen=None,
        config={},
        keys={},
        seconds={},
        machine="",
    )
    chosen = made.score[report.strongest.chosen or ""]
    drawn = (
        *curves.roc(chosen, made.member),
        *curves.band(chosen, made.member, report.confidence, 5),
        *curves.histogram(made.loss, made.member, 5),
    )
    text = [float(number) for number in re.findall(r"\d+\.?\d*", card.card(made))]
    rows = content.most_exposed(table["rank"], table["member"])
    return Golden(flat(text, rows, *drawn), 1e-6)


RUNS: dict[str, Callable[[], Golden]] = {
    "records": of_records,
    "blind": of_blind,
    "split": of_split,
    "target": of_target,
    "references": of_references,
    "features": of_features,
    "attack": of_attack,
    "report": of_report,
    "page": of_page,
    "checkpoint": of_checkpoint,
    "outputs": of_outputs,
    "signals": of_signals,
    "fit": of_fit,
    "accelerated": of_accelerated,
}


def note() -> None:
    """Write the numbers of every kind beside its version."""
    noted = {}
    for kind, run in RUNS.items():
        golden = run()
        about = {"version": keys.KINDS[kind].version, "origin": keys.origin(kind)}
        noted[kind] = {**about, **golden._asdict()}
    NOTED.write_text(json.dumps(noted, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    note()
