"""Infer whether records that somebody brings were used in training the target.

Called by the Makefile, with RECORDS in the environment. Nothing of the audit is made
anew: the target and its references run once over the records that it does not know.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from pipeline import cli, config
from pipeline.attacks import coverage, outside
from pipeline.attacks.division import Division, withholding
from pipeline.cache import (
    arrays,
    documents,
    keys,
    kinds,
    runs,
    shards,
    stamps,
    tables,
)
from pipeline.cache.stages import SEARCH
from pipeline.cache.stamps import Job
from pipeline.config import Attack, Data, Features
from pipeline.data import brought, preprocessing, sources
from pipeline.data.brought import Brought
from pipeline.errors import AuditError, LacksError
from pipeline.findings import exposure
from pipeline.findings.inference import WEAK, Inferences, Known, Signs, inference
from pipeline.findings.schema import Report, Search
from pipeline.texts import visible

SEVERAL = 20  # records, of which some would show a sign by chance
STAGE = "report"  # that must be as the config says
RESULT, TABLE = Path("infer/infer.json"), "infer"


class Audit(NamedTuple):
    """What is read of the audit."""

    records: kinds.Records
    scores: kinds.Scores
    division: Division
    in_models: NDArray[np.bool_]  # (n_models, n_records) trained on a record
    kept: NDArray[np.bool_]  # (n_models, n_records) counts there
    attack: str
    slope: float | None  # of RMIA


class Outputs(NamedTuple):
    """What the models say of records that the audit does not know."""

    target: NDArray[np.float32]  # (n_records, n_views) margins, nats
    references: NDArray[np.float32]  # (n_models, n_records, n_views) the same


def main() -> None:
    """Write infer.json and infer.csv, and print a paragraph for each record."""
    path, data = cli.audit()
    records = os.environ.get("RECORDS", "")
    if not records:
        fix = "pass RECORDS=a folder of images with labels.csv, or an .npz file"
        raise AuditError("RECORDS", "is missing", fix)
    run = runs.folder(path)
    runs.check(run, path)
    job = job_of(run, path, data)
    lock = runs.hold(run, lambda: cli.note(f"a make is at work in {run}; waiting"))
    try:
        made = inferred(job, Path(records))
        write(run, job, made)
    finally:
        os.close(lock)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for record in made.records:
        console.print(visible(record.text))
    n_unknown = sum(record.known is None for record in made.records)
    if n_unknown >= SEVERAL:
        cli.note(
            f"if none of these {n_unknown} records had been used, up to "
            f"{WEAK * n_unknown:.0f} of them would show a sign by chance"
        )
    if made.grade == "cannot tell":
        cli.note("the audit came to no verdict, so its scores may show something else")
    console.print(f"infer      {len(made.records)} records -> {run / RESULT}")


def job_of(run: Path, path: Path, data: str | None) -> Job:
    """Return the job that has made the report of an audit.

    Raises:
        AuditError: if the audit is not finished, or not as its config says now.
    """
    settings = config.load(path, data)
    present, digests = stamps.present(settings, run)
    where = stamps.paths(settings, path, data)
    if reasons := stamps.reasons(run, STAGE, present, digests):
        first = reasons[0]
        problem = (
            f"is not finished as its config says now ({first.stage}: {first.text})"
        )
        raise AuditError(run, problem, f"run `make audit {where['arguments']}`")
    return Job(STAGE, run, present, where)


def inferred(job: Job, path: Path) -> Inferences:
    """Return what the models say of the records in a file or folder.

    Args:
        job: of the audit.
        path: of the records.
    """
    data = job.section(Data, "records")
    if data.source == "arrays":
        problem = "is an audit of arrays, whose models ran elsewhere"
        fix = "have them run on the records there, and audit them together"
        raise AuditError(job.run, problem, fix)
    audit = read(job)
    asked = brought.read(path, data, int(audit.records.n_classes))
    content = sources.hashes(*asked.inputs)
    rows = known_rows(audit.records, content)
    signs: dict[int, Signs] = {}
    for place in np.flatnonzero(rows >= 0).tolist():
        signs[place] = of_known(job, audit, asked, place, int(rows[place]))
    unknown = np.flatnonzero(rows < 0)
    if len(unknown):
        outputs = run_models(job, asked, unknown, audit)
        of_unknown = measured(job, audit, asked, unknown, content[unknown], outputs)
        signs |= zip(unknown.tolist(), of_unknown, strict=True)
    report = documents.upstream(job, "report", Report)
    judged = audit.scores.evaluation & ~audit.scores.member
    nonmembers = audit.scores.score[row_of(audit.scores, audit.attack)][judged]
    return Inferences(
        audit=job.run.name,
        grade=report.verdict.grade,
        attack=audit.attack,
        nonmembers=len(nonmembers),
        confidence=report.confidence,
        records=tuple(
            inference(signs[place], nonmembers, report.confidence)
            for place in range(len(rows))
        ),
    )


def read(job: Job) -> Audit:
    """Read what records are compared with.

    Raises:
        AuditError: if the audit ran no attack that such records can be scored by.
    """
    records = arrays.upstream(job, "records", kinds.Records)
    scores = arrays.upstream(job, "attack", kinds.Scores)
    in_models = arrays.upstream(job, "references", kinds.References).member
    search = documents.upstream(job, "attack", Search, SEARCH)
    division = withholding(~records.population, scores.evaluation, records.member)
    seed = job.section(Attack, "attack").seed
    try:
        attack = outside.chosen(search.strongest.auc_on_attack_train)
    except LacksError as error:
        fix = "add one of them to it"
        raise AuditError("attack.attacks", str(error), fix) from error
    return Audit(
        records=records,
        scores=scores,
        division=division,
        in_models=in_models,
        kept=coverage.counting(in_models, division, seed, records.shared_unit)
        if len(in_models)
        else in_models,
        attack=attack,
        slope=search.rmia_slope,
    )


def row_of(scores: kinds.Scores, method: str) -> int:
    """Return the row of an attack's scores."""
    return [name.decode() for name in scores.method].index(method)


def known_rows(
    records: kinds.Records, content: NDArray[np.bytes_]
) -> NDArray[np.int64]:
    """Return the row of each record among those of the audit, -1 where it is none.

    Args:
        records: of the audit.
        content: (n_brought,) hashes of what is brought.
    """
    places = {digest: row for row, digest in enumerate(records.content.tolist())}
    return np.array([places.get(each, -1) for each in content.tolist()], np.int64)


def of_known(job: Job, audit: Audit, asked: Brought, place: int, row: int) -> Signs:
    """Return what the audit says of one of its own records.

    Args:
        job: of the audit.
        audit: what was read of it.
        asked: the records that are brought.
        place: of the record among them.
        row: of the record among those of the audit.
    """
    records, name = audit.records, asked.name[place]
    if asked.label[place] != records.label[row]:
        cli.note(
            f"{name} has the label {records.label[row]} in the audit, not "
            f"{asked.label[place]}: its score is that of the audit's label"
        )
    label = int(records.label[row])
    if records.population[row]:
        return Signs(name, label, "population", of_population(job, audit, row), None)
    known: Known = "member" if records.member[row] else "nonmember"
    own = np.searchsorted(audit.scores.id, records.id[row])
    score = audit.scores.score[row_of(audit.scores, audit.attack), own]
    return Signs(name, label, known, float(score), number(audit.scores.p_value[own]))


def of_population(job: Job, audit: Audit, row: int) -> float:
    """Return the score of a record of the population, which the audit does not keep."""
    blocks = shards.reference_blocks(job)
    block = next(b for b in blocks if b.rows.start <= row < b.rows.stop)
    signals = outside.Signals(
        shards.target_margin(job)[[row]],
        block.margin[:, [row - block.rows.start]],
        ~audit.in_models[:, [row]],
        audit.slope,
    )
    return float(outside.score(audit.attack, signals)[0])


def number(value: float) -> float | None:
    """Return a number; None of NaN, which stands for what is not known."""
    return None if np.isnan(value) else float(value)


def run_models(
    job: Job, asked: Brought, rows: NDArray[np.int64], audit: Audit
) -> Outputs:
    """Run the target and its references on some of the records.

    Raises:
        AuditError: if a checkpoint is gone or has changed, or the records do not fit
            the network.
    """
    from pipeline.models import devices as hardware
    from pipeline.models.ensemble import Ensemble

    data, settings = job.section(Data, "records"), job.section(Features, "features")
    ensemble = Ensemble(job, int(audit.records.n_classes))
    stored, label = sources.at(asked.inputs, rows), asked.label[rows]
    shown = [
        preprocessing.inputs(
            stored,
            data,
            hardware.resize,
            [preprocessing.view(name, len(rows))] * (name != "identity"),
        )
        for name in settings.views
    ]
    margins = []
    for model in cli.tracked(
        "infer", range(1 + len(audit.in_models)), 1 + len(audit.in_models)
    ):
        ensemble.load(model)
        views = [ensemble.extractor(ready, label).margin for ready in shown]
        margins.append(np.stack(views, axis=1))
    references = (
        np.stack(margins[1:])
        if margins[1:]
        else np.empty((0, *margins[0].shape), np.float32)
    )
    return Outputs(margins[0], references)


def measured(
    job: Job,
    audit: Audit,
    asked: Brought,
    rows: NDArray[np.int64],
    content: NDArray[np.bytes_],
    outputs: Outputs,
) -> list[Signs]:
    """Return what the models show of records that the audit does not know.

    As many references count for the score of such a record as for one of the audit's
    non-members, so that its score is as noisy as theirs. All of them tell its p-value.
    """
    sides = audit.kept & ~audit.in_models
    eligible = np.flatnonzero(audit.records.nonmember & audit.division.attack_eval)
    if len(sides):
        eligible = eligible[sides[:, eligible].any(axis=0)]
    # By its content, so that it has the same score beside whichever others.
    places = [int(digest, 16) % len(eligible) for digest in content.tolist()]
    score = outside.score(
        audit.attack,
        outside.Signals(
            outputs.target,
            outputs.references,
            sides[:, eligible[places]],
            audit.slope,
        ),
    )
    p_value = p_values(job, audit, outputs)
    return [
        Signs(
            name=asked.name[row],
            label=int(asked.label[row]),
            known=None,
            score=float(own),
            p_value=number(p),
        )
        for row, own, p in zip(rows, score, p_value, strict=True)
    ]


def p_values(job: Job, audit: Audit, outputs: Outputs) -> list[float]:
    """Return the p-value of each record among models that never saw it.

    Each is put beside the audit's records alone, not beside the others.
    """
    if not len(audit.in_models):
        return [np.nan] * len(outputs.target)
    blocks = list(shards.reference_blocks(job))
    references = np.concatenate([block.margin.mean(axis=2) for block in blocks], axis=1)
    target = shards.target_margin(job).mean(axis=1, dtype=np.float64)
    out = ~audit.in_models & audit.kept
    division = audit.division
    nonmember = np.append(division.attack_train & ~division.member, False)
    everywhere = np.ones((len(out), 1), dtype=bool)
    p_value = []
    for own, of_references in zip(
        outputs.target.mean(axis=1, dtype=np.float64),
        outputs.references.mean(axis=2).T,
        strict=True,
    ):
        together = exposure.reference_p_values(
            np.append(target, own),
            np.column_stack((references, of_references)),
            np.column_stack((out, everywhere)),
            nonmember,
        )
        p_value.append(float(together[-1]))
    return p_value


def write(run: Path, job: Job, made: Inferences) -> None:
    """Write what was inferred as JSON, and as a table."""
    decides = {
        "audit": job.key,
        "records": {record.name: record.label for record in made.records},
    }
    key = keys.digest(decides)
    columns = {
        "name": np.array([record.name for record in made.records]),
        "label": np.array([record.label for record in made.records]),
        "known": np.array([record.known or "" for record in made.records]),
        "score": np.array([record.score for record in made.records]),
        "rate": np.array([record.rate for record in made.records]),
        "rate_low": np.array([record.interval[0] for record in made.records]),
        "rate_high": np.array([record.interval[1] for record in made.records]),
        "p_value": np.array(
            [np.nan if r.p_value is None else r.p_value for r in made.records]
        ),
        "text": np.array([record.text for record in made.records]),
    }
    tables.write(run / RESULT.parent, TABLE, columns, key=key)
    documents.write(run / RESULT, made, key=key)


if __name__ == "__main__":
    cli.run(main)
