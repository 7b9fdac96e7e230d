"""Check the config, write the stamps, and have make run what no longer holds.

Called by the Makefile with what to make: a stage's name, or "audit" for all of them.
"""

import os
import re
import sys
from pathlib import Path

from pipeline import cli, config
from pipeline.cache import devices, files, runs, stamps
from pipeline.cache.digests import Digests
from pipeline.cache.stages import FULL_TEXT, LAST, PAGE, STAGES

# Variables of make's command line are handed on to a make within; they have been read.
OVERRIDES = re.compile(r"(^|\s)-- .*", re.DOTALL)


def main() -> None:
    """Hold the run's folder, write what decides each artifact, and become make."""
    goal, make = sys.argv[1:]
    path, data = cli.audit()
    run = runs.folder(path)
    digests = Digests(runs.digests(run))
    # A wrong setting or a missing file is found before anything is written.
    stamps.stamps(config.load(path, data), digests)
    if strays := config.strays(path):
        where = "the current folder, as they are not beside the config"
        cli.note(f"files of {', '.join(strays)} are read from {where}")

    runs.claim(run, path)
    runs.hold(run, lambda: cli.note(f"another make is at work in {run}; waiting"))
    settings = devices.resolved(config.load(path, data), runs.devices(run), save=True)
    present = stamps.stamps(settings, digests)

    stamps.write(run, present, stamps.paths(settings, path, data))
    for name in STAGES:
        if stamps.reasons(run, name, present, digests):
            # So that its artifact is older, whatever the times of files say.
            stamps.stamp_path(run, name).touch()
    digests.save()
    rules = run / "stamps" / "rules.mk"
    if not rules.exists() or rules.read_text(encoding="utf-8") != rules_of(run):
        files.write_text(rules, rules_of(run))
    os.environ["PYTHON"] = sys.executable
    flags = os.environ.get("MAKEFLAGS", "")
    os.environ["MAKEFLAGS"] = OVERRIDES.sub("", flags)
    os.execvp(make, [make, "--no-print-directory", "-f", str(rules), goal])


def rules_of(run: Path) -> str:
    """Return the rules by which make runs the stages, each after those upstream."""
    # Of goals and not of a file: so it is shown where nothing was made.
    text = run / "report" / FULL_TEXT
    shown = f'\t@if [ "$$VERBOSE" ]; then cat "{text}"; fi'
    lines = [
        "# Written by stages/run.py from the list of stages.",
        ".DELETE_ON_ERROR:",
        f".PHONY: audit {' '.join(STAGES)}",
        f"audit: {LAST}",
        shown,
        f'\t@echo "the page is {run / LAST / PAGE}"',
    ]
    for name, stage in STAGES.items():
        stamp = stamps.stamp_path(run, name)
        # All of them, in the order of the list: what is quick and may fail is first.
        *upstream, _ = [str(run / STAGES[other].file) for other in stamps.chain(name)]
        lines += [
            f"{name}: {run / stage.file}",
            f"{run / stage.file}: {' '.join([str(stamp), *upstream])}",
            f'\t@"$$PYTHON" -m stages.{name} --stamp {stamp}',
        ]
        if name == "report":
            lines.insert(-2, shown)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    cli.run(main)
