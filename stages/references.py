"""Train the references on halves of the records, or check those that are given."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import cli, draws
from pipeline.attacks import coverage
from pipeline.cache import (
    arrays,
    costs,
    documents,
    files,
    keys,
    kinds,
    shards,
    summaries,
)
from pipeline.cache.stages import REFERENCES
from pipeline.cache.stamps import Job
from pipeline.config import Data, OwnTraining, References, Target, Training
from pipeline.data import membership, modules, own, selection, sources, spool
from pipeline.errors import AuditError
from pipeline.findings import controls
from pipeline.findings.schema import Agreement
from pipeline.statistics import units
from pipeline.statistics.units import Units


def compute(job: Job) -> str:
    """Have every reference checked or trained, then write who was trained on what."""
    settings, data = job.section(References), job.section(Data)
    records = arrays.upstream(job, "records", kinds.Records)

    names: list[str] = []
    digests: list[str] = []
    origin: dict[str, str] = {}
    if data.source == "arrays":
        member = given_member(data, records)
        line = f"{len(member)} were run elsewhere"
    elif settings.folder is not None:
        paths = own.checkpoints(Path(settings.folder))
        names = [path.name for path in paths]
        member = own_member(settings, data, records, names)
        digests = own_digests(job, paths, records)
        line = f"{len(names)} of your own fit {job.section(Target).network}"
    else:
        member = selection.halves(
            len(records.id), settings.count, settings.seed, records.shared_unit
        )
        check(member, records)
        names = [checkpoint_name(model) for model in range(len(member))]
        digests, n_trained = trained(job, settings, records, member)
        if names:
            origin = keys.origin("checkpoint", recipe_of(job, settings).device)
        line = f"{n_trained} of {settings.count} trained"

    checkpoints = summaries.Checkpoints(
        file=tuple(names), checkpoint_sha256=tuple(digests)
    )
    documents.write(
        job.folder("references") / REFERENCES, checkpoints, key=job.key, origin=origin
    )
    references = kinds.References(records.id, member)
    path = job.artifact("references")
    arrays.write(path, references, key=job.key, origin=job.origin)
    return line


def given_member(data: Data, records: kinds.Records) -> NDArray[np.bool_]:
    """Return which records the references of a file of arrays were trained on.

    Raises:
        AuditError: if one of them is the target itself.
    """
    signals = sources.signals(data)
    names = [f"model {model}" for model in range(1, len(signals.member))]
    outputs = signals.outputs
    for model, name in enumerate(names, start=1):
        if all(
            np.array_equal(outputs.of(model, rows), outputs.of(0, rows))
            for rows in outputs.blocks()
        ):
            problem = f"has the target's own {signals.kind} as {name}"
            raise AuditError(data.path, problem, "take that model out")
    member = trained_on(signals.member[1:], records)
    remark(names, member, records)
    return member


def trained_on(member: NDArray[np.bool_], records: kinds.Records) -> NDArray[np.bool_]:
    """Return which records references know: those trained on, or a copy of them.

    Args:
        member: (n_models, n_source) which records of the source each was trained on.
        records: that are audited, and their copies.
    """
    known = member[:, records.id]
    copy, original = records.copies.T
    rows = np.searchsorted(records.id, original)
    np.logical_or.at(known.T, rows, member[:, copy].T)
    return known


def remark(names: list[str], member: NDArray[np.bool_], records: kinds.Records) -> None:
    """Note in what references that were not trained here differ from usual ones."""
    audited = ~records.population
    label = records.label[audited]
    for remark in coverage.remarks(names, member[:, audited], label):
        cli.note(f"references {remark}")
    if partly := partly_known(member, records.shared_unit):
        cli.note(
            f"references: {partly} were trained on a part of the records of some unit, "
            "and count as not trained on the rest; draw whole units for them"
        )
    for agreement in agreeing(names, member, records):
        cli.note(
            f"references: the memberships of {agreement.reference} agree with the "
            f"target's for {agreement.agreement:.0%} of the records, which is no "
            "accident"
        )


def partly_known(member: NDArray[np.bool_], unit: Units) -> int:
    """Return how many references were trained on a part of some unit's records.

    Args:
        member: (n_models, n_records) whether a reference was trained on a record.
        unit: (n_records,) or None.
    """
    if unit is None:
        return 0
    groups = units.grouped(unit, len(unit))
    known = (units.totals(groups, of_model) for of_model in member)
    return sum(bool(((n > 0) & (n < groups.size)).any()) for n in known)


def own_member(
    settings: References, data: Data, records: kinds.Records, names: list[str]
) -> NDArray[np.bool_]:
    """Return which records a user's own references were trained on.

    Raises:
        AuditError: if the table of it does not fit.
    """
    path, n_source = own.table(Path(str(settings.folder))), int(records.n_source)
    if path.name == own.NAMED_MEMBERSHIP:
        whole = membership.named(path, data.source, names, n_source)
    else:
        whole = membership.read(path, data.source, len(names), n_source)
    member = trained_on(whole, records)
    remark(names, member, records)
    if records.canary.any():
        cli.note(
            "canaries have wrong labels, by which references of your own must have "
            "been trained too"
        )
    return member


def own_digests(job: Job, paths: list[Path], records: kinds.Records) -> list[str]:
    """Return the digests of a user's own references, if they can be compared with.

    Raises:
        AuditError: if one does not fit the network, or is the target itself.
    """
    # Here and below: signals made elsewhere need no MindSpore at all.
    from pipeline.models import checkpoints, devices, networks

    target = job.section(Target)
    devices.start("auto")
    n_classes = target.n_classes or int(records.n_classes)
    network = networks.of_target(target, n_classes)
    of_target = documents.upstream(job, "target", summaries.Target).checkpoint_sha256
    digests = []
    for path in paths:
        checkpoints.load(network, path, prefix=target.prefix)
        digests.append(files.sha256(path))
        if digests[-1] == of_target:
            fix = f"take it out, and its row out of {own.table(path.parent).name}"
            raise AuditError(path, "is the target itself", fix)
    return digests


def agreeing(
    names: Sequence[str], member: NDArray[np.bool_], records: kinds.Records
) -> tuple[Agreement, ...]:
    """Return the references whose memberships depend on the target's."""
    audited = ~records.population
    control = controls.independence(
        member[:, audited],
        records.member[audited],
        names,
        units.of(records.shared_unit, audited),
    )
    return () if control is None else control.agreeing


def check(member: NDArray[np.bool_], records: kinds.Records) -> None:
    """Refuse halves by which references would be no measure of the target.

    Raises:
        AuditError: if a half lacks a class, or depends on the target's memberships.
    """
    names = [shards.reference_name(model) for model in range(len(member))]
    for agreement in agreeing(names, member, records):
        problem = (
            f"would agree with the target on {agreement.agreement:.0%} of the "
            "memberships, where independent draws agree on about half"
        )
        fix = "change references.seed or data.seed"
        raise AuditError(f"references ({agreement.reference})", problem, fix)
    classes = np.unique(records.label)
    for name, half in zip(names, member, strict=True):
        missing = np.setdiff1d(classes, records.label[half])
        if len(missing):
            problem = f"would be trained without class {missing[0]}"
            fix = "audit more records (data.members), or change references.seed"
            raise AuditError(f"references ({name})", problem, fix)


def trained(
    job: Job,
    settings: References,
    records: kinds.Records,
    member: NDArray[np.bool_],
) -> tuple[list[str], int]:
    """Return the digests of all checkpoints, and how many were trained now."""

    def digest(model: int) -> str | None:
        return whole(job, settings, model, member[model])

    def is_left() -> bool:
        while left and digest(left[-1]) is not None:
            left.pop()
        return bool(left)

    known = [digest(model) for model in range(len(member))]
    missing = [model for model, known_one in enumerate(known) if known_one is None]
    left = missing.copy()
    if missing:
        # Here and below: signals made elsewhere need no MindSpore at all.
        from pipeline.models import launch, ranks

        device = recipe_of(job, settings).device
        seconds = costs.seconds(job, len(missing) / len(member))
        n_ranks = ranks.number(device, len(missing), seconds)
        if ranks.are_used(n_ranks):
            launch.run(job, n_ranks, len(missing), is_left)
        else:
            train(job, settings, records, member, missing)
    for model in missing:
        known[model] = digest(model)
    return [str(each) for each in known], len(missing)


def share(job: Job) -> None:
    """Train the references of a rank's share that are missing."""
    from pipeline.models import ranks

    with ranks.sharing() as rank:
        settings = job.section(References)
        records = arrays.upstream(job, "records", kinds.Records)
        member = selection.halves(
            len(records.id), settings.count, settings.seed, records.shared_unit
        )
        missing = [
            model
            for model in rank.of(range(len(member)))
            if whole(job, settings, model, member[model]) is None
        ]
        train(job, settings, records, member, missing, ranks.finished)


def train(
    job: Job,
    settings: References,
    records: kinds.Records,
    member: NDArray[np.bool_],
    models: list[int],
    finished: Callable[[int], None] | None = None,
) -> None:
    """Train and save references, each with a note of its digest.

    Args:
        job: of the stage.
        settings: of the references.
        records: all of them.
        member: (n_models, n_records) which of them each reference learns.
        models: to be trained.
        finished: told of each that is done, by a rank, which is one of several.
    """
    from pipeline.models import checkpoints, devices, recipes
    from pipeline.models.trainset import TrainingSet

    if not models:
        return
    data, target = job.section(Data), job.section(Target)
    recipe = recipe_of(job, settings)
    n_classes = target.n_classes or int(records.n_classes)
    # Before a user's datasets compute anything: MindSpore 2.7 to 2.9 cannot later.
    if devices.start(recipe.device) == "CPU":
        devices.by_one_thread()
    trainer = recipes.trainer(target, recipe, n_classes)
    folder = job.folder("references")
    stored = spool.stored(data, records.id, records.content, folder)
    with cli.progress() as bar:
        trainings = cli.Trainings(bar, "references", len(models))
        for model in models:
            rows = np.flatnonzero(member[model])
            training_set = TrainingSet(
                data,
                stored,
                rows,
                ids=records.id[rows],
                label=records.label[rows],
                rng=draws.rng(settings.seed, "references.order", model),
                progress=trainings.advance,
            )
            network = trainer.train(
                training_set,
                weights=draws.integer(settings.seed, "references.weights", model),
                seed=draws.integer(settings.seed, "references.recipe", model),
            )
            path = shards.reference_path(job, checkpoint_name(model))
            checkpoints.save(network, path)
            documents.write(
                path.with_suffix(".json"),
                summaries.Checkpoint(checkpoint_sha256=files.sha256(path)),
                key=key_of(job, settings, model, member[model]),
                origin=keys.origin("checkpoint", recipe.device),
            )
            trainings.finished(is_told=finished is None)
            if finished is not None:
                finished(model)
    rate = trainings.rate(int(member[models[0]].sum()))
    # The ranks would write one file, and each has its share of the machine only.
    if rate and finished is None:
        costs.remember_rate(job, rate)


def key_of(job: Job, settings: References, model: int, half: NDArray[np.bool_]) -> str:
    """Return the key of a reference: of what decides it, the others left aside.

    The target's own seed and checkpoint do not decide it.
    """
    recipe, target = recipe_of(job, settings), job.section(Target)
    # Every reference has a seed of its own, and so no use for the recipe's.
    decides = recipe.model_dump(mode="json", exclude={"seed"})
    if isinstance(recipe, OwnTraining):
        decides["recipe"] = modules.portable(recipe.recipe)
    return keys.key(
        "checkpoint",
        settings={
            "recipe": decides,
            "network": modules.portable(str(target.network)),
            "n_classes": target.n_classes,
            **{k: v for k, v in target.chosen.items() if k != "prefix"},
            "seed": settings.seed,
            "model": model,
        },
        inputs={
            "records": job.key_of("records"),
            "network": job.network_files(),
            "training": job.training_files(),
            "half": hashlib.sha256(half.tobytes()).hexdigest(),
        },
        device=recipe.device,
    )


def recipe_of(job: Job, settings: References) -> Training | OwnTraining:
    """Return the recipe of the references: the target's, unless it has none."""
    recipe = job.section(Target).training or settings.training
    assert recipe is not None  # the config sees to it
    return recipe


def checkpoint_name(model: int) -> str:
    """Return the file of a reference that is trained here."""
    return f"{shards.reference_name(model)}.ckpt"


def whole(
    job: Job, settings: References, model: int, half: NDArray[np.bool_]
) -> str | None:
    """Return the digest of a reference's checkpoint if it need not be trained."""
    path = shards.reference_path(job, checkpoint_name(model))
    key = key_of(job, settings, model, half)
    try:
        checkpoint = documents.read(
            path.with_suffix(".json"), summaries.Checkpoint, key=key, fix=""
        )
    except AuditError:
        return None
    digest = checkpoint.checkpoint_sha256
    return digest if path.exists() and files.sha256(path) == digest else None


if __name__ == "__main__":
    cli.stage(compute, __doc__, share)
