"""Train the references: models by the target's recipe on halves of the records."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import cli, datasets, files, plan, preprocessing, selection, store
from pipeline.config import Data, References, Target
from pipeline.errors import AuditError


def compute(job: plan.Job) -> str:
    """Train the references that are missing, then write who was trained on what."""
    settings, data = job.section(References), job.section(Data)
    records = store.upstream(job, "records", store.Records)

    checkpoints: list[str] = []
    if data.source == "arrays":
        member = datasets.signals(data).member[1:, records.id]
        line = f"{len(member)} were run elsewhere"
    else:
        member = selection.halves(len(records.id), settings.count, settings.seed)
        check(member, records.label)
        checkpoints, n_trained = trained(job, settings, records, member)
        line = f"{n_trained} of {settings.count} trained"

    content = {"key": job.key, "checkpoint_sha256": checkpoints}
    files.write_json(job.folder("references") / plan.REFERENCES, content)
    found = store.References(records.id, member)
    store.write_arrays(job.artifact("references"), found, key=job.key)
    return line


def check(member: NDArray[np.bool_], label: NDArray[np.int32]) -> None:
    """Refuse a half that lacks a class: its reference would not be like the target."""
    classes = np.unique(label)
    for model, half in enumerate(member):
        missing = np.setdiff1d(classes, label[half])
        if len(missing):
            name = store.reference_name(model)
            problem = f"would be trained without class {missing[0]}"
            fix = "audit more records (data.members), or change references.seed"
            raise AuditError(f"references ({name})", problem, fix)


def trained(
    job: plan.Job,
    settings: References,
    records: store.Records,
    member: NDArray[np.bool_],
) -> tuple[list[str], int]:
    """Return the digests of all checkpoints, and how many were trained now."""
    known = [whole(job, settings, model) for model in range(len(member))]
    missing = [model for model, digest in enumerate(known) if digest is None]
    if missing:
        for model in train(job, settings, records, member, missing):
            path = checkpoint_path(job, model)
            digest = files.sha256(path)
            content = {"key": key_of(job, settings, model), "checkpoint_sha256": digest}
            files.write_json(path.with_suffix(".json"), content)
            known[model] = digest
    return [str(digest) for digest in known], len(missing)


def train(
    job: plan.Job,
    settings: References,
    records: store.Records,
    member: NDArray[np.bool_],
    missing: list[int],
) -> Any:
    """Train and save references, and yield each that is done."""
    # Signals made elsewhere need no MindSpore at all.
    from pipeline import device, networks

    data, target = job.section(Data), job.section(Target)
    recipe = target.training
    assert recipe is not None  # the config sees to it
    n_classes = target.n_classes or int(records.n_classes)
    images = next(datasets.blocks(data, [records.id], [records.content]))

    def fresh() -> Any:
        return networks.build(str(target.network), n_classes)

    device.start(recipe.device)
    trainers: dict[int, device.Trainer] = {}
    with cli.progress() as bar:
        task = bar.add_task("references", total=None, note="")
        for done, model in enumerate(missing):
            rows = np.flatnonzero(member[model])
            if len(rows) not in trainers:
                trainers[len(rows)] = device.Trainer(fresh, recipe, len(rows))
            trainer = trainers[len(rows)]
            total = recipe.epochs * trainer.n_steps * len(missing)
            bar.update(task, total=total)

            def advance(n: int, loss: float, at: int = done) -> None:
                note = f"model {at + 1} of {len(missing)}, loss {loss:.3f}"
                bar.update(task, advance=n, note=note)

            network = trainer.train(
                preprocessing.batches(data, recipe, images[rows], device.resize),
                records.label[rows],
                selection.model_seed(settings.seed, model),
                advance=advance,
            )
            device.save(network, checkpoint_path(job, model))
            yield model


def key_of(job: plan.Job, settings: References, model: int) -> str:
    """Return the digest of all that decides a reference, the others left aside."""
    return plan.digest({**job.inputs, "seed": settings.seed, "model": model})


def checkpoint_path(job: plan.Job, model: int) -> Path:
    """Return where the checkpoint of a reference lies."""
    return job.folder("references") / f"{store.reference_name(model)}.ckpt"


def whole(job: plan.Job, settings: References, model: int) -> str | None:
    """Return the digest of a reference's checkpoint if it need not be trained."""
    path = checkpoint_path(job, model)
    try:
        record = files.read_json(
            path.with_suffix(".json"), key=key_of(job, settings, model), fix=""
        )
    except AuditError:
        return None
    digest = str(record["checkpoint_sha256"])
    return digest if path.exists() and files.sha256(path) == digest else None


if __name__ == "__main__":
    cli.stage(compute, __doc__)
