"""Run the attacks on the cached features."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
from numpy.typing import NDArray

from pipeline import cli
from pipeline.attacks import catalogue, coverage, growth, rmia, thresholds
from pipeline.attacks.division import Division, withholding
from pipeline.attacks.evidence import evidence, together
from pipeline.attacks.view import View, unknown
from pipeline.audit import experiment, search
from pipeline.audit.experiment import Outcome, Runner
from pipeline.audit.memo import Memo
from pipeline.cache import arrays, documents, kinds, shards, summaries
from pipeline.cache.scratch import Scratch
from pipeline.cache.stages import SEARCH, TIMINGS
from pipeline.cache.stamps import Job
from pipeline.config import Attack
from pipeline.errors import AuditError
from pipeline.findings import controls, exposure, figures, schema
from pipeline.signals import margins, recalibration
from pipeline.signals.stored import OfViews, Stored
from pipeline.statistics import units
from pipeline.statistics.units import Units


def compute(job: Job) -> str:
    """Write search.json and timings.json, then every attack's scores."""
    with tempfile.TemporaryDirectory() as scratch:
        scores, line = attacked(job, Path(scratch))
    arrays.write(job.artifact("attack"), scores, key=job.key, origin=job.origin)
    return line


def attacked(job: Job, scratch: Path) -> tuple[kinds.Scores, str]:
    """Run the attacks, and return what they say, and a line about it.

    Args:
        job: of the stage.
        scratch: an empty folder for what is too large for memory.
    """
    settings = job.section(Attack)
    records = arrays.upstream(job, "records", kinds.Records)
    split = arrays.upstream(job, "split", kinds.Split)
    signals = target_signals(job, len(records.id), scratch)
    division, *others = (
        withholding(~records.population, evaluation, records.member)
        for evaluation in split.evaluation
    )

    # Before anything is computed: enough records of either side for every fold, and
    # enough references for every attack.
    train = division.member[division.attack_train]
    unit = records.shared_unit
    of_train = units.of(unit, division.attack_train)
    search.fold_sides(train, settings.folds, settings.seed, of_train)
    in_models = arrays.upstream(job, "references", kinds.References).member
    lacking = unknown(signals.logits, records.label)
    experiment.check(settings, in_models[:, ~records.population], lacking)
    kept = kept_of(in_models, division, settings.seed, unit)
    view = view_of(
        job, settings, signals, records.label, division, in_models, kept, unit, scratch
    )
    memory, runner = job.folder("attack") / "fits", Memo(job).score
    outcome = experiment.run(settings, view, memory, runner=runner)

    seconds = dict(outcome.seconds)
    started = time.perf_counter()
    null = null_control(
        settings, view, outcome, records.member, division, memory, runner
    )
    seconds["null control"] = time.perf_counter() - started
    started = time.perf_counter()
    repeats = [measured(outcome, records.member, division)]
    for other in others:
        repeated = view.divided(other)
        again = experiment.run(settings, repeated, memory, outcome.scored, runner)
        repeats.append(measured(again, records.member, other))
    seconds["repeats"] = time.perf_counter() - started
    started = time.perf_counter()
    points = grown(settings, view, outcome, division, runner)
    seconds["growth"] = time.perf_counter() - started

    uses_slope = {*catalogue.RMIA} & {*outcome.scored}
    table = schema.Search(
        attacks=tuple(experiment.described(name, outcome) for name in outcome.scored),
        strongest=schema.Strongest(
            chosen=outcome.strongest, auc_on_attack_train=outcome.auc
        ),
        rmia_slope=rmia.slope(view) if uses_slope else None,
        fitted=int(view.fitted.sum()),
        null=null,
        repeats=tuple(repeats),
        methods=tuple(map(search.summary, outcome.learned)),
    )
    folder = job.folder("attack")
    documents.write(folder / SEARCH, table, key=job.key, origin=job.origin)
    timings = summaries.Timings(seconds=seconds)
    documents.write(folder / TIMINGS, timings, key=job.key)
    p_value = reference_p_values(view)
    responses = responses_of(view)
    # A million records of many references leave little room for their scores.
    del view
    scores = assembled(records, division, outcome, responses, p_value, points)
    n_candidates = sum(len(choice.trials) for choice in outcome.learned)
    line = (
        f"{len(outcome.scored)} attacks, {n_candidates} candidates of "
        f"{len(outcome.learned)} learned"
    )
    return scores, line


def null_control(
    settings: Attack,
    view: View,
    outcome: Outcome,
    member: NDArray[np.bool_],
    division: Division,
    memory: Path,
    runner: Runner,
) -> schema.Null:
    """Run the attacks on shuffled memberships, which no attack can infer.

    The shuffled memberships are withheld by the same function as the real ones: if an
    attack saw those of attack-eval, it would score far better than chance here.

    Args:
        settings: of the attacks.
        view: of the first run.
        outcome: of the first run.
        member: (n_records,) all memberships.
        division: of the first run.
        memory: folder of the fits that are kept.
        runner: of attacks that are not learned.
    """
    attack_eval = division.attack_eval
    parts = division.attack_train, attack_eval
    shuffled = controls.shuffled(member, parts, settings.seed, view.unit)
    evaluation = attack_eval[division.audited]
    null = withholding(division.audited, evaluation, shuffled)
    scores = experiment.rerun(settings, view.divided(null), outcome, memory, runner)
    informed = [name for name, scored in outcome.scored.items() if scored.informed]
    on_eval = {name: score[attack_eval] for name, score in scores.items()}
    judged = units.of(view.unit, attack_eval)
    return controls.null(on_eval, shuffled[attack_eval], informed, judged)


def measured(
    outcome: Outcome, member: NDArray[np.bool_], division: Division
) -> schema.Division:
    """Return how the attacks do on the attack-eval side of a division.

    Args:
        outcome: of the attacks on it.
        member: (n_records,) all memberships.
        division: of the records.
    """
    judged = division.attack_eval
    return schema.Division(
        strongest=outcome.strongest,
        attacks={
            name: figures.on_division(
                scored.score[judged],
                outcome.decided[name].decision[judged],
                member[judged],
            )
            for name, scored in outcome.scored.items()
        },
    )


def grown(
    settings: Attack, view: View, outcome: Outcome, division: Division, runner: Runner
) -> list[growth.Point]:
    """Return what attacks say of attack-eval by fewer references, attack by attack."""
    if not settings.growth:
        return []
    names = growth.attacks(tuple(outcome.scored), outcome.strongest)
    # The other records' scores are let go at once: of a million they are large.
    points = [
        point._replace(score=point.score[division.attack_eval])
        for point in growth.points(view, names, runner)
    ]
    return sorted(points, key=lambda point: names.index(point.attack))


class Responses(NamedTuple):
    """How the target responds to the first view of each record."""

    correct: NDArray[np.bool_]  # (n_records,) puts it into its class
    loss: NDArray[np.float64]  # (n_records,) nats
    # (n_records,) probability of the class it puts it into; NaN: only margins are known
    confidence: NDArray[np.float64]


def responses_of(view: View) -> Responses:
    """Return how the target responds, from its signals."""
    margin = view.margin[:, 0]
    if "logits" in view.unknown:
        correct, confidence = margin > 0, np.full(len(margin), np.nan)
    else:
        correct = view.by_logits(thresholds.correctness) > 0
        confidence = view.by_logits(lambda logits, _: margins.confidence(logits))
    return Responses(correct, margins.loss(margin), confidence)


def reference_p_values(view: View) -> NDArray[np.float64]:
    """Return the p-value of each record among models that were not trained on it."""
    references = view.references
    return exposure.reference_p_values(
        view.phi[:, 0],
        OfViews(references, lambda margin: margin.mean(axis=-1), references.shape[:2]),
        view.out_models,
        view.attack_train & ~view.member,
    )


def assembled(
    records: kinds.Records,
    division: Division,
    outcome: Outcome,
    responses: Responses,
    p_value: NDArray[np.float64],
    points: Sequence[growth.Point],
) -> kinds.Scores:
    """Return what is kept of the attacks: the scores of the audited records."""
    audited = division.audited
    n_audited = int(audited.sum())
    score = np.empty((len(outcome.scored), n_audited))
    for row, scored in enumerate(outcome.scored.values()):
        score[row] = scored.score[audited]
    readings = {
        name: scored.reading[audited]
        for name, scored in outcome.scored.items()
        if scored.reading is not None
    }
    decided = outcome.decided
    return kinds.Scores(
        id=records.id[audited],
        label=records.label[audited],
        member=records.member[audited],
        evaluation=division.attack_eval[audited],
        correct=responses.correct[audited],
        loss=responses.loss[audited],
        confidence=responses.confidence[audited],
        p_value=p_value[audited],
        method=np.array(list(outcome.scored), dtype="S"),
        score=score,
        decision=np.stack([decided[name].decision[audited] for name in outcome.scored]),
        reading_method=np.array(list(readings), dtype="S"),
        reading=np.array(list(readings.values())).reshape(len(readings), n_audited),
        growth_method=np.array([point.attack for point in points], dtype="S"),
        growth_references=np.array(
            [point.references for point in points], dtype=np.int64
        ),
        growth_score=np.array([point.score for point in points]).reshape(
            len(points), int(division.attack_eval.sum())
        ),
    )


def kept_of(
    in_models: NDArray[np.bool_],
    division: Division,
    seed: int,
    unit: Units = None,
) -> NDArray[np.bool_]:
    """Return which references count on a record, so that their number reveals nothing.

    Args:
        in_models: (n_models, n_records) whether a reference was trained on a record.
        division: of the records.
        seed: of the config, for the references that are left out.
        unit: (n_records,) or None.

    Returns:
        (n_models, n_records).

    Raises:
        AuditError: if none would be left.
    """
    if not len(in_models):
        return in_models
    for remark in coverage.gaps(in_models[:, division.audited]):
        cli.note(remark)
    kept = coverage.counting(in_models, division, seed, unit)
    if kept.all():
        return kept
    if not kept.any(axis=0).all():
        problem = "are trained on just what the target is not, or just what it is"
        fix = "give references trained on random halves of their own"
        raise AuditError("references", problem, fix)
    cli.note(
        "the number of references trained on a record tells whether the target is: "
        "some are left out at random, as many IN as OUT are kept of every record"
    )
    return kept


class TargetSignals(NamedTuple):
    """The target's signals, its logits in a file."""

    logits: Stored  # (n_records, n_views, n_classes)
    margin: NDArray[np.floating[Any]]  # (n_records, n_views) nats


def target_signals(job: Job, n_records: int, scratch: Path) -> TargetSignals:
    """Read the target's signals, block by block."""
    logits: Scratch | None = None
    margin = []
    for rows, shard in shards.target_blocks(job):
        if logits is None:
            shape = n_records, *shard.logits.shape[1:]
            logits = Scratch(scratch / "logits", shape, shard.logits.dtype)
        logits.put(shard.logits, rows.start)
        margin.append(shard.margin)
    assert logits is not None, "an audit has records"
    return TargetSignals(logits, np.concatenate(margin))


def view_of(
    job: Job,
    settings: Attack,
    signals: TargetSignals,
    label: NDArray[np.int32],
    division: Division,
    in_models: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    unit: Units,
    scratch: Path,
) -> View:
    """Return all that attacks may look at; what is large lies in the folder."""
    logits, margin = signals
    shape = (*in_models.shape, margin.shape[1])
    references = Scratch(scratch / "references", shape, margin.dtype)
    has_logits = bool(logits.shape[2])
    used = has_logits and any(
        catalogue.ATTACKS[name].recalibrated for name in experiment.wanted(settings)
    )
    shape = shape if used else (0, *shape[1:])
    recalibrated = Scratch(scratch / "recalibrated", shape, np.dtype(np.float32))
    of_blocks = []
    for block in shards.reference_blocks(job):
        for model in range(len(in_models)):
            references.put(block.margin[model], model, block.rows.start)
            if used:
                recalibrated.put(block.recalibrated[model], model, block.rows.start)
        counts = kept[:, block.rows]
        sides = block.member & counts, ~block.member & counts
        of_blocks.append(evidence(block.margin, *sides))
    of_target = margin
    if has_logits:
        chosen = recalibration.sample(division.audited)
        correction = recalibration.fitted(logits[chosen], label[chosen])
        of_target = recalibration.margin(logits, label, correction)
    return View(
        logits=logits,
        margin=margin,
        recalibrated=of_target,
        label=label,
        audited=division.audited,
        division=division,
        references=references,
        references_recalibrated=recalibrated,
        in_models=in_models,
        kept=kept,
        evidence=together(of_blocks),
        seed=settings.seed,
        jobs=cli.workers().jobs or joblib.cpu_count(),
        unit=unit,
        max_fit=settings.max_fit,
    )


if __name__ == "__main__":
    cli.stage(compute, __doc__)
