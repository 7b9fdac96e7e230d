"""Peaks: the time of a command, and the most memory that its processes held."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

KIB = 1024
STEP = 0.05  # seconds between looks
PROC = Path("/proc")
SESSION = 3  # field of /proc/*/stat after the name in brackets


class Peak(NamedTuple):
    """What a command took."""

    seconds: float
    bytes: int  # of all its processes at once, pages they share counted once


def of(command: list[str], folder: Path, environment: dict[str, str]) -> Peak:
    """Run a command to its end, and return what it took.

    The sum over its processes is looked at again and again, and what is shorter than a
    look may be missed; but never the peak of the largest process, which Linux keeps.

    Raises:
        SystemExit: if the command failed.
    """
    started, most = time.perf_counter(), 0
    with (folder / "command.log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        while True:
            done, status, usage = os.wait4(process.pid, os.WNOHANG)
            if done:
                break
            most = max(most, sum(map(held, session(process.pid))))
            time.sleep(STEP)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            raise SystemExit(f"bench: `{' '.join(command)}` failed\n{log.read()}")
    seconds = time.perf_counter() - started
    return Peak(seconds, max(most, usage.ru_maxrss * KIB))


def session(leader: int) -> Iterator[Path]:
    """Yield the folders in /proc of a session's processes."""
    for folder in PROC.glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2]
        except OSError:
            continue  # it has ended
        if int(fields.split()[SESSION]) == leader:
            yield folder


def held(process: Path) -> int:
    """Return the bytes that a process holds, its share of shared pages among them."""
    try:
        lines = (process / "smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    sizes = [line.split()[1] for line in lines if line.startswith("Pss:")]
    return int(sizes[0]) * KIB if sizes else 0
