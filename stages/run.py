"""Check the config, write the stamps, and have make run what no longer holds.

Called by the Makefile with what to make: a stage's name, or "audit" for all of them.
"""

import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from pipeline import cli, config
from pipeline.cache import devices, files, keys, runs, stamps
from pipeline.cache.digests import Digests
from pipeline.cache.stages import FULL_TEXT, LAST, PAGE, STAGES

# Variables of make's command line are handed on to a make within; they have been read.
OVERRIDES = re.compile(r"(^|\s)-- .*", re.DOTALL)
# The stages whose work is shared out among ranks.
SHARED = ("references", "features")
PATIENCE = 2.0  # seconds between looks at what the first host has done


def main() -> None:
    """Hold the run's folder, write what decides each artifact, and become make."""
    goal, make = sys.argv[1:]
    path, data = cli.audit()
    run = runs.folder(path)
    workers = cli.workers()
    if workers.node_rank:
        assist(goal, path, data)
        return
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


def assist(goal: str, path: Path, data: str | None) -> None:
    """Do this host's share of what the first host has ranks do, each stage in turn.

    The first host alone writes stamps and artifacts.
    """
    # It does not import MindSpore itself.
    from pipeline.models import launch

    run, n_ranks = runs.folder(path), cli.workers().ranks or 1
    wanted = STAGES if goal == "audit" else stamps.chain(goal)
    for name in filter(wanted.__contains__, SHARED):
        is_told = False
        while True:
            present, digests = stamps.present(config.load(path, data), run)
            chain = stamps.chain(name)
            held = [not stamps.reasons(run, n, present, digests) for n in chain]
            if all(held):
                break
            if all(held[:-1]) and is_written(run, name, present):
                job = stamps.read(stamps.stamp_path(run, name))
                launch.run(job, n_ranks, 0, lambda: False)
                print(f"{name:10} the share of this host is done by {n_ranks} ranks")
                break
            if not is_told:
                cli.note(f"{name}: waiting for the first host")
                is_told = True
            time.sleep(PATIENCE)


def is_written(run: Path, name: str, present: Mapping[str, stamps.Stamp]) -> bool:
    """Return whether the first host has begun with what this one sees."""
    path = stamps.stamp_path(run, name)
    text = keys.canonical(present[name])
    return path.exists() and path.read_text(encoding="utf-8") == text


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
