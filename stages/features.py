"""Extract the target's signals on the audited records, once, into shards."""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import cli, datasets, files, plan, preprocessing, signals, store
from pipeline.config import Data, Features, Target
from pipeline.errors import AuditError


def compute(job: plan.Job) -> str:
    """Write the shards that are missing, then complete.json."""
    settings, data = job.section(Features), job.section(Data)
    records = store.upstream(job, "records", store.Records)
    blocks = store.row_blocks(len(records.id), settings.shard_rows)
    paths = [store.shard_path(job.folder("features"), i) for i in range(len(blocks))]
    missing = [
        index
        for index, path in enumerate(paths)
        if not store.is_whole(path, store.Shard, key=job.key)
    ]

    wanted = [blocks[index] for index in missing]
    origin: dict[str, Any] = {"device": None, "mindspore": None}
    if data.source == "arrays":
        shards = given(data, records, wanted)
    else:
        origin, shards = inferred(job, records, wanted)
    bar = cli.tracked("features", shards, len(missing))
    for index, shard in zip(missing, bar, strict=True):
        store.write_arrays(paths[index], shard, key=job.key)

    signal = store.shards(paths, key=job.key, fix=job.remake("features"))
    right = signal.logits.argmax(axis=1) == signal.label
    complete = {
        "key": job.key,
        "shards": len(blocks),
        "records": len(records.id),
        "n_classes": signal.logits.shape[1],
        "train_accuracy": float(right[records.member].mean()),
        "test_accuracy": float(right[~records.member].mean()),
        **origin,
    }
    files.write_json(job.artifact("features"), complete)
    device = f" on {origin['device']}" if missing and origin["device"] else ""
    return f"{len(missing)} of {len(blocks)} shards extracted{device}"


def given(
    data: Data, records: store.Records, blocks: Sequence[NDArray[np.int64]]
) -> Iterator[store.Shard]:
    """Yield shards of signals made elsewhere.

    Raises:
        AuditError: if a logit is not finite.
    """
    logits = datasets.signals(data).logits
    for rows in blocks:
        block = logits[records.id[rows]]
        if not np.isfinite(block).all():
            problem = "has logits that are NaN or infinite"
            raise AuditError(data.path, problem, "correct the records")
        yield shard(records, rows, block, signals.margin(block, records.label[rows]))


def inferred(
    job: plan.Job, records: store.Records, blocks: Sequence[NDArray[np.int64]]
) -> tuple[dict[str, Any], Iterator[store.Shard]]:
    """Return where the target runs, and the shards of its signals as it does."""
    # Signals made elsewhere need no MindSpore at all.
    from pipeline import device, extraction, networks

    settings, data = job.section(Features), job.section(Data)
    target = job.section(Target)
    origin = {
        "device": device.start(settings.device),
        "mindspore": version("mindspore"),
    }
    n_classes = target.n_classes or int(records.n_classes)
    network = networks.build(str(target.network), n_classes)
    device.load(network, checkpoint(job, target))
    extractor = device.extractor(
        network, precision=settings.precision, batch_size=settings.batch_size
    )
    how = member_augmentation(settings, records.member)

    def found() -> Iterator[store.Shard]:
        outputs = extraction.outputs(extractor, data, records, blocks, how)
        for rows, output in zip(blocks, outputs, strict=True):
            yield shard(records, rows, output.logits, output.margin)

    return origin, found()


def shard(
    records: store.Records,
    rows: NDArray[np.int64],
    logits: NDArray[np.floating[Any]],
    margin: NDArray[np.floating[Any]],
) -> store.Shard:
    """Return the signals of these rows as a shard."""
    return store.Shard(
        id=records.id[rows],
        label=records.label[rows],
        logits=logits,
        margin=margin,
        loss=signals.loss(margin),
    )


def checkpoint(job: plan.Job, target: Target) -> Path:
    """Return the checkpoint of the target, if it is the one that was audited.

    Raises:
        AuditError: if it has changed since.
    """
    path = job.folder("target") / plan.CHECKPOINT
    path = path if target.checkpoint is None else Path(target.checkpoint)
    fix = job.remake("target")
    record = files.read_json(job.artifact("target"), key=job.key_of("target"), fix=fix)
    # MindSpore loads a checkpoint with a flipped bit without a word.
    if not path.exists() or files.sha256(path) != record["checkpoint_sha256"]:
        raise AuditError(path, "is not the checkpoint that target.json names", fix)
    return path


def member_augmentation(
    settings: Features, member: NDArray[np.bool_]
) -> preprocessing.Draw | None:
    """Return the augmentation of every record: the tutorial's for members only."""
    if settings.member_augmentation == "none":
        return None
    rng = np.random.default_rng(settings.augmentation_seed)
    return preprocessing.draw(len(member), "tutorial", rng).only(member)


if __name__ == "__main__":
    cli.stage(compute, __doc__)
