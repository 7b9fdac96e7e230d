"""Run the attacks on the cached features."""

import json
import os
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from pipeline import cli
from pipeline.attacks import catalogue, roster
from pipeline.attacks.evidence import evidence, together
from pipeline.audit import experiment, search
from pipeline.audit.experiment import Outcome
from pipeline.cache import arrays, documents, files, keys, kinds, shards
from pipeline.cache.stages import SEARCH, TIMINGS
from pipeline.cache.stamps import Job
from pipeline.config import Attack
from pipeline.data import membership
from pipeline.errors import AuditError
from pipeline.findings import controls, exposure
from pipeline.record import Record
from pipeline.signals import recalibration
from pipeline.statistics import metrics


class Loose(Record):
    """To be replaced by records with fields."""

    model_config = ConfigDict(extra="allow")


# False-positive rates at which repeated divisions are told.
REPEATED_RATES = (0.1, 0.01, 0.001)


def compute(job: Job) -> str:
    """Write search.json and timings.json, then every attack's scores."""
    settings = job.section(Attack)
    records = arrays.upstream(job, "records", kinds.Records)
    split = arrays.upstream(job, "split", kinds.Split)
    shard = shards.target(job)
    told = [memberships(records, side) for side in split.evaluation]
    known = told[0].known

    # Before anything is computed: enough records of either side for every fold, and
    # enough references for every attack.
    search.fold_sides(records.member[known], settings.folds, settings.seed)
    inside = arrays.upstream(job, "references", kinds.References).member
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

    table = {
        "scikit-learn": version("scikit-learn"),
        "attacks": [experiment.described(name, outcome) for name in outcome.scored],
        "strongest": {
            "chosen": outcome.strongest,
            "auc_on_attack_train": outcome.auc,
        },
        "rmia_slope": given.slope if {*catalogue.RMIA} & {*outcome.scored} else None,
        "null": null,
        "repeats": repeats,
        "methods": [search.summary(one) for one in outcome.found],
    }
    documents.write(
        job.folder("attack") / SEARCH,
        Loose.model_validate(json.loads(json.dumps(table))),
        key=job.key,
        origin=keys.origin("attack"),
    )
    files.write_json(job.folder("attack") / TIMINGS, {"seconds": seconds})
    p_value = reference_p_values(given)
    correct = shard.logits[:, 0].argmax(axis=1) == shard.label
    # A million records of many references leave little room for their scores.
    del given, shard
    scores = assembled(records, known, outcome, correct, p_value)
    path, origin = job.artifact("attack"), keys.origin("attack")
    arrays.write(path, scores, key=job.key, origin=origin)
    n_candidates = sum(len(one.trials) for one in outcome.found)
    return (
        f"{len(outcome.scored)} attacks, {n_candidates} candidates of "
        f"{len(outcome.found)} learned"
    )


def memberships(
    records: kinds.Records, evaluation: NDArray[np.bool_]
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
    records: kinds.Records,
    evaluation: NDArray[np.bool_],
    memory: Path,
) -> dict[str, Any]:
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
    outcome: Outcome, records: kinds.Records, told: roster.Memberships
) -> dict[str, Any]:
    """Return how the attacks do on the attack-eval side of one division."""
    judged = ~told.known & ~records.population
    member = records.member[judged]
    found = {}
    for name, one in outcome.scored.items():
        score, decision = one.score[judged], outcome.decided[name].decision[judged]
        found[name] = {
            "auc": metrics.auc(score, member),
            "accuracy": metrics.accuracy(decision, member),
            "precision": metrics.precision(decision, member),
            "recall": metrics.recall(decision, member),
            "tpr_at_fpr": {
                str(rate): metrics.tpr_at_fpr(score, member, rate)
                for rate in REPEATED_RATES
            },
        }
    return {"strongest": outcome.strongest, "attacks": found}


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
    records: kinds.Records,
    known: NDArray[np.bool_],
    outcome: Outcome,
    correct: NDArray[np.bool_],
    p_value: NDArray[np.float64],
) -> kinds.Scores:
    """Return what is kept of the attacks: the scores of the audited records."""
    audited = ~records.population
    shape = len(outcome.scored), int(audited.sum())
    score, reading = np.empty(shape), np.full(shape, np.nan)
    for row, one in enumerate(outcome.scored.values()):
        score[row] = one.score[audited]
        if one.reading is not None:
            reading[row] = one.reading[audited]
    decided = outcome.decided
    return kinds.Scores(
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
    records: kinds.Records,
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
    job: Job,
    settings: Attack,
    records: kinds.Records,
    shard: kinds.Shard,
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
    for block in shards.reference_blocks(job):
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
