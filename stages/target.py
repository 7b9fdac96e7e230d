"""Train the target on the members, or check the checkpoint that is given."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import cli, draws
from pipeline.cache import (
    arrays,
    costs,
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
from pipeline.config import Data, Features, OwnTraining, Target, Training
from pipeline.data import spool

# For the accuracy of a target trained here; it changes no artifact but its last bits.
BATCH_SIZE = 256


def compute(job: Job) -> str:
    """Write target.json, and beside it the checkpoint if it is trained here."""
    settings = job.section(Target)
    records = arrays.upstream(job, "records", kinds.Records)
    # They decide no artifact of this stage, but what its network is tried with.
    features = job.section(Features, "features")

    digest = measured = None
    origin: dict[str, str] = {}
    if settings.network is None:
        line = "was run elsewhere"
    elif settings.checkpoint is not None:
        duration = check(job, settings, features, records)
        digest = digests.checkpoint(Path(settings.checkpoint))
        line = f"{settings.checkpoint} fits {settings.network}, {duration}"
    else:
        assert settings.training is not None  # the config has a checkpoint or a recipe
        measured, duration = train(job, settings, settings.training, records)
        digest = files.sha256(job.folder("target") / CHECKPOINT)
        origin = keys.origin("checkpoint", settings.training.device)
        line = (
            f"accuracy {measured.train_accuracy:.3f} in training, "
            f"{measured.test_accuracy:.3f} outside, {duration}"
        )

    target = summaries.Target(checkpoint_sha256=digest, accuracies=measured)
    documents.write(job.artifact("target"), target, key=job.key, origin=origin)
    return line


def check(
    job: Job,
    settings: Target,
    features: Features,
    records: kinds.Records,
    device: str | None = None,
) -> str:
    """Try the network on a few records, and remember how long they took.

    Args:
        job: of the stage.
        settings: of the target.
        features: how the network will be run.
        records: all of them.
        device: to run on; None for that of `features`.

    Returns:
        How long a pass over all records takes, as a phrase.
    """
    # Here and below: signals made elsewhere need no MindSpore at all.
    from pipeline.models import trial

    rate = trial.tried(settings, job.section(Data), features, records, device)
    costs.remember_rate(job, rate)
    return phrase(rate, len(records.id), len(features.views))


def phrase(rate: costs.Pass, n_records: int, n_views: int) -> str:
    """Return how long a pass over all views of records takes."""
    duration = cli.duration(rate.per_record * n_records * n_views)
    return f"a pass over {n_records:,} records takes about {duration}"


def train(
    job: Job,
    settings: Target,
    recipe: Training | OwnTraining,
    records: kinds.Records,
) -> tuple[summaries.Accuracies, str]:
    """Train the network on the members and save it.

    Returns:
        Its accuracies, and how long a pass over all records takes, as a phrase.
    """
    from pipeline.models import (
        checkpoints,
        devices,
        extraction,
        inference,
        networks,
        recipes,
    )
    from pipeline.models.logits import Logits
    from pipeline.models.trainset import TrainingSet

    data, features = job.section(Data), job.section(Features, "features")
    n_classes = settings.n_classes or int(records.n_classes)

    duration = check(job, settings, features, records, recipe.device)
    if features.mode == "pynative":
        devices.compile_graphs()  # in training, where that can be
    trainer = recipes.trainer(settings, recipe, n_classes)
    rows = np.flatnonzero(records.member)
    ids = records.id[rows]
    folder = job.folder("target")
    stored = spool.stored(data, ids, records.content[rows], folder)
    with cli.progress() as bar:
        trainings = cli.Trainings(bar, "target", 1)
        training_set = TrainingSet(
            data,
            stored,
            np.arange(len(rows)),
            ids=ids,
            label=records.label[rows],
            rng=draws.rng(recipe.seed, "target.order"),
            progress=trainings.advance,
        )
        network = trainer.train(
            training_set,
            weights=draws.integer(recipe.seed, "target.weights"),
            seed=draws.integer(recipe.seed, "target.recipe"),
        )
    if rate := trainings.rate(len(rows)):
        costs.remember_rate(job, rate)
    path = job.folder("target") / CHECKPOINT
    checkpoints.save(network, path)

    # A recipe may have changed more of its network than the parameters.
    network = networks.of_target(settings, n_classes)
    checkpoints.load(network, path)
    extractor = inference.Extractor(
        Logits(network, n_classes, settings.output),
        precision="float32",
        batch_size=BATCH_SIZE,
        mode=features.mode,
    )
    blocks = shards.row_blocks(len(records.id), BATCH_SIZE)
    outputs = extraction.outputs(extractor, data, records, blocks, ["identity"])
    logits = np.concatenate([block.logits[:, 0] for block in outputs])
    inference.check_scale(logits, "target.network")
    return accuracies(logits.argmax(axis=1), records), duration


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
