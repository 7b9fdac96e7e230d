"""Report what the attacks found, with a verdict."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pipeline import cli
from pipeline.attacks.growth import Point
from pipeline.audit import terminal
from pipeline.cache import (
    arrays,
    documents,
    files,
    kinds,
    shards,
    summaries,
    tables,
)
from pipeline.cache.stages import FULL_TEXT, PAGE, REFERENCES, SEARCH, TEXT, TIMINGS
from pipeline.cache.stamps import Job
from pipeline.config import About
from pipeline.config import Report as Settings
from pipeline.data import membership
from pipeline.errors import AuditError
from pipeline.findings.report import SCORE, Audited, Inputs, Persons, findings
from pipeline.findings.schema import Blind, Search, Target

WIDTH = 80  # columns of report.txt and full.txt
# Records of which records.csv has scores unless the config says otherwise: of more it
# would be too large for the programs that read CSV.
MOST_CSV_SCORES = 100_000


def compute(job: Job) -> str:
    """Write both texts, the tables of records and units, then report.json."""
    settings = job.section(Settings)
    inputs = read(job, settings)
    timings = timings_of(job)

    report, records, units = findings(inputs, settings)
    folder = job.folder("report")
    text = terminal.screen(
        report,
        WIDTH,
        page=str(job.folder("page") / PAGE),
        full=str(folder / FULL_TEXT),
    )

    if timings is not None:
        documents.write(folder / TIMINGS, timings, key=job.key)
    apart = not_in_csv(records, settings)
    tables.write(folder, tables.RECORDS, records, key=job.key, not_in_csv=apart)
    if units is None:
        tables.remove(folder, tables.UNITS)
    else:
        tables.write(folder, tables.UNITS, units, key=job.key)
    files.write_text(folder / TEXT, text)
    files.write_text(folder / FULL_TEXT, terminal.text(report, WIDTH))
    documents.write(job.artifact("report"), report, key=job.key, origin=job.origin)
    print(text)
    return terminal.outcome(report.verdict)


def not_in_csv(
    records: Mapping[str, NDArray[Any]], settings: Settings
) -> tuple[str, ...]:
    """Return the columns of the table of records that only Parquet has.

    Args:
        records: (n_records,) each column by its name.
        settings: of the report.
    """
    in_csv = settings.csv_scores
    if in_csv is None:
        in_csv = len(records["id"]) <= MOST_CSV_SCORES
    return () if in_csv else tuple(n for n in records if n.startswith(SCORE))


def read(job: Job, settings: Settings) -> Inputs:
    """Read all that the report is made from."""
    records = arrays.upstream(job, "records", kinds.Records)
    scores = arrays.upstream(job, "attack", kinds.Scores)
    reference_member = arrays.upstream(job, "references", kinds.References).member
    target = documents.upstream(job, "target", summaries.Target)
    features, of_features = documents.upstream_with_origin(
        job, "features", summaries.Complete
    )
    blind, of_blind = documents.upstream_with_origin(job, "blind", Blind)
    search, of_attack = documents.upstream_with_origin(job, "attack", Search, SEARCH)

    audited = ~records.population
    return Inputs(
        audit=job.run.name,
        about=job.section(About),
        audited=Audited(
            id=scores.id,
            label=scores.label,
            member=scores.member,
            evaluation=scores.evaluation,
            canary=records.canary[audited],
            correct=scores.correct,
            loss=scores.loss,
            confidence=scores.confidence,
            group=groups(settings, records),
            p_value=scores.p_value,
            method=tuple(method.decode() for method in scores.method),
            score=scores.score,
            decision=scores.decision,
            person=persons(records),
        ),
        n_population=int(records.population.sum()),
        n_duplicates_dropped=int(records.duplicates_dropped),
        n_copies_dropped=int(records.copies_dropped),
        target=Target(
            train_accuracy=features.train_accuracy,
            test_accuracy=features.test_accuracy,
            checkpoint_sha256=target.checkpoint_sha256,
            accuracy_by="predictions" if features.n_classes else "margins",
        ),
        within_classes=features.within_classes,
        contradicted=features.contradicted,
        references=features.references,
        reference_names=reference_names(job, len(reference_member)),
        reference_member=reference_member[:, audited],
        search=search,
        growth=tuple(
            Point(attack.decode(), int(references), score)
            for attack, references, score in zip(
                scores.growth_method,
                scores.growth_references,
                scores.growth_score,
                strict=True,
            )
        ),
        blind=blind,
        origins={
            "blind": of_blind,
            "features": of_features,
            "attack": of_attack,
        },
    )


def reference_names(job: Job, n_references: int) -> tuple[str, ...]:
    """Return the references' file names, or their numbers if they have no files."""
    checkpoints = documents.upstream(
        job, "references", summaries.Checkpoints, REFERENCES
    )
    return checkpoints.file or tuple(map(shards.reference_name, range(n_references)))


def timings_of(job: Job) -> summaries.Timings | None:
    """Read how long the attacks took, which decides nothing; None if that is lost."""
    path = job.folder("attack") / TIMINGS
    try:
        return documents.read(path, summaries.Timings, key=job.key_of("attack"), fix="")
    except AuditError as error:
        where, problem, _ = error.args
        cli.note(f"{where} {problem}: how long the attacks took is not known")
        return None


def groups(settings: Settings, records: kinds.Records) -> NDArray[Any] | None:
    """Return the user's group of each audited record; None without any."""
    if settings.groups is None:
        return None
    of_source = membership.groups(Path(settings.groups), int(records.n_source))
    of_audited: NDArray[Any] = of_source[records.id[~records.population]]
    return of_audited


def persons(records: kinds.Records) -> Persons | None:
    """Return the units of the audited records; None without any."""
    if not len(records.unit):
        return None
    audited = ~records.population
    return Persons(records.unit[audited], records.unit_id, records.unit_member)


if __name__ == "__main__":
    cli.stage(compute, __doc__)
