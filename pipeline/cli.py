"""CLI: what the stages share at the terminal."""

import argparse
import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from pipeline.cache import runs, stamps
from pipeline.cache.digests import Digests
from pipeline.errors import AuditError

Item = TypeVar("Item")

# What the system says where a folder for scratch files is full or cannot be written.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG)

# Progress and errors go to stderr, results to stdout.
ERRORS = Console(stderr=True, highlight=False, soft_wrap=True)


def stage(compute: Callable[[stamps.Job], str], doc: str | None) -> None:
    """Run a stage as a program: ``--stamp FILE`` in, one line about the outcome out.

    A stage whose artifact still holds is not computed again.

    Args:
        compute: makes the stage's artifact and returns the line.
        doc: of the program, for its help.
    """

    def main() -> None:
        parser = argparse.ArgumentParser(description=doc)
        parser.add_argument("--stamp", type=Path, required=True)
        job = stamps.read(parser.parse_args().stamp)
        artifact = job.artifact(job.stage)
        digests = Digests(runs.digests(job.run))
        if not stamps.reasons(job.run, job.stage, job.stamps, digests):
            artifact.touch()
            print(f"{job.stage:10} as before -> {artifact}")
            return
        line = compute(job)
        stamps.keep(job)
        print(f"{job.stage:10} {line} -> {artifact}")

    run(main)


def run(main: Callable[[], None]) -> None:
    """Run a program; a user's error ends it in one line and exit code 1."""
    try:
        main()
    except AuditError as error:
        _fail(error)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        where, fix = error.filename or "disk", "make room, or set TMPDIR elsewhere"
        _fail(AuditError(where, str(error.strerror), fix))
    except KeyboardInterrupt:
        ERRORS.print("stopped; run make again to go on from here", markup=False)
        sys.exit(128 + signal.SIGINT)


def _fail(error: AuditError) -> None:
    ERRORS.print(f"error: {error}", markup=False)
    sys.exit(1)


def note(text: str) -> None:
    """Tell the user something that is not an error."""
    ERRORS.print(f"note: {text}", markup=False)


def tracked(title: str, items: Iterable[Item], total: int) -> Iterator[Item]:
    """Yield the items, showing a progress bar of them at a terminal."""
    with progress() as bar:
        task = bar.add_task(title, total=total, note="")
        for item in items:
            bar.advance(task)
            yield item


def progress() -> Progress:
    """Return a progress bar that shows a title, a count, a note and the time left."""
    return Progress(
        TextColumn("{task.description:9}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=ERRORS,
        disable=not ERRORS.is_terminal,
    )


class Trainings:
    """A progress bar of several trainings, all of which are taken to be as long.

    Args:
        bar: that shows it.
        title: of the bar.
        n_models: how many there are.
    """

    def __init__(self, bar: Progress, title: str, n_models: int) -> None:
        self._bar, self._title, self._n_models = bar, title, n_models
        self._task = bar.add_task(title, total=None, note="")
        self._models = self._steps = 0
        self._per_model: int | None = None
        self._start = time.perf_counter()

    def advance(self, loss: float | None, total: int | None) -> None:
        """Show a step.

        Args:
            loss: to be shown beside it; None for none.
            total: steps of each model, if known.
        """
        self._steps += 1
        self._per_model = total or self._per_model
        words = [] if loss is None else [f"loss {loss:.3f}"]
        if self._n_models > 1:
            words.insert(0, f"model {self._models + 1} of {self._n_models}")
        whole = self._per_model and self._per_model * self._n_models
        done = self._models * (self._per_model or 0) + self._steps
        self._bar.update(self._task, total=whole, completed=done, note=", ".join(words))

    def finished(self) -> None:
        """Go on to the next model; after the first, say how long all take."""
        self._models += 1
        per_model = self._per_model or self._steps or 1  # a recipe need not tell any
        self._per_model, self._steps = per_model, 0
        whole, done = per_model * self._n_models, per_model * self._models
        self._bar.update(self._task, total=whole, completed=done)
        seconds = time.perf_counter() - self._start
        if self._models == 1 < self._n_models:
            in_all = duration(seconds * self._n_models)
            note(f"{self._title}: {duration(seconds)} each, about {in_all} in all")


def duration(seconds: float) -> str:
    """Return a duration in words, in whole units of the largest that fits."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(seconds, 1):.0f} s"


def audit() -> tuple[Path, str | None]:
    """Return the config and the place of the data that the environment names.

    Make hands its variables on by the environment, where no shell reads their text.

    Raises:
        AuditError: if CONFIG is empty.
    """
    config = os.environ.get("CONFIG", "")
    if not config:
        fix = "pass CONFIG=configs/NAME.toml"
        raise AuditError("CONFIG", "is empty", fix)
    return Path(config), os.environ.get("DATA") or None
