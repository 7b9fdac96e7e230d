"""CLI: what the stages share at the terminal."""

import argparse
import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table

from pipeline.cache import costs, runs, stamps
from pipeline.cache.digests import Digests
from pipeline.errors import AuditError

Item = TypeVar("Item")

# What the system says where a folder for scratch files is full or cannot be written.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG)

# Progress and errors go to stderr, results to stdout.
# Without emoji: of a function's name, as in mine.py:train, rich would draw a train.
ERRORS = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
WIDE = 10_000  # columns of a table that a program reads
HALF_MINUTE = 30.0  # seconds between lines where there is no bar
SHOWN: list[Progress] = []  # the bars of this process, the innermost last


class Workers(NamedTuple):
    """Who is to do the work, as the environment says; None: the stages decide."""

    jobs: int | None  # processes that fit the learned attacks
    ranks: int | None  # processes on each host that train and run networks
    nodes: int  # hosts
    node_rank: int  # this host among them
    master: str  # address of the first host
    scheduler: str  # address of a Dask cluster, or nothing


def workers() -> Workers:
    """Return who is to do the work.

    Raises:
        AuditError: if a variable of the environment has no such value.
    """
    asked = Workers(
        jobs=_whole("JOBS", 1),
        ranks=_whole("RANKS", 1),
        nodes=_whole("NODES", 1) or 1,
        node_rank=_whole("NODE_RANK", 0) or 0,
        master=os.environ.get("MASTER", ""),
        scheduler=os.environ.get("SCHEDULER", ""),
    )
    if asked.node_rank >= asked.nodes:
        problem = f"is {asked.node_rank}, but NODES is {asked.nodes}"
        raise AuditError("NODE_RANK", problem, "count the hosts from 0")
    if asked.nodes > 1 and not asked.master:
        fix = "pass the address of the host that has NODE_RANK=0"
        raise AuditError("MASTER", "is missing, but NODES is more than 1", fix)
    if asked.nodes > 1 and asked.ranks is None:
        fix = "pass how many processes each host starts, the same on all"
        raise AuditError("RANKS", "is missing, but NODES is more than 1", fix)
    if asked.scheduler and "://" not in asked.scheduler:
        fix = "give the address that `dask scheduler` prints, as tcp://host:8786"
        raise AuditError("SCHEDULER", f"is {asked.scheduler!r}", fix)
    if asked.scheduler and (asked.ranks or asked.nodes > 1):
        problem = "is given beside RANKS or NODES"
        raise AuditError("SCHEDULER", problem, "leave one of them out")
    return asked


def _whole(name: str, least: int) -> int | None:
    """Return a number that the environment gives, if it does."""
    text = os.environ.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise AuditError(name, f"is {text!r}", f"give a whole number >= {least}")
    return int(text)


def stage(
    compute: Callable[[stamps.Job], str],
    doc: str | None,
    share: Callable[[stamps.Job], None] | None = None,
) -> None:
    """Run a stage as a program: ``--stamp FILE`` in, one line about the outcome out.

    A stage whose artifact still holds is not computed again.

    Args:
        compute: makes the stage's artifact and returns the line.
        doc: of the program, for its help.
        share: does the part of a rank, where the program is called with ``--rank``.
    """

    def main() -> None:
        parser = argparse.ArgumentParser(description=doc)
        parser.add_argument("--stamp", type=Path, required=True)
        if share is not None:
            parser.add_argument("--rank", action="store_true")
        arguments = parser.parse_args()
        job = stamps.read(arguments.stamp)
        if share is not None and arguments.rank:
            with pulse(job.stage):
                share(job)
            return
        artifact = job.artifact(job.stage)
        digests = Digests(runs.digests(job.run))
        if not stamps.reasons(job.run, job.stage, job.stamps, digests):
            artifact.touch()
            print(f"{job.stage:10} as before -> {artifact}")
            return
        start = time.perf_counter()
        with pulse(job.stage):
            line = compute(job)
        stamps.keep(job)
        costs.remember(job, time.perf_counter() - start)
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
    with progress() as bars:
        task = bars.add_task(title, total=total, note="")
        for item in items:
            bars.advance(task)
            yield item


@contextmanager
def progress() -> Iterator[Progress]:
    """Show progress bars at a terminal; elsewhere `pulse` prints how far they are."""
    with bars() as shown:
        SHOWN.append(shown)
        try:
            yield shown
        finally:
            SHOWN.remove(shown)


def bars(console: Console = ERRORS) -> Progress:
    """Return progress bars that show a title, a count, a note and the time left.

    A line of them fits 80 columns.

    Args:
        console: that shows them.
    """
    return Progress(
        TextColumn("{task.description:10}"),
        BarColumn(bar_width=None, table_column=Column(min_width=4, max_width=24)),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
    )


@contextmanager
def pulse(title: str, interval: float = HALF_MINUTE) -> Iterator[None]:
    """Print a line at each interval in which no bar is seen.

    Args:
        title: of the work that is done meanwhile.
        interval: in seconds.
    """
    start = time.perf_counter()
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(interval):
            if not (SHOWN and ERRORS.is_terminal):
                line = standing(title, time.perf_counter() - start)
                ERRORS.print(line, markup=False)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def standing(title: str, seconds: float) -> str:
    """Return in a line how far some work is.

    Args:
        title: of the work.
        seconds: since it began.
    """
    parts = [f"{title:10} at work for {duration(seconds)}"]
    tasks = SHOWN[-1].tasks if SHOWN else []
    for task in tasks[-1:]:
        if task.total:
            parts.append(
                f"{task.completed:.0f} of {task.total:.0f} ({task.percentage:.0f}%)"
            )
        parts += [task.fields["note"]] if task.fields["note"] else []
        if task.total and task.completed and task.elapsed is not None:
            left = task.elapsed * (task.total / task.completed - 1)
            parts.append(f"about {duration(left)} left")
    return ", ".join(parts)


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
        self._start = self._last = time.perf_counter()
        self._timed = 0.0  # seconds, of all steps but the first of each model
        self._n_timed = 0
        self._first: float | None = None  # seconds until the first step was made
        self._n_first = 0  # steps of the first model

    def rate(self, n_records: int) -> costs.Step | None:
        """Return what a step takes, the first of each model left out.

        Args:
            n_records: that the first model learned.

        Returns:
            None if too few steps were shown.
        """
        if self._first is None or not self._n_timed:
            return None
        per_step = self._timed / self._n_timed
        steps = self._per_model or self._n_first
        return costs.Step(self._first, per_step, steps / n_records)

    def advance(self, loss: float | None, total: int | None) -> None:
        """Show a step.

        Args:
            loss: to be shown beside it; None for none.
            total: steps of each model, if known.
        """
        self._time()
        self._steps += 1
        self._n_first += not self._models
        self._per_model = total or self._per_model
        words = [] if loss is None else [f"loss {loss:.3f}"]
        if self._n_models > 1:
            words.insert(0, f"model {self._models + 1} of {self._n_models}")
        whole = self._per_model and self._per_model * self._n_models
        done = self._models * (self._per_model or 0) + self._steps
        self._bar.update(self._task, total=whole, completed=done, note=", ".join(words))

    def _time(self) -> None:
        now = time.perf_counter()
        if self._first is None:
            self._first = now - self._start
        elif self._steps:
            self._timed += now - self._last
            self._n_timed += 1
        self._last = now

    def finished(self, *, is_told: bool = True) -> None:
        """Go on to the next model; after the first, say how long all take.

        Args:
            is_told: whether this is said.
        """
        self._models += 1
        per_model = self._per_model or self._steps or 1  # a recipe need not tell any
        self._per_model, self._steps = per_model, 0
        whole, done = per_model * self._n_models, per_model * self._models
        self._bar.update(self._task, total=whole, completed=done)
        seconds = time.perf_counter() - self._start
        if is_told and self._models == 1 < self._n_models:
            in_all = duration(seconds * self._n_models)
            note(f"{self._title}: {duration(seconds)} each, about {in_all} in all")


def duration(seconds: float) -> str:
    """Return a duration in words, in whole units of the largest that fits."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(seconds, 1):.0f} s"


def size(n_bytes: float) -> str:
    """Return a size in words, in the largest unit that fits."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n_bytes >= unit:
            number = n_bytes / unit
            return f"{number:.1f} {name}" if number < 9.95 else f"{number:.0f} {name}"
    return f"{n_bytes:.0f} B"


def show(table: Table) -> None:
    """Print a table; where no terminal is, each row is one line, however long."""
    console = Console(highlight=False, markup=False, emoji=False)
    console.width = console.width if console.is_terminal else WIDE
    console.print(table)


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
