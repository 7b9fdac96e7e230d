"""Peaks: how long each stage of an audit took, and the most memory that it held."""

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

KIB = 1024
STEP = 0.05  # seconds between looks
PROC = Path("/proc")
STAGE = re.compile(r"-m\0stages\.(\w+)\0--stamp\0")


class Peak(NamedTuple):
    """What a stage took."""

    seconds: float
    bytes: int  # of all its processes at once, pages they share counted once


def of(
    command: list[str], folder: Path, environment: dict[str, str]
) -> dict[str, Peak]:
    """Run a make to its end, and return what each stage took that ran.

    The processes that are at work in the folder are looked at again and again. What all
    of them hold for less time than lies between two looks may be missed, but not what
    one of them held before.

    Raises:
        SystemExit: if the command failed, or no stage was seen.
    """
    found: dict[str, Peak] = {}
    with (folder / "command.log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        stage, started = "", time.perf_counter()
        while process.poll() is None:
            own = [*at_work(folder)]
            running = [name for each in own if (name := stage_of(each))]
            now = time.perf_counter()
            if running and running[0] != stage:
                stage, started = running[0], now
            if running:
                sizes = [held(each) for each in own]
                together = sum(size for size, _ in sizes)
                most = max(together, *(peak for _, peak in sizes))
                before = found.get(stage, Peak(0.0, 0))
                found[stage] = Peak(now - started, max(before.bytes, most))
            time.sleep(STEP)
        if process.returncode:
            log.seek(0)
            raise SystemExit(f"bench: `{' '.join(command)}` failed\n{log.read()}")
    if not found:
        problem = "bench: no stage was seen at work, as processes are seen on Linux"
        raise SystemExit(
            f"{problem}. Fix: have ONLY leave out memory, growth and large."
        )
    return found


def at_work(folder: Path) -> Iterator[Path]:
    """Yield the folders in /proc of the processes whose current folder it is."""
    for process in PROC.glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder:
                yield process
        except OSError:
            continue  # it has ended, or is another user's


def stage_of(process: Path) -> str | None:
    """Return the stage that a process runs, if it runs one."""
    match = STAGE.search(_text(process / "cmdline"))
    return match[1] if match else None


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
    lines = _text(path).splitlines()
    sizes = [line.split()[1] for line in lines if line.startswith(name)]
    return int(sizes[0]) * KIB if sizes else 0


def _text(path: Path) -> str:
    """Return what stands in a file of /proc; nothing if its process has ended."""
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""
