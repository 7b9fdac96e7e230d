"""Check that a report is what an audit made of its artifacts; 2 if it is not.

REPORT is a file that an audit made, in its place or a copy of it under the same name.
"""

import os
import sys
from pathlib import Path

from rich.console import Console

from pipeline import cli
from pipeline.cache import files, integrity, runs
from pipeline.cache.integrity import Check
from pipeline.errors import AuditError

DIFFERS = 2  # exit code
NAMES = "report.json, report.txt, report.html, report.md, records.csv, records.parquet"


def main() -> None:
    """Print a line for REPORT, and one for each artifact that it was made from."""
    report = Path(os.environ.get("REPORT", ""))
    if not report.name:
        fix = "pass REPORT=artifacts/NAME/report/report.json"
        raise AuditError("REPORT", "is empty", fix)
    file = integrity.file_of(report.name)
    if file is None:
        problem = "has not the name of a file that an audit makes"
        raise AuditError(f"REPORT {report}", problem, f"name one, such as {NAMES}")
    run = folder_of(report)
    if not run.is_dir():
        raise AuditError(run, "is not there", "pass CONFIG=of the audit that made it")

    checks = [
        Check(str(report), against(report, run / file)),
        *integrity.checks(run, file),
    ]
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for check in checks:
        word = "ok" if check.problem is None else "differs"
        console.print(f"{word:8} {check.file}: {check.problem or 'as it was made'}")
    n_wrong = sum(check.problem is not None for check in checks)
    if n_wrong:
        console.print(f"not verified: {n_wrong} of {len(checks)} files differ")
        sys.exit(DIFFERS)
    console.print(f"verified {report}, made from the artifacts in {run}/")


def folder_of(report: Path) -> Path:
    """Return the folder of the audit that a file lies in, else that of CONFIG."""
    run = report.absolute().parent.parent
    if (run / runs.MARK).is_file():
        return report.parent.parent
    return runs.folder(cli.audit()[0])


def against(report: Path, original: Path) -> str | None:
    """Return in what a file differs from that of the audit; None if it does not."""
    if not report.is_file():
        return integrity.GONE
    if not original.is_file():
        return f"{original} is not there to compare it with"
    same = files.sha256(report) == files.sha256(original)
    return None if same else f"differs from {original}"


if __name__ == "__main__":
    cli.run(main)
