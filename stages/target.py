"""Train the target on the members, or check the checkpoint that is given."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import cli, draws
from pipeline.cache import (
    arrays,
    digests,
    documents,
    files,
    keys,
    kinds,
    shards,
    summaries,
)
from pipeline.cache.stages import CHECKPOINT
from pipeline.cache.stamps import Job
from pipeline.config import Data, Target, Training
from pipeline.data import preprocessing, sources

# For the accuracy of a target trained here; it changes no artifact but its last bits.
BATCH_SIZE = 256
# A checkpoint that is given is tried on few records, before references are trained.
N_TRIED, TRIED_BATCH_SIZE = 96, 32


def compute(job: Job) -> str:
    """Write target.json, and beside it the checkpoint if it is trained here."""
    settings = job.section(Target)
    records = arrays.upstream(job, "records", kinds.Records)

    digest = measured = None
    origin: dict[str, str] = {}
    if settings.network is None:
        line = "was run elsewhere"
    elif settings.checkpoint is not None:
        check(settings, job.section(Data), records)
        digest = digests.checkpoint(Path(settings.checkpoint))
        line = f"{settings.checkpoint} fits {settings.network}"
    else:
        assert settings.training is not None  # the config has a checkpoint or a recipe
        measured = train(job, settings, settings.training, records)
        digest = files.sha256(job.folder("target") / CHECKPOINT)
        origin = keys.origin("checkpoint", settings.training.device)
        line = (
            f"accuracy {measured.train_accuracy:.3f} in training, "
            f"{measured.test_accuracy:.3f} outside"
        )

    target = summaries.Target(checkpoint_sha256=digest, accuracies=measured)
    documents.write(job.artifact("target"), target, key=job.key, origin=origin)
    return line


def check(settings: Target, data: Data, records: kinds.Records) -> None:
    """Refuse a checkpoint that does not fit its network, or what gives no logits."""
    # Here and below: signals made elsewhere need no MindSpore at all.
    from pipeline.models import checkpoints, devices, extraction, inference, networks

    devices.start("auto")
    n_classes = settings.n_classes or int(records.n_classes)
    network = networks.build(str(settings.network), n_classes, settings.network_args)
    path = Path(str(settings.checkpoint))
    checkpoints.load(network, path, prefix=settings.prefix)
    extractor = inference.extractor(
        network, precision="float32", batch_size=TRIED_BATCH_SIZE
    )
    rows = np.arange(min(N_TRIED, len(records.id)))
    (tried,) = extraction.outputs(extractor, data, records, [rows], ["identity"])
    _, distinct = np.unique(records.content[rows], return_index=True)
    inference.check_scale(tried.logits[distinct], path)


def train(
    job: Job, settings: Target, recipe: Training, records: kinds.Records
) -> summaries.Accuracies:
    """Train the network on the members, save it, and return its accuracies."""
    from pipeline.models import (
        checkpoints,
        devices,
        extraction,
        inference,
        networks,
        training,
    )

    data = job.section(Data)
    name = str(settings.network)
    n_classes = settings.n_classes or int(records.n_classes)
    rows = np.flatnonzero(records.member)
    # Before a user's datasets compute anything: MindSpore 2.7 to 2.9 cannot later.
    devices.start(recipe.device)
    stored = next(sources.blocks(data, [records.id[rows]], [records.content[rows]]))
    batch = preprocessing.batches(data, recipe, stored, devices.resize)

    trainer = training.Trainer(
        lambda: networks.build(name, n_classes, settings.network_args),
        recipe,
        len(rows),
    )
    with cli.progress() as bar:
        total = recipe.epochs * trainer.n_steps
        task = bar.add_task("target", total=total, note="")
        network = trainer.train(
            batch,
            records.label[rows],
            weights=draws.integer(recipe.seed, "target.weights"),
            rng=draws.rng(recipe.seed, "target.order"),
            advance=lambda n, loss: bar.update(
                task, advance=n, note=f"loss {loss:.3f}"
            ),
        )
    checkpoints.save(network, job.folder("target") / CHECKPOINT)

    extractor = inference.extractor(network, precision="float32", batch_size=BATCH_SIZE)
    blocks = shards.row_blocks(len(records.id), BATCH_SIZE)
    outputs = extraction.outputs(extractor, data, records, blocks, ["identity"])
    logits = np.concatenate([block.logits[:, 0] for block in outputs])
    inference.check_scale(logits, "target.network")
    return accuracies(logits.argmax(axis=1), records)


def accuracies(
    predicted: NDArray[np.int64], records: kinds.Records
) -> summaries.Accuracies:
    """Return how often predicted classes are right, of members and of non-members.

    Args:
        predicted: (n_records,) classes.
        records: all of them; a population counts on neither side.
    """
    right = predicted == records.label
    return summaries.Accuracies(
        train_accuracy=float(right[records.member].mean()),
        test_accuracy=float(right[records.nonmember].mean()),
    )


if __name__ == "__main__":
    cli.stage(compute, __doc__)
