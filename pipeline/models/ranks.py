"""Ranks: the processes among which the models of an audit are shared out.

MindSpore's own launcher starts them, on this host and on others. They exchange nothing:
each writes files that no other writes, and the stage that had them started puts these
together. So the number of ranks decides nothing, and a run that was stopped goes on
with another number of them.
"""

import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from pipeline import cli
from pipeline.cache.devices import N_LOCAL, nodes

Item = TypeVar("Item")

# Seconds of work from which on several processes pay on a CPU, each of which takes some
# seconds to start and to compile its graph.
LONG = 30.0
MEMORY = 2_000_000_000  # bytes that a process should have for itself on a CPU
DONE = "done: "  # what the line of a rank begins with that has finished an item
ENDED = "ended"  # the line of one that has finished its share
# Variables by which the launcher tells MindSpore of other processes.
OF_LAUNCHER = re.compile(
    "RANK_ID|RANK_SIZE|MS_(ROLE|NODE_ID|WORKER_NUM|SCHED_.*|TOPO_.*)"
)


class Rank(NamedTuple):
    """A process among those that share the work."""

    number: int
    size: int

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Return the items that are this rank's: every one is some rank's."""
        return list(items[self.number :: self.size])


def number(device: str, n_items: int, seconds: float | None) -> int:
    """Return how many ranks this host is to start; 1 for none.

    Args:
        device: that networks run on.
        n_items: that are to be done.
        seconds: that they would take one after the other; None: not known.

    Raises:
        AuditError: as `cli.workers`.
    """
    workers = cli.workers()
    if workers.nodes > 1:
        return workers.ranks or 1
    if workers.scheduler:
        return n_items  # as many as its workers are good for
    if workers.ranks is not None:
        return max(min(workers.ranks, n_items), 1)
    if device == "CPU":
        is_long = seconds is not None and seconds >= LONG
        n_usual = min(len(processors()), memory() // MEMORY) if is_long else 1
    else:
        n_usual = len(accelerators()) if device == "Ascend" else 1
    return max(min(n_usual, n_items), 1)


def are_used(n_ranks: int) -> bool:
    """Return whether ranks do the work, on this host or on several."""
    workers = cli.workers()
    return n_ranks > 1 or workers.nodes > 1 or bool(workers.scheduler)


def processors() -> list[int]:
    """Return the processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def memory() -> int:
    """Return the bytes of memory that are free; many where the system does not say."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return sys.maxsize
    free = re.search(r"^MemAvailable: *(\d+) kB", text, re.MULTILINE)
    return int(free[1]) * 1024 if free else sys.maxsize


def accelerators() -> list[str]:
    """Return the NPUs that a process here may use."""
    shown = os.environ.get("ASCEND_RT_VISIBLE_DEVICES")
    if shown is not None:
        return [name for name in shown.split(",") if name.strip()]
    return [str(node) for node in nodes("davinci[0-9]*")]


# A rank


@contextmanager
def sharing() -> Iterator[Rank]:
    """Yield which rank this process is, held to its share of the processors."""
    threading.Thread(target=end_with, args=[os.getppid()], daemon=True).start()
    local, n_local = os.environ.get("DEVICE_ID"), os.environ.get(N_LOCAL)
    if local and n_local and hasattr(os, "sched_setaffinity"):
        # Small steps hand over between threads, which is slow where processes take the
        # processors from each other.
        share = processors()[int(local) :: int(n_local)]
        os.sched_setaffinity(0, share or processors())
    rank = Rank(int(os.environ["RANK_ID"]), int(os.environ["RANK_SIZE"]))
    # To MindSpore it is a process on its own, with nobody to wait for.
    for name in [*filter(OF_LAUNCHER.fullmatch, os.environ)]:
        del os.environ[name]
    yield rank
    _say(ENDED)


def end_with(parent: int) -> None:
    """End this process when the one that started it has ended, however it did."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def finished(item: object) -> None:
    """Tell the stage that a rank has finished an item of its share."""
    _say(f"{DONE}{item}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
