"""Workspace: the folder in which the bench runs audits, by make as a user would."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tests.bench.sizes import Size

PROJECT = Path(__file__).parents[2]
# What the project needs to run in another folder.
LINKED = ("pipeline", "stages", "tests", "Makefile", "pyproject.toml")
# What an outer make, or a user's shell, has set for itself.
OUTER = (
    *("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"),
    *("CONFIG", "DATA", "PYTHON", "VERBOSE"),
    *("RANKS", "NODES", "NODE_RANK", "MASTER", "SCHEDULER"),
)
# As the Makefile sets them; they decide how fast MindSpore is.
LIBRARIES = {"GLOG_v": "4", "ONEDNN_MAX_CPU_ISA": "AVX2"}
SECOND = 1e9  # in nanoseconds


@dataclass(frozen=True)
class Workspace:
    """A folder with the project's code, configs of the bench, and their artifacts."""

    folder: Path
    size: Size
    pairs: int
    images: Path  # folder of CIFAR-100, real or drawn
    rival: str | None  # an interpreter that has MindArmour; None: there is none
    python: str = sys.executable

    def open(self) -> None:
        """Make the folder, unless it is there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in LINKED:
            link = self.folder / name
            if not link.exists():
                link.symlink_to(PROJECT / name)

    def run(self, audit: str) -> Path:
        """Return the folder of an audit's artifacts."""
        return self.folder / "artifacts" / audit

    def config(self, audit: str, text: str) -> None:
        """Write the config of an audit, unless it is that already."""
        path = self.folder / f"{audit}.toml"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")

    def make(self, audit: str, *goals: str, **variables: str) -> float:
        """Make goals of an audit, and return the seconds that it took."""
        started = time.perf_counter()
        checked(self.command(audit, *goals, **variables), self.folder)
        return time.perf_counter() - started

    def command(self, audit: str, *goals: str, **variables: str) -> list[str]:
        """Return the command that makes goals of an audit."""
        words = [f"{name}={value}" for name, value in variables.items()]
        return [
            *("make", *goals, f"PYTHON={self.python}", f"CONFIG={audit}.toml"),
            *words,
        ]

    def forget(self, audit: str, *stages: str) -> None:
        """Remove what stages have made, or all of an audit."""
        run = self.run(audit)
        for path in [run / stage for stage in stages] or [run]:
            shutil.rmtree(path, ignore_errors=True)

    def arrays(self, audit: str, name: str, *fields: str) -> list[NDArray[Any]]:
        """Return arrays of an artifact, whose format artifacts/README.md tells."""
        with h5py.File(self.run(audit) / name, "r") as file:
            return [np.asarray(file[field]) for field in fields]

    def seconds_between_shards(self, audit: str) -> float:
        """Return the seconds from the first shard of the target to the last.

        Start, compilation and the first records read twice come before the first.
        """
        shards = (self.run(audit) / "features" / "target").glob("*.h5")
        times = sorted(path.stat().st_mtime_ns for path in shards)
        return (times[-1] - times[0]) / SECOND


def checked(command: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end.

    Raises:
        SystemExit: with what it said, if it failed.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = " ".join(command)
        raise SystemExit(f"bench: `{words}` failed\n{done.stdout}{done.stderr}")
    return done


def jobs() -> int:
    """Return the worker processes of a search: JOBS, as ours has it, or -1 for all."""
    return int(os.environ.get("JOBS") or -1)


def environment() -> dict[str, str]:
    """Return the environment without what was meant for the bench alone."""
    kept = {name: value for name, value in os.environ.items() if name not in OUTER}
    return {**LIBRARIES, **kept}


def script(interpreter: str, name: str, job: dict[str, Any], folder: Path) -> Any:
    """Run a script of the bench by an interpreter, and return what it found.

    Args:
        interpreter: that runs it.
        name: of the script's module, in this package.
        job: what to do; arrays are handed over by their files' paths.
        folder: to run in: a workspace.
    """
    path = folder / f"{name}.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    command = [interpreter, "-m", f"tests.bench.{name}", path.name]
    done = checked(command, folder)
    return json.loads(done.stdout.splitlines()[-1])
