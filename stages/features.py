"""Extract the signals of target and references on the audited records, once."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import cli
from pipeline.cache import files, plan, store
from pipeline.config import Data, Features, Target
from pipeline.data import preprocessing, sources
from pipeline.errors import AuditError
from pipeline.signals import margins, recalibration

# (model, rows of each block) to (logits, margins) of each block; model 0 is the target.
Source = Callable[
    [int, Sequence[NDArray[np.int64]]],
    Iterator[tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]],
]


def compute(job: plan.Job) -> str:
    """Write the shards that are missing, model by model, then complete.json."""
    settings, data = job.section(Features), job.section(Data)
    records = store.upstream(job, "records", store.Records)
    member = store.upstream(job, "references", store.References).member
    blocks = store.row_blocks(len(records.id), settings.shard_rows)
    names = ["target", *map(store.reference_name, range(len(member)))]
    keys = shard_keys(job, names)
    missing = [missing_blocks(job, name, len(blocks), keys[name]) for name in names]
    total = sum(map(len, missing))

    origin: dict[str, Any] = {"device": None, "mindspore": None}
    source = given(data, records)
    if data.source != "arrays" and total:
        origin, source = inferred(job, records)

    def shards() -> Iterator[None]:
        for model, (name, wanted) in enumerate(zip(names, missing, strict=True)):
            found = source(model, [blocks[index] for index in wanted])
            for index, output in zip(wanted, found, strict=True):
                made = shard(records, blocks[index], *output)
                path = output_path(job, name, index)
                store.write_arrays(path, made, key=keys[name])
                yield
            if model and not is_condensed(job, name, len(blocks), keys[name]):
                condense(job, name, blocks, ~records.population, keys[name])
            if model:
                shutil.rmtree(output_path(job, name, 0).parent, ignore_errors=True)

    for _ in cli.tracked("features", shards(), total):
        pass

    paths = [output_path(job, "target", index) for index in range(len(blocks))]
    signal = store.shards(paths, key=keys["target"], fix=job.remake("features"))
    right = signal.logits[:, 0].argmax(axis=1) == signal.label
    complete = {
        "key": job.key,
        "shards": len(blocks),
        "shard_rows": settings.shard_rows,
        "records": len(records.id),
        "views": signal.logits.shape[1],
        "n_classes": signal.logits.shape[2],
        "folders": keys,
        "train_accuracy": float(right[records.member].mean()),
        "test_accuracy": float(right[records.nonmember].mean()),
        "references": accuracies(job, names[1:], keys, len(blocks), member),
        **origin,
    }
    files.write_json(job.artifact("features"), complete)
    device = f" on {origin['device']}" if origin["device"] else ""
    models = f" of {len(names)} models" if len(names) > 1 else ""
    return f"{total} of {len(names) * len(blocks)} shards{models} extracted{device}"


def shard_keys(job: plan.Job, names: Sequence[str]) -> dict[str, str]:
    """Return the key of each model's shards: of what decides them and nothing else.

    So that references can be added without another pass of the target.
    """
    fix = job.remake("references")
    path = job.folder("references") / plan.REFERENCES
    record = files.read_json(path, key=job.key_of("references"), fix=fix)
    checkpoints = record["checkpoint_sha256"] or names[1:]
    common = {
        "settings": dict(job.settings),
        "records": job.inputs["records"],
        "target": job.inputs["target"],
    }
    models = zip(names, ["target", *checkpoints], strict=True)
    return {name: plan.digest({**common, "model": model}) for name, model in models}


def output_path(job: plan.Job, name: str, index: int) -> Path:
    """Return where a model's outputs lie: a reference's only until `condense`."""
    folder = job.folder("features") / name
    return store.shard_path(folder / "outputs" if name != "target" else folder, index)


def signal_path(job: plan.Job, name: str, index: int) -> Path:
    """Return where the signals that are kept of a reference lie."""
    return store.shard_path(job.folder("features") / name, index)


def is_condensed(job: plan.Job, name: str, n_blocks: int, key: str) -> bool:
    """Return whether nothing is left to do for a reference."""
    paths = [signal_path(job, name, index) for index in range(n_blocks)]
    return all(store.is_whole(path, store.ReferenceShard, key=key) for path in paths)


def missing_blocks(job: plan.Job, name: str, n_blocks: int, key: str) -> list[int]:
    """Return the blocks of a model that must be extracted."""
    if name != "target" and is_condensed(job, name, n_blocks, key):
        return []
    paths = [output_path(job, name, index) for index in range(n_blocks)]
    whole = [store.is_whole(path, store.Shard, key=key) for path in paths]
    return [index for index in range(n_blocks) if not whole[index]]


def condense(
    job: plan.Job,
    name: str,
    blocks: Sequence[NDArray[np.int64]],
    audited: NDArray[np.bool_],
    key: str,
) -> None:
    """Sum up a reference's outputs by its signals, which are small.

    Its logits are needed as long as its correction is not known.
    """

    def outputs() -> Iterator[store.Shard]:
        for index in range(len(blocks)):
            path, fix = output_path(job, name, index), job.remake("features")
            yield store.read_arrays(path, store.Shard, key=key, fix=fix)

    chosen = recalibration.sample(audited)
    logits, label = [], []
    for rows, one in zip(blocks, outputs(), strict=True):
        own = np.isin(rows, chosen)
        logits.append(one.logits[own])
        label.append(one.label[own])
    correction = recalibration.fitted(np.concatenate(logits), np.concatenate(label))
    for index, one in enumerate(outputs()):
        made = store.ReferenceShard(
            id=one.id,
            margin=one.margin,
            log_probability=(-one.loss).astype(one.margin.dtype),
            recalibrated=recalibration.margin(one.logits, one.label, correction),
            correct=one.logits[:, 0].argmax(axis=1) == one.label,
        )
        store.write_arrays(signal_path(job, name, index), made, key=key)


def accuracies(
    job: plan.Job,
    names: Sequence[str],
    keys: dict[str, str],
    n_blocks: int,
    member: NDArray[np.bool_],
) -> list[dict[str, float | None]]:
    """Return each reference's accuracy on what it was trained on, and on the rest."""
    found = []
    for name, half in zip(names, member, strict=True):
        parts = [
            store.read_arrays(
                signal_path(job, name, index),
                store.ReferenceShard,
                key=keys[name],
                fix=job.remake("features"),
            ).correct
            for index in range(n_blocks)
        ]
        right = np.concatenate(parts)
        rates = [
            float(right[side].mean()) if side.any() else None for side in (half, ~half)
        ]
        found.append({"train_accuracy": rates[0], "test_accuracy": rates[1]})
    return found


def given(data: Data, records: store.Records) -> Source:
    """Return the source of signals made elsewhere."""

    @cache
    def models() -> NDArray[np.floating[Any]]:
        return sources.signals(data).logits

    def source(
        model: int, blocks: Sequence[NDArray[np.int64]]
    ) -> Iterator[tuple[NDArray[np.floating[Any]], NDArray[np.float64]]]:
        if not blocks:
            return
        logits = models()[model]
        for rows in blocks:
            block = logits[records.id[rows]]
            if not np.isfinite(block).all():
                problem = "has logits that are NaN or infinite"
                raise AuditError(data.path, problem, "correct the records")
            label = records.label[rows]
            views = [margins.margin(block[:, v], label) for v in range(block.shape[1])]
            yield block, np.stack(views, axis=1)

    return source


def inferred(job: plan.Job, records: store.Records) -> tuple[dict[str, Any], Source]:
    """Return where models run, and the source of their signals."""
    # Signals made elsewhere need no MindSpore at all.
    from pipeline.models import device, extraction, networks

    settings, data = job.section(Features), job.section(Data)
    target = job.section(Target)
    origin = {
        "device": device.start(settings.device),
        "mindspore": version("mindspore"),
    }
    n_classes = target.n_classes or int(records.n_classes)
    network = networks.build(str(target.network), n_classes)
    extractor = device.extractor(
        network, precision=settings.precision, batch_size=settings.batch_size
    )
    how = preprocessing.member_augmentation(settings, records.member)

    def source(
        model: int, blocks: Sequence[NDArray[np.int64]]
    ) -> Iterator[tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]]:
        if not blocks:
            return
        # One graph for all models: each gives it its weights.
        device.load(network, checkpoint(job, target, model))
        yield from extraction.outputs(
            extractor, data, records, blocks, settings.views, how
        )

    return origin, source


def shard(
    records: store.Records,
    rows: NDArray[np.int64],
    logits: NDArray[np.floating[Any]],
    margin: NDArray[np.floating[Any]],
) -> store.Shard:
    """Return what a model says of these rows as a shard."""
    return store.Shard(
        id=records.id[rows],
        label=records.label[rows],
        logits=logits,
        margin=margin,
        loss=margins.loss(margin),
    )


def checkpoint(job: plan.Job, target: Target, model: int) -> Path:
    """Return the checkpoint of the target or a reference, if it has not changed.

    Raises:
        AuditError: if it has changed since.
    """
    stage = "references" if model else "target"
    fix, folder = job.remake(stage), job.folder(stage)
    if model:
        table = folder / plan.REFERENCES
        record = files.read_json(table, key=job.key_of(stage), fix=fix)
        path = store.reference_path(job, record["file"][model - 1])
        expected = record["checkpoint_sha256"][model - 1]
    else:
        path = folder / plan.CHECKPOINT
        path = path if target.checkpoint is None else Path(target.checkpoint)
        table = job.artifact(stage)
        record = files.read_json(table, key=job.key_of(stage), fix=fix)
        expected = record["checkpoint_sha256"]
    # MindSpore loads a checkpoint with a flipped bit without a word.
    if not path.exists() or files.sha256(path) != expected:
        problem = f"is not the checkpoint that {table.name} names"
        raise AuditError(path, problem, fix)
    return path


if __name__ == "__main__":
    cli.stage(compute, __doc__)
