"""Peaks: the time of a command, and the most memory that its processes held."""

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

    Its processes are looked at again and again. What all of them hold for less time
    than lies between two looks may be missed, but not what one of them held before.

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
            sizes = [held(each) for each in session(process.pid)]
            together = sum(now for now, _ in sizes)
            most = max([most, together, *(peak for _, peak in sizes)])
            try:
                process.wait(STEP)
                break
            except subprocess.TimeoutExpired:
                continue
        if process.returncode:
            log.seek(0)
            raise SystemExit(f"bench: `{' '.join(command)}` failed\n{log.read()}")
    seconds = time.perf_counter() - started
    return Peak(seconds, most)


def session(leader: int) -> Iterator[Path]:
    """Yield the folders in /proc of a session's processes."""
    for folder in PROC.glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2]
        except OSError:
            continue  # it has ended
        if int(fields.split()[SESSION]) == leader:
            yield folder


def held(process: Path) -> tuple[int, int]:
    """Return the bytes that a process holds, and the most that it has held.

    Of pages that processes share, the first counts its share alone, the second all.
    The kernel's own figure, ru_maxrss, counts what the process held before it became
    this program, which is what the bench holds.
    """
    names = {"smaps_rollup": "Pss:", "status": "VmHWM:"}
    now, most = (_size(process / file, name) for file, name in names.items())
    return now, most


def _size(path: Path, name: str) -> int:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0  # it has ended
    sizes = [line.split()[1] for line in lines if line.startswith(name)]
    return int(sizes[0]) * KIB if sizes else 0
