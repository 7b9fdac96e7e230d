"""Run the attacks on the cached features."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from pipeline import cli
from pipeline.attacks import catalogue, roster
from pipeline.attacks.evidence import evidence, together
from pipeline.audit import experiment, search
from pipeline.audit.experiment import Outcome
from pipeline.cache import documents, files, keys, plan, store
from pipeline.config import Attack
from pipeline.data import membership
from pipeline.errors import AuditError
from pipeline.findings import controls, exposure, figures
from pipeline.findings.schema import (
    AttackChoice,
    Candidate,
    Division,
    Learned,
    Null,
    Search,
    Strongest,
)
from pipeline.signals import recalibration


def compute(job: plan.Job) -> str:
    """Write search.json and timings.json, then every attack's scores."""
    settings = job.section(Attack)
    records = store.upstream(job, "records", store.Records)
    split = store.upstream(job, "split", store.Split)
    shard = store.read_features(job)
    told = [memberships(records, side) for side in split.evaluation]
    known = told[0].known

    # Before anything is computed: enough records of either side for every fold, and
    # enough references for every attack.
    search.fold_sides(records.member[known], settings.folds, settings.seed)
    inside = store.upstream(job, "references", store.References).member
    experiment.check(settings, inside[:, ~records.population])
    kept = kept_of(inside, records, known, settings.seed)
    given = all_given(job, settings, records, shard, told[0], inside, kept)
    memory = job.folder("attack") / "fits"
    outcome = experiment.run(settings, given, memory)

    seconds = dict(outcome.seconds)
    started = time.perf_counter()
    side = split.evaluation[0]
    null = null_control(settings, given, outcome, records, side, memory)
    seconds["null control"] = time.perf_counter() - started
    started = time.perf_counter()
    repeats = [measured(outcome, records, told[0])]
    for one in told[1:]:
        other = replace(given, memberships=one)
        again = experiment.run(settings, other, memory, outcome.scored)
        repeats.append(measured(again, records, one))
    seconds["repeats"] = time.perf_counter() - started

    table = Search(
        attacks=tuple(
            AttackChoice(**experiment.described(name, outcome))
            for name in outcome.scored
        ),
        strongest=Strongest(chosen=outcome.strongest, auc_on_attack_train=outcome.auc),
        rmia_slope=given.slope if {*catalogue.RMIA} & {*outcome.scored} else None,
        null=null,
        repeats=tuple(repeats),
        methods=tuple(learned(search.summary(one)) for one in outcome.found),
    )
    documents.write(
        job.folder("attack") / plan.SEARCH,
        table,
        key=job.key,
        origin=keys.origin("attack"),
    )
    files.write_json(job.folder("attack") / plan.TIMINGS, {"seconds": seconds})
    p_value = reference_p_values(given)
    correct = shard.logits[:, 0].argmax(axis=1) == shard.label
    # A million records of many references leave little room for their scores.
    del given, shard
    scores = assembled(records, known, outcome, correct, p_value)
    store.write_arrays(job.artifact("attack"), scores, key=job.key)
    n_candidates = sum(len(one.trials) for one in outcome.found)
    return (
        f"{len(outcome.scored)} attacks, {n_candidates} candidates of "
        f"{len(outcome.found)} learned"
    )


def memberships(
    records: store.Records, evaluation: NDArray[np.bool_]
) -> roster.Memberships:
    """Return what attacks may know: no membership that they are judged by.

    Args:
        records: all of them.
        evaluation: (n_audited,) on the attack-eval side.
    """
    known = np.zeros(len(records.id), dtype=bool)
    known[~records.population] = ~evaluation
    return roster.Memberships(known, records.member & known)


def null_control(
    settings: Attack,
    given: roster.Given,
    outcome: Outcome,
    records: store.Records,
    evaluation: NDArray[np.bool_],
    memory: Path,
) -> Null:
    """Run the attacks on memberships that say nothing, and see what they find.

    Shuffled memberships take the way that real ones take: were those of attack-eval to
    reach an attack, it would find the shuffled ones.
    """
    judged = np.zeros(len(records.id), dtype=bool)
    judged[~records.population] = evaluation
    known = ~judged & ~records.population
    member = controls.shuffled(records.member, (known, judged), settings.seed)
    told = memberships(replace(records, member=member), evaluation)
    other = replace(given, memberships=told)
    scores = experiment.rerun(settings, other, outcome, memory)
    informed = [name for name, one in outcome.scored.items() if one.informed]
    on_eval = {name: score[judged] for name, score in scores.items()}
    return controls.null(on_eval, member[judged], informed)


def measured(
    outcome: Outcome, records: store.Records, told: roster.Memberships
) -> Division:
    """Return how the attacks do on the attack-eval side of one division."""
    judged = ~told.known & ~records.population
    member = records.member[judged]
    return Division(
        strongest=outcome.strongest,
        attacks={
            name: figures.on_division(
                scored.score[judged], outcome.decided[name].decision[judged], member
            )
            for name, scored in outcome.scored.items()
        },
    )


def learned(summary: dict[str, Any]) -> Learned:
    """Return the cross-validation of a learned attack as a record."""
    candidates = tuple(Candidate(**each) for each in summary["candidates"])
    return Learned(**{**summary, "candidates": candidates})


def reference_p_values(given: roster.Given) -> NDArray[np.float64]:
    """Return the p-value of each record among models that were not trained on it."""
    references = given.references
    # A mean of one view would be a copy of all signals.
    one_view = references.shape[2] == 1
    return exposure.reference_p_values(
        given.phi[:, 0],
        references[..., 0] if one_view else references.mean(axis=2),
        ~given.inside & given.kept,
        given.known & ~given.member,
    )


def assembled(
    records: store.Records,
    known: NDArray[np.bool_],
    outcome: Outcome,
    correct: NDArray[np.bool_],
    p_value: NDArray[np.float64],
) -> store.Scores:
    """Return what is kept of the attacks: the scores of the audited records."""
    audited = ~records.population
    shape = len(outcome.scored), int(audited.sum())
    score, reading = np.empty(shape), np.full(shape, np.nan)
    for row, one in enumerate(outcome.scored.values()):
        score[row] = one.score[audited]
        if one.reading is not None:
            reading[row] = one.reading[audited]
    decided = outcome.decided
    return store.Scores(
        id=records.id[audited],
        label=records.label[audited],
        member=records.member[audited],
        evaluation=~known[audited],
        correct=correct[audited],
        p_value=p_value[audited],
        method=np.array(list(outcome.scored), dtype="S"),
        score=score,
        decision=np.stack([decided[name].decision[audited] for name in outcome.scored]),
        reading=reading,
    )


def kept_of(
    inside: NDArray[np.bool_],
    records: store.Records,
    known: NDArray[np.bool_],
    seed: int,
) -> NDArray[np.bool_]:
    """Return which references count on a record, so that their number tells nothing.

    Raises:
        AuditError: if none would be left.
    """
    # All of them, without the room that a million records would take.
    kept = np.broadcast_to(np.True_, inside.shape)
    if not len(inside):
        return kept
    for remark in membership.gaps(inside[:, ~records.population]):
        cli.note(remark)
    if membership.tells(inside[:, known], records.member[known]):
        kept = membership.level(inside, seed) | records.population
        if not kept.any(axis=0).all():
            problem = "are trained on just what the target is not, or just what it is"
            fix = "give references trained on random halves of their own"
            raise AuditError("references", problem, fix)
        cli.note(
            "the number of references trained on a record tells whether the target is: "
            "some are left out at random, as many IN as OUT are kept of every record"
        )
    return kept


def all_given(
    job: plan.Job,
    settings: Attack,
    records: store.Records,
    shard: store.Shard,
    told: roster.Memberships,
    inside: NDArray[np.bool_],
    kept: NDArray[np.bool_],
) -> roster.Given:
    """Return all that attacks may look at."""
    shape = (*inside.shape, shard.margin.shape[1])
    references = np.empty(shape, dtype=shard.margin.dtype)
    used = {*catalogue.AMORTISED} & {*experiment.wanted(settings)}
    recalibrated = np.empty(shape if used else (0, *shape[1:]), dtype=np.float32)
    found = []
    # Block by block into one place: all blocks besides would be as much again.
    for block in store.reference_blocks(job):
        references[:, block.rows] = block.margin
        if used:
            recalibrated[:, block.rows] = block.recalibrated
        own = kept[:, block.rows]
        found.append(evidence(block.margin, block.member & own, ~block.member & own))
    chosen = recalibration.sample(~records.population)
    correction = recalibration.fitted(shard.logits[chosen], shard.label[chosen])
    return roster.Given(
        logits=shard.logits,
        margin=shard.margin,
        recalibrated=recalibration.margin(shard.logits, shard.label, correction),
        label=records.label,
        audited=~records.population,
        memberships=told,
        references=references,
        references_recalibrated=recalibrated,
        inside=inside,
        kept=kept,
        evidence=together(found),
        seed=settings.seed,
        jobs=workers(),
    )


def workers() -> int:
    """Return the number of worker processes: JOBS, or the processors at hand.

    Raises:
        AuditError: if JOBS is not a positive number.
    """
    given = os.environ.get("JOBS") or str(joblib.cpu_count())
    if not given.isdigit() or int(given) < 1:
        raise AuditError("JOBS", f"is {given!r}", "give a whole number >= 1")
    return int(given)


if __name__ == "__main__":
    cli.stage(compute, __doc__)
