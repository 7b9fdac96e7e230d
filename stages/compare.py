"""Compare two audits of the same records: before and after a defence, for instance.

Called by the Makefile, with A and B in the environment: each a folder in artifacts/, a
path to one, or a config. It reads what the stages have left, and runs none of them.
"""

import json
import os
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline import cli
from pipeline.cache import arrays, documents, files, keys, kinds, runs, stamps
from pipeline.cache.stages import STAGES
from pipeline.cache.stamps import Job
from pipeline.errors import AuditError
from pipeline.findings.comparison import Audit, comparison, judged_by_both
from pipeline.findings.schema import Report
from pipeline.pages.comparison import page
from pipeline.texts import visible

STAGE = "report"  # whose artifact, and what it was made from, is compared
RESULT, PAGE = "compare.json", "compare.html"
DIGITS = 12  # of a digest that are shown


def main() -> None:
    """Compare the audits that A and B name, and hold the folder of B meanwhile."""
    first_run, second_run = (folder(name) for name in ("A", "B"))
    lock = runs.hold(
        second_run, lambda: cli.note(f"a make is at work in {second_run}; waiting")
    )
    try:
        write(first_run, second_run)
    finally:
        os.close(lock)


def write(first_run: Path, second_run: Path) -> None:
    """Write compare.json and compare.html into the second run, and print."""
    first, second = read(first_run), read(second_run)
    compared = comparison(first, second)
    place = second_run / "compare" / first.name
    html = page(compared, first, second, judged_by_both(first, second))
    files.write_text(place / PAGE, html)
    reports = {"A": first.report_sha256, "B": second.report_sha256}
    documents.write(place / RESULT, compared, key=keys.digest(reports))
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"A is {visible(first.name)}, B is {visible(second.name)}.")
    console.print(compared.sentence)
    for caveat in compared.caveats:
        cli.note(caveat)
    console.print(f"the page is {visible(str(place / PAGE))}")


def folder(name: str) -> Path:
    """Return the folder of the artifacts that a variable of make names.

    Raises:
        AuditError: if it names none.
    """
    text = os.environ.get(name, "")
    fix = "pass A=NAME B=NAME, folders in artifacts/ or their configs"
    if not text:
        raise AuditError(name, "is missing", fix)
    path = Path(text)
    if path.suffix == ".toml":
        run = runs.folder(path)
        runs.check(run, path)
        places = [run]
    else:
        places = [path, runs.ARTIFACTS / path]
    for place in places:
        if (place / runs.MARK).is_file():
            return place
    raise AuditError(f"{name}={text}", "there are no artifacts of such an audit", fix)


def read(run: Path) -> Audit:
    """Read an audit as its report was made, whatever its config says by now.

    Args:
        run: the folder of its artifacts.

    Raises:
        AuditError: if it is not finished, or an artifact was changed since.
    """
    fix = f"run `{command(run)}`"
    job = job_of(run, fix)
    path = job.artifact(STAGE)
    report = documents.read(path, Report, key=job.key, fix=fix)
    scores = arrays.read(
        job.artifact("attack"), kinds.Scores, key=job.key_of("attack"), fix=fix
    )
    records = arrays.read(
        job.artifact("records"), kinds.Records, key=job.key_of("records"), fix=fix
    )
    settings = job.settings()
    audited = ~records.population
    of_outputs = settings["data"]["source"] == "arrays"
    return Audit(
        name=run.resolve().name,
        report=report,
        report_sha256=keys.digest(documents.checked(path, fix)),
        settings=shown(job, settings),
        id=scores.id,
        label=scores.label,
        member=scores.member,
        content=None if of_outputs else records.content[audited],
        unit=records.unit_id[records.unit[audited]] if len(records.unit) else None,
        evaluation=scores.evaluation,
        correct=scores.correct,
        loss=scores.loss,
        method=tuple(method.decode() for method in scores.method),
        score=scores.score,
        decision=scores.decision,
    )


def job_of(run: Path, fix: str) -> Job:
    """Return the job that has made the report of an audit."""
    try:
        made, _ = stamps.kept(run, STAGE)
    except FileNotFoundError:
        raise AuditError(run, "has no report", fix) from None
    except ValueError:
        path = stamps.made_path(run, STAGE)
        raise AuditError(path, "is corrupt", fix) from None
    return Job(STAGE, run, made, {})


def shown(job: Job, settings: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return settings that may change figures, and the digests of the user's files."""
    sections = {k: v for k, v in settings.items() if k != "about"}
    digests = {
        f"{stage}: {name}": digest[:DIGITS]
        for stage in STAGES
        if stage in job.stamps
        for name, digest in job.stamps[stage]["inputs"]["files"].items()
    }
    return {**sections, "files": digests}


def command(run: Path) -> str:
    """Return the command that makes an audit, as far as it is known."""
    try:
        paths = json.loads((run / "stamps" / "paths.json").read_text(encoding="utf-8"))
        return f"make audit {paths['arguments']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "make audit"


if __name__ == "__main__":
    cli.run(main)
