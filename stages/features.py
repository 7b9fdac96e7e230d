"""Extract the signals of target and references on the audited records, once."""

import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import cli
from pipeline.cache import (
    arrays,
    costs,
    documents,
    keys,
    kinds,
    shards,
    summaries,
)
from pipeline.cache.stages import REFERENCES
from pipeline.cache.stamps import Job
from pipeline.config import Data, Features, Target
from pipeline.data import modules, preprocessing, sources
from pipeline.errors import AuditError
from pipeline.findings import contradiction, numbering, pairing
from pipeline.signals import margins, recalibration

# (model, rows of each block) to (logits, margins) of each block; model 0 is the target.
Source = Callable[
    [int, Sequence[NDArray[np.int64]]],
    Iterator[tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]],
]

LARGEST_HALF = float(np.finfo(np.float16).max)
# The way out of outputs made elsewhere that are not finite.
NOT_FINITE_FIXES = {
    "logits": "correct them; log-probabilities stay finite by log-softmax",
    "margins": "correct them; from logits, log(p / (1 - p)) stays finite",
}


@dataclass(frozen=True)
class Model:
    """The shards of one model."""

    name: str
    title: str  # what messages call it
    outputs: Path  # folder of its logits and margins; a reference's only for a while
    outputs_key: str
    signals: Path  # folder of what is kept of it: of the target, its outputs
    signals_key: str

    @property
    def is_target(self) -> bool:
        """Whether its outputs are kept as they are."""
        return self.outputs == self.signals


def compute(job: Job) -> str:
    """Write the shards that are missing, model by model, then complete.json."""
    settings, data = job.section(Features), job.section(Data)
    records = arrays.upstream(job, "records", kinds.Records)
    member = arrays.upstream(job, "references", kinds.References).member
    blocks = shards.row_blocks(len(records.id), settings.shard_rows)
    models = models_of(job, settings, len(member))
    missing = all_missing(models, len(blocks))
    total = sum(map(len, missing))

    if data.source != "arrays" and total:
        missing = shared_out(job, models, blocks, missing)
    done = extracted(job, records, models, blocks, missing)
    for _ in cli.tracked("features", done, sum(map(len, missing))):
        pass

    complete, origin = summed_up(job, models, len(blocks), records, member)
    documents.write(job.artifact("features"), complete, key=job.key, origin=origin)
    device = f" on {origin[keys.DEVICE]}" if keys.DEVICE in origin else ""
    of_models = f" of {len(models)} models" if len(models) > 1 else ""
    n_shards = len(models) * len(blocks)
    return f"{total} of {n_shards} shards{of_models} extracted{device}"


def shared_out(
    job: Job,
    models: Sequence[Model],
    blocks: Sequence[NDArray[np.int64]],
    missing: list[list[int]],
) -> list[list[int]]:
    """Have ranks extract what is missing, if there are any; return what is left."""
    from pipeline.models import launch, ranks

    def left() -> list[list[int]]:
        return all_missing(models, len(blocks))

    total = sum(map(len, missing))
    n_items = len(missing[0]) + sum(map(bool, missing[1:]))
    seconds = costs.seconds(job, total / (len(models) * len(blocks)))
    n_ranks = ranks.number(job.section(Features).device, n_items, seconds)
    if not ranks.are_used(n_ranks):
        return missing
    launch.run(job, n_ranks, total, lambda: any(left()))
    return left()


def share(job: Job) -> None:
    """Extract the shards of a rank's share that are missing.

    Its share are some shards of the target, and all of some references.
    """
    from pipeline.models import ranks

    with ranks.sharing() as rank:
        settings = job.section(Features)
        records = arrays.upstream(job, "records", kinds.Records)
        member = arrays.upstream(job, "references", kinds.References).member
        blocks = shards.row_blocks(len(records.id), settings.shard_rows)
        target, *references = models_of(job, settings, len(member))
        own = {target.name, *(model.name for model in rank.of(references))}
        of_target = {*rank.of(range(len(blocks)))}
        models = [target, *references]
        missing = [
            [
                index
                for index in missing_blocks(model, len(blocks))
                if not model.is_target or index in of_target
            ]
            if model.name in own
            else []
            for model in models
        ]
        for _ in extracted(job, records, models, blocks, missing, own):
            ranks.finished("a shard")


def extracted(
    job: Job,
    records: kinds.Records,
    models: Sequence[Model],
    blocks: Sequence[NDArray[np.int64]],
    missing: Sequence[Sequence[int]],
    own: Collection[str] | None = None,
) -> Iterator[None]:
    """Write the shards that are missing, and yield at each; references' are condensed.

    Args:
        job: of the stage.
        records: all of them.
        models: all of them.
        blocks: rows of each shard.
        missing: which of them, for each model.
        own: names of the models that are to be made whole; None for all.
    """
    settings, data = job.section(Features), job.section(Data)
    source = arrays_source(data, records)
    if data.source != "arrays" and any(missing):
        source = network_source(job, records)
    origin = origin_of(job, settings)
    for place, (model, wanted) in enumerate(zip(models, missing, strict=True)):
        if own is not None and model.name not in own:
            continue
        outputs = source(place, [blocks[index] for index in wanted])
        for index, output in zip(wanted, outputs, strict=True):
            path = shards.shard_path(model.outputs, index)
            logits = kept(output[0], settings.store, model.title)
            shard = shard_of(records, blocks[index], logits, output[1])
            arrays.write(path, shard, key=model.outputs_key, origin=origin)
            yield
        if not model.is_target:
            if not is_condensed(model, len(blocks)):
                condense(job, model, blocks, ~records.population, origin)
            shutil.rmtree(model.outputs, ignore_errors=True)


# What decides the shards


def models_of(job: Job, settings: Features, n_references: int) -> list[Model]:
    """Return the target and the references, with the keys of their shards.

    A key tells what decides a model's shards and nothing else, so that references can
    be added without another pass of the target.
    """
    checkpoints = documents.upstream(
        job, "references", summaries.Checkpoints, REFERENCES
    )
    target = documents.upstream(job, "target", summaries.Target)
    weights = [target.checkpoint_sha256, *checkpoints.checkpoint_sha256]
    # Models that were run elsewhere are known by their places in the file of arrays,
    # whose digest is in the key of the records.
    weights += [None] * (1 + n_references - len(weights))
    names = [shards.TARGET, *map(shards.reference_name, range(n_references))]
    titles = reference_names(job, n_references)
    section, device = job.section(Target), device_of(job, settings)
    of_all = {
        "features": settings.model_dump(mode="json"),
        "network": modules.portable(str(section.network)),
        "n_classes": section.n_classes,
        **section.chosen,
    }
    inputs = {"records": job.key_of("records"), "network": job.network_files()}
    models = []
    for place, name in enumerate(names):
        model = {**inputs, "model": weights[place] or place}
        outputs_key = keys.key("outputs", settings=of_all, inputs=model, device=device)
        folder = job.folder("features") / name
        if place == 0:
            models.append(
                Model(name, "target", folder, outputs_key, folder, outputs_key)
            )
            continue
        title = f"references ({titles[place - 1]})"
        signals_key = keys.key("signals", settings={}, inputs={"outputs": outputs_key})
        outputs = folder / "outputs"
        models.append(Model(name, title, outputs, outputs_key, folder, signals_key))
    return models


def device_of(job: Job, settings: Features) -> str | None:
    """Return the device that networks run on; None of signals made elsewhere."""
    return None if job.section(Data).source == "arrays" else settings.device


def origin_of(job: Job, settings: Features) -> dict[str, str]:
    """Return what the shards that are made now run on."""
    device = device_of(job, settings)
    return keys.origin("outputs", device) | keys.origin("signals")


# The shards


def is_condensed(model: Model, n_blocks: int) -> bool:
    """Return whether nothing is left to do for a reference."""
    paths = [shards.shard_path(model.signals, index) for index in range(n_blocks)]
    key = model.signals_key
    return all(arrays.is_whole(path, kinds.ReferenceShard, key=key) for path in paths)


def all_missing(models: Sequence[Model], n_blocks: int) -> list[list[int]]:
    """Return the blocks of each model that must be extracted."""
    return [missing_blocks(model, n_blocks) for model in models]


def missing_blocks(model: Model, n_blocks: int) -> list[int]:
    """Return the blocks of a model that must be extracted."""
    if not model.is_target and is_condensed(model, n_blocks):
        return []
    paths = [shards.shard_path(model.outputs, index) for index in range(n_blocks)]
    return [
        index
        for index, path in enumerate(paths)
        if not arrays.is_whole(path, kinds.Shard, key=model.outputs_key)
    ]


def condense(
    job: Job,
    model: Model,
    blocks: Sequence[NDArray[np.int64]],
    audited: NDArray[np.bool_],
    origin: dict[str, str],
) -> None:
    """Sum up a reference's outputs by its signals, which are small.

    Its logits are needed as long as its correction is not known.
    """

    def outputs() -> Iterator[kinds.Shard]:
        for index in range(len(blocks)):
            path, fix = shards.shard_path(model.outputs, index), job.remake("features")
            yield arrays.read(path, kinds.Shard, key=model.outputs_key, fix=fix)

    chosen = recalibration.sample(audited)
    parts = []
    for rows, shard in zip(blocks, outputs(), strict=True):
        own = np.isin(rows, chosen)
        parts.append((shard.logits[own], shard.label[own]))
    logits, label = (np.concatenate(each) for each in zip(*parts, strict=True))
    correction = None  # margins alone cannot be corrected
    if logits.shape[2]:
        if are_given(job):
            check_numbering(model.title, logits[:, 0].argmax(axis=1), label)
        correction = recalibration.fitted(logits, label)
    for index, shard in enumerate(outputs()):
        recalibrated = shard.margin.astype(np.float32)
        if correction is not None:
            recalibrated = recalibration.margin(shard.logits, shard.label, correction)
        signals = kinds.ReferenceShard(
            id=shard.id,
            margin=shard.margin,
            recalibrated=recalibrated,
            correct=margins.right(shard.logits[:, 0], shard.label, shard.margin[:, 0]),
        )
        path = shards.shard_path(model.signals, index)
        arrays.write(path, signals, key=model.signals_key, origin=origin)


def kept(
    logits: NDArray[np.floating[Any]], store: str, title: str
) -> NDArray[np.floating[Any]]:
    """Return logits as they are kept; margins are computed before, and kept exactly.

    Args:
        logits: finite, of any shape.
        store: "exact" or "float16".
        title: of the model, for errors.

    Raises:
        AuditError: if float16 cannot hold one of them.
    """
    if store == "exact":
        return logits
    largest = np.abs(logits).max(initial=0.0)
    if largest > LARGEST_HALF:
        problem = (
            f"has a logit of size {largest:.6g}, and float16 holds none above "
            f"{LARGEST_HALF:.0f}"
        )
        raise AuditError(title, problem, 'set features.store = "exact"')
    return logits.astype(np.float16)


def shard_of(
    records: kinds.Records,
    rows: NDArray[np.int64],
    logits: NDArray[np.floating[Any]],
    margin: NDArray[np.floating[Any]],
) -> kinds.Shard:
    """Return what a model says of these rows as a shard."""
    return kinds.Shard(
        id=records.id[rows], label=records.label[rows], logits=logits, margin=margin
    )


def summed_up(
    job: Job,
    models: Sequence[Model],
    n_blocks: int,
    records: kinds.Records,
    member: NDArray[np.bool_],
) -> tuple[summaries.Complete, dict[str, str]]:
    """Return what the shards show at a glance, and what all of them ran on.

    All of it is read from the shards, so it is the same whenever they were made.

    Raises:
        AuditError: if a shard is bad, or two ran on different things.
    """
    fix, accuracies, origins = job.remake("features"), [], []
    correct = []
    classes: list[NDArray[np.int64]] = []  # that the target puts records into, if known
    for model, trained_on in zip(models, [records.member, *member], strict=True):
        parts = []
        for index in range(n_blocks):
            path, key = shards.shard_path(model.signals, index), model.signals_key
            if model.is_target:
                shard, origin = arrays.read_with_origin(
                    path, kinds.Shard, key=key, fix=fix
                )
                parts.append(
                    margins.right(shard.logits[:, 0], shard.label, shard.margin[:, 0])
                )
                if shard.logits.shape[2]:
                    classes.append(shard.logits[:, 0].argmax(axis=1))
                n_views, n_classes = shard.logits.shape[1:]
            else:
                signals, origin = arrays.read_with_origin(
                    path, kinds.ReferenceShard, key=key, fix=fix
                )
                parts.append(signals.correct)
            origins.append((path, origin))
        right = np.concatenate(parts)
        correct.append(right)
        if model.is_target:
            continue
        accuracies.append(
            summaries.Accuracies(
                train_accuracy=rate(right, trained_on),
                test_accuracy=rate(right, ~trained_on),
            )
        )
    predicted = np.concatenate(classes) if classes else None
    is_given = job.section(Data).source == "arrays" or job.section(Target).checkpoint
    if predicted is not None and is_given:
        check_numbering("target", predicted, records.label)
    check_pairing(job, correct[1:], member)
    plain = ~records.canary
    first, origin = origins[0]
    for path, other in origins:
        if other != origin:
            problem = f"ran on {phrase(other)}, but {first} on {phrase(origin)}"
            raise AuditError(path, problem, f"run `rm -r {path.parent}`, then {fix}")
    complete = summaries.Complete(
        shards=n_blocks,
        shard_rows=job.section(Features).shard_rows,
        records=len(records.id),
        views=n_views,
        n_classes=n_classes,
        folders={model.name: model.signals_key for model in models},
        train_accuracy=float(correct[0][records.member].mean()),
        test_accuracy=float(correct[0][records.nonmember].mean()),
        within_classes=within_classes(predicted, records.label, records.member & plain),
        contradicted=contradiction.contradicted(
            np.stack(correct),
            np.vstack((records.member[None], member)),
            plain & (predicted is not None),  # margins alone tell no predictions
        ),
        references=tuple(accuracies),
    )
    return complete, origin


def within_classes(
    predicted: NDArray[np.int64] | None,
    label: NDArray[np.int32],
    members: NDArray[np.bool_],
) -> float | None:
    """Return the share of members put into a class that some of them has."""
    if predicted is None or not members.any():
        return None
    return float(np.isin(predicted[members], label[members]).mean())


def are_given(job: Job) -> bool:
    """Return whether the references were trained elsewhere."""
    return job.section(Data).source == "arrays" or "folder" in job.paths


def check_numbering(
    title: str, predicted: NDArray[np.int64], label: NDArray[np.int32]
) -> None:
    """Refuse a model whose classes are certainly not numbered as the labels are.

    One that is trained here learned these labels.

    Raises:
        AuditError: if it is refused.
    """
    other = numbering.renumbering(predicted, label)
    if other is None:
        return
    pairs = ", ".join(
        f"output {output} for class {own}" for own, output in other.classes
    )
    problem = (
        f"numbers the classes otherwise than the labels: it is right on "
        f"{other.recall:.0%} of a class in the mean, but on {other.renumbered:.0%} "
        f"with {pairs}"
    )
    raise AuditError(title, problem, "number outputs and labels alike")


def check_pairing(
    job: Job, correct: Sequence[NDArray[np.bool_]], member: NDArray[np.bool_]
) -> None:
    """Refuse references that certainly have other memberships than they are said to.

    Those that are trained here have the right ones.

    Raises:
        AuditError: for the clearest of them.
    """
    if not correct or not are_given(job):
        return
    mispaired, unlearned = pairing.pairing(np.stack(correct), member)
    names = reference_names(job, len(member))
    for model in unlearned:
        right, own = correct[model], member[model]
        cli.note(
            f"references: {names[model]} is right on {rate(right, own):.0%} of the "
            "records that it is said to be trained on and on "
            f"{rate(right, ~own):.0%} of the rest, while the other references clearly "
            "know theirs: it learned little, or was trained on records of another "
            "audit"
        )
    if mispaired is None:
        return
    right, own = correct[mispaired.model], member[mispaired.model]
    if mispaired.fits is None:
        problem = (
            f"is right on {rate(right, own):.0%} of the records that it is said to be "
            f"trained on and on {rate(right, ~own):.0%} of the rest, while the other "
            "references clearly know theirs"
        )
        fix = "give the records that it was trained on, or take it out"
    else:
        other = member[mispaired.fits]
        problem = (
            f"is right on {rate(right, other & ~own):.0%} of the records that only "
            f"{names[mispaired.fits]} is said to be trained on, but on "
            f"{rate(right, own & ~other):.0%} of its own"
        )
        fix = "pair the rows of memberships with the models, see docs/own-models.md"
    raise AuditError(f"references ({names[mispaired.model]})", problem, fix)


def reference_names(job: Job, n_references: int) -> tuple[str, ...]:
    """Return the references' file names, or their places in the file of arrays."""
    checkpoints = documents.upstream(
        job, "references", summaries.Checkpoints, REFERENCES
    )
    return checkpoints.file or tuple(f"model {1 + n}" for n in range(n_references))


def phrase(origin: dict[str, str]) -> str:
    """Return what a shard ran on as a phrase."""
    return ", ".join(f"{name} {value}" for name, value in origin.items())


def rate(right: NDArray[np.bool_], side: NDArray[np.bool_]) -> float | None:
    """Return the share of a side that is right; None if nothing stands on it."""
    return float(right[side].mean()) if side.any() else None


# Where signals come from


def arrays_source(data: Data, records: kinds.Records) -> Source:
    """Return the source of signals made elsewhere."""

    @cache
    def models() -> sources.Signals:
        return sources.signals(data)

    def source(
        model: int, blocks: Sequence[NDArray[np.int64]]
    ) -> Iterator[tuple[NDArray[np.floating[Any]], NDArray[np.float64]]]:
        if not blocks:
            return
        signals = models()
        for rows in blocks:
            ids = records.id[rows]
            block = signals.outputs.of(model, ids)
            wrong = ~np.isfinite(block).all(axis=(1, 2))
            if wrong.any():
                problem = (
                    f"has {signals.kind} that are NaN or infinite: "
                    f"{sources.model_name(model)}, record {ids[wrong][0]}"
                )
                raise AuditError(data.path, problem, NOT_FINITE_FIXES[signals.kind])
            if signals.kind == "margins":
                yield block[..., :0], block[..., 0]
                continue
            label = records.label[rows]
            views = [margins.margin(block[:, v], label) for v in range(block.shape[1])]
            yield block, np.stack(views, axis=1)

    return source


def network_source(job: Job, records: kinds.Records) -> Source:
    """Return the source of signals of networks that run here."""
    # Signals made elsewhere need no MindSpore at all.
    from pipeline.models import extraction, inference
    from pipeline.models.ensemble import Ensemble

    settings, data = job.section(Features), job.section(Data)
    ensemble = Ensemble(job, int(records.n_classes))
    how = preprocessing.member_augmentation(settings, records.member)

    def source(
        model: int, blocks: Sequence[NDArray[np.int64]]
    ) -> Iterator[tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]]:
        if not blocks:
            return
        path = ensemble.load(model)
        shown = extraction.outputs(
            ensemble.extractor, data, records, blocks, settings.views, how
        )
        for place, (rows, block) in enumerate(zip(blocks, shown, strict=True)):
            if place == 0:
                _, distinct = np.unique(records.content[rows], return_index=True)
                inference.check_scale(block.logits[distinct], path)
            yield block

    return source


if __name__ == "__main__":
    cli.stage(compute, __doc__, share)
