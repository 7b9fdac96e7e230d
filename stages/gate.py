"""Judge by a report whether a model keeps the limits in [gate]; 2 if it does not.

It reads what the stages have left, and runs none of them. What the report was made by
is compared with the config as it is now; devices and libraries may be others here, and
files of the user's may be elsewhere.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pipeline import cli, config
from pipeline.audit.junit import junit
from pipeline.cache import documents, files, keys, runs, stamps
from pipeline.cache.digests import Digests
from pipeline.cache.stages import STAGES
from pipeline.config import Config
from pipeline.errors import AuditError
from pipeline.findings import gate
from pipeline.findings.gate import Gate, Outcome
from pipeline.findings.schema import Report
from pipeline.texts import visible

STAGE = "report"  # whose artifact is judged
BROKEN = 2  # exit code
NAMED = 3  # changes of a config that are spelt out
RESULT, JUNIT = Path("gate/gate.json"), Path("gate/junit.xml")


def main() -> None:
    """Write gate.json and junit.xml, and print a line for each limit."""
    path, data = cli.audit()
    settings = config.load(path, data)
    run = runs.folder(path)
    runs.claim(run, path)
    runs.hold(run, lambda: cli.note(f"a make is at work in {run}; waiting"))

    arguments = stamps.paths(settings, path, data)["arguments"]
    outcome = judged(run, settings, f"run `make audit {arguments}`")

    limits = settings.gate.model_dump(mode="json")
    decides = {"limits": limits, "report": outcome.report_sha256 or ""}
    documents.write(run / RESULT, outcome, key=keys.digest(decides))
    files.write_text(run / JUNIT, junit(outcome))
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for each in outcome.outcomes:
        allowed = f"{each.limit} = {each.allowed}"
        console.print(f"{each.status:14} {allowed}: {visible(each.text)}")
    for text in outcome.unchecked:
        cli.note(f"{text}: whether it is as in the audit is not known")
    console.print(
        f"gate {'passed' if outcome.passed else 'not passed'} -> {run / RESULT}"
    )
    if not outcome.passed:
        sys.exit(BROKEN)


def judged(run: Path, settings: Config, fix: str) -> Gate:
    """Return what becomes of the limits by the report of an audit.

    Args:
        run: the folder of its artifacts.
        settings: of the audit as they are now.
        fix: the command that makes the report anew.
    """
    report = digest = None
    unchecked: tuple[str, ...] = ()
    outcomes: tuple[Outcome, ...]
    try:
        before, _ = stamps.kept(run, STAGE)
        digests = Digests(runs.digests(run))
        changes, elsewhere = stamps.departures(before, STAGE, settings, digests)
        unchecked = tuple(elsewhere)
        if changes:
            text = f"is of another config: {summed_up(changes)}; {fix}"
            outcomes = (gate.on_report("broken", text),)
        else:
            file = run / STAGES[STAGE].file
            report = documents.read(
                file, Report, key=keys.digest(before[STAGE]), fix=fix
            )
            digest = keys.digest(documents.checked(file, fix))
            limits = gate.judged(report, settings.gate)
            outcomes = (gate.on_report("kept", "is of this config"), *limits)
    except FileNotFoundError:
        outcomes = (gate.on_report("not measurable", f"is not made yet; {fix}"),)
    except ValueError:
        text = f"how it was made is not known; {fix}"
        outcomes = (gate.on_report("not measurable", text),)
    except AuditError as error:
        where, problem, _ = error.args
        outcomes = (gate.on_report("not measurable", f"{where} {problem}; {fix}"),)
    return Gate(
        audit=run.name,
        passed=gate.is_passed(outcomes),
        report_sha256=digest,
        confidence=None if report is None else report.confidence,
        unchecked=unchecked,
        outcomes=outcomes,
    )


def summed_up(changes: Sequence[stamps.Reason]) -> str:
    """Return in what a config has changed, of many changes the first."""
    texts = list(dict.fromkeys(change.text for change in changes))
    more = [f"and {len(texts) - NAMED} more"] if len(texts) > NAMED else []
    return "; ".join([*texts[:NAMED], *more])


if __name__ == "__main__":
    cli.run(main)
