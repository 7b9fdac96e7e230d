"""Train the target on the members, or check the checkpoint that is given."""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline import cli
from pipeline.cache import files, plan, store
from pipeline.config import Data, Target
from pipeline.data import preprocessing, sources

# For the accuracy of a target trained here; it changes no artifact but its last bits.
BATCH_SIZE = 256


def compute(job: plan.Job) -> str:
    """Write target.json, and beside it the checkpoint if it is trained here."""
    settings = job.section(Target)
    records = store.upstream(job, "records", store.Records)

    found: dict[str, Any] = {"key": job.key, "checkpoint_sha256": None}
    if settings.network is None:
        line = "was run elsewhere"
    elif settings.checkpoint is not None:
        check(settings, records)
        found["checkpoint_sha256"] = files.sha256(Path(settings.checkpoint))
        line = f"{settings.checkpoint} fits {settings.network}"
    else:
        found |= train(job, settings, records)
        found["checkpoint_sha256"] = files.sha256(
            job.folder("target") / plan.CHECKPOINT
        )
        line = "accuracy {train_accuracy:.3f} in training, {test_accuracy:.3f} outside"
        line = line.format(**found)

    files.write_json(job.artifact("target"), found)
    return line


def check(settings: Target, records: store.Records) -> None:
    """Refuse a checkpoint that does not fit its network."""
    # Here and below: signals made elsewhere need no MindSpore at all.
    from pipeline.models import device, networks

    device.start("auto")
    n_classes = settings.n_classes or int(records.n_classes)
    network = networks.build(str(settings.network), n_classes)
    device.load(network, Path(str(settings.checkpoint)))


def train(job: plan.Job, settings: Target, records: store.Records) -> dict[str, float]:
    """Train the network on the members, save it, and return its accuracies."""
    from pipeline.models import device, extraction, networks

    data, recipe = job.section(Data), settings.training
    assert recipe is not None  # the config has a checkpoint or a recipe
    name, n_classes = (
        str(settings.network),
        settings.n_classes or int(records.n_classes),
    )
    rows = np.flatnonzero(records.member)
    images = next(sources.blocks(data, [records.id[rows]], [records.content[rows]]))
    batch = preprocessing.batches(data, recipe, images, device.resize)

    device.start(recipe.device)
    trainer = device.Trainer(lambda: networks.build(name, n_classes), recipe, len(rows))
    with cli.progress() as bar:
        total = recipe.epochs * trainer.n_steps
        task = bar.add_task("target", total=total, note="")
        network = trainer.train(
            batch,
            records.label[rows],
            recipe.seed,
            advance=lambda n, loss: bar.update(
                task, advance=n, note=f"loss {loss:.3f}"
            ),
        )
    device.save(network, job.folder("target") / plan.CHECKPOINT)

    extractor = device.extractor(network, precision="float32", batch_size=BATCH_SIZE)
    blocks = store.row_blocks(len(records.id), BATCH_SIZE)
    found = extraction.outputs(extractor, data, records, blocks, ["identity"])
    right = np.concatenate([block.logits[:, 0].argmax(axis=1) for block in found])
    right = right == records.label
    return {
        "train_accuracy": float(right[records.member].mean()),
        "test_accuracy": float(right[records.nonmember].mean()),
    }


if __name__ == "__main__":
    cli.stage(compute, __doc__)
