"""Report what the attacks found, with a verdict."""

import json
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pipeline import cli
from pipeline.audit import terminal
from pipeline.cache import documents, files, keys, plan, store, tables
from pipeline.config import Report as Settings
from pipeline.data import membership
from pipeline.findings.report import Audited, Inputs, findings
from pipeline.findings.schema import Accuracies, Blind, Search, Target

WIDTH = 80  # columns of report.txt


def compute(job: plan.Job) -> str:
    """Write report.txt, the table of the records, then report.json."""
    settings = job.section(Settings)
    inputs = read(job, settings)
    timings = json.loads((job.folder("attack") / plan.TIMINGS).read_text())

    report, records = findings(inputs, settings)
    text = terminal.text(report, WIDTH)

    folder, origin = job.folder("report"), keys.origin("report")
    files.write_json(folder / plan.TIMINGS, timings)
    tables.write(folder, records, key=job.key)
    files.write_text(folder / plan.TEXT, text)
    documents.write(job.artifact("report"), report, key=job.key, origin=origin)
    print(text)
    return report.verdict.status


def read(job: plan.Job, settings: Settings) -> Inputs:
    """Read all that the report is made from."""
    records = store.upstream(job, "records", store.Records)
    scores = store.upstream(job, "attack", store.Scores)
    reference_member = store.upstream(job, "references", store.References).member
    target = store.upstream_json(job, "target")
    features = store.upstream_json(job, "features")
    blind, of_blind = documents.read_with_origin(
        job.artifact("blind"), Blind, key=job.key_of("blind"), fix=job.remake("blind")
    )
    search, of_attack = documents.read_with_origin(
        job.folder("attack") / plan.SEARCH,
        Search,
        key=job.key_of("attack"),
        fix=job.remake("attack"),
    )
    on_device = {"device": features["device"], "mindspore": features["mindspore"]}

    audited = ~records.population
    return Inputs(
        audit=job.run.name,
        audited=Audited(
            id=scores.id,
            label=scores.label,
            member=scores.member,
            evaluation=scores.evaluation,
            canary=records.canary[audited],
            correct=scores.correct,
            group=groups(settings, records),
            p_value=scores.p_value,
            method=tuple(method.decode() for method in scores.method),
            score=scores.score,
            decision=scores.decision,
        ),
        n_population=int(records.population.sum()),
        n_duplicates_dropped=int(records.duplicates_dropped),
        target=Target(
            train_accuracy=features["train_accuracy"],
            test_accuracy=features["test_accuracy"],
            checkpoint_sha256=target["checkpoint_sha256"],
        ),
        references=tuple(Accuracies(**model) for model in features["references"]),
        reference_names=reference_names(job, len(reference_member)),
        reference_member=reference_member[:, audited],
        search=search,
        blind=blind,
        origins={
            "blind": of_blind,
            "features": {name: on for name, on in on_device.items() if on is not None},
            "attack": of_attack,
        },
    )


def reference_names(job: plan.Job, n_references: int) -> tuple[str, ...]:
    """Return the references' file names, or their numbers if they have no files."""
    listed = files.read_json(
        job.folder("references") / plan.REFERENCES,
        key=job.key_of("references"),
        fix=job.remake("references"),
    )
    return tuple(listed["file"]) or tuple(
        map(store.reference_name, range(n_references))
    )


def groups(settings: Settings, records: store.Records) -> NDArray[Any] | None:
    """Return the user's group of each audited record; None without any."""
    if settings.groups is None:
        return None
    of_source = membership.groups(Path(settings.groups), int(records.n_source))
    of_audited: NDArray[Any] = of_source[records.id[~records.population]]
    return of_audited


if __name__ == "__main__":
    cli.stage(compute, __doc__)
