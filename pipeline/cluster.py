"""Cluster: the processes of a Dask scheduler, which see this project's folder."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.cache import keys
from pipeline.cache.stages import STAGES
from pipeline.errors import AuditError

WHERE = "SCHEDULER"
PATIENCE = 10.0  # seconds in which a scheduler must answer
# Variables of the Makefile that decide numbers, and what MindSpore prints.
HANDED_ON = ("GLOG_v", "ONEDNN_MAX_CPU_ISA")
START = "start its workers by `dask worker {} --nthreads 1` in {}"


@contextmanager
def connected(address: str, folder: Path) -> Iterator[Any]:
    """Yield a client of a cluster whose workers compute what this process would.

    Args:
        address: of its scheduler.
        folder: of this project, which its workers must see by the same path.

    Raises:
        AuditError: if there is no such cluster, a worker is of another kind, or one
            work ended several workers.
    """
    try:
        import distributed
    except ImportError:
        problem = "needs the package distributed, which is not installed"
        raise AuditError(WHERE, problem, "run `pip install -e '.[cluster]'`") from None
    try:
        client = distributed.Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        problem = f"no Dask scheduler answers at {address} within {PATIENCE:.0f} s"
        fix = "start one by `dask scheduler`, or correct the address"
        raise AuditError(WHERE, problem, fix) from error
    with client:
        check(client, address, folder)
        try:
            yield client
        except distributed.KilledWorker as error:
            problem = "the same work ended several workers one after the other"
            fix = "give them more memory, and see what they say"
            raise AuditError(WHERE, problem, fix) from error


def check(client: Any, address: str, folder: Path) -> None:
    """Refuse workers that would compute something else, or cannot.

    Raises:
        AuditError: naming the first of them.
    """
    fix = START.format(address, folder)
    threads = client.nthreads()
    if not threads:
        raise AuditError(WHERE, f"{address} has no worker", fix)
    for worker, n_threads in threads.items():
        if n_threads != 1:
            # A fit is held to one thread by a switch of its whole process.
            problem = f"worker {worker} does {n_threads} things at once"
            raise AuditError(WHERE, problem, fix)
    for worker, is_seen in client.run(os.path.isdir, str(folder)).items():
        if not is_seen:
            problem = f"worker {worker} does not see {folder}"
            raise AuditError(WHERE, problem, "mount it there by the same path")
    try:
        programs = client.run(program)
    except Exception as error:  # Dask tells of an import that fails by its text alone
        problem = f"a worker does not have this program ({error})"
        raise AuditError(WHERE, problem, fix) from error
    own = program()
    for worker, theirs in programs.items():
        for name, version in own.items():
            if theirs.get(name) != version:
                problem = (
                    f"worker {worker} has {name} {theirs.get(name)}, not {version}"
                )
                raise AuditError(WHERE, problem, fix)


def program() -> dict[str, str]:
    """Return what decides the numbers that a process computes, by name."""
    made = [keys.KINDS[part] for stage in STAGES.values() for part in stage.parts]
    libraries = {keys.ON_DEVICE, *(name for kind in made for name in kind.libraries)}
    versions = {name: keys.installed(name) for name in sorted(libraries)}
    kinds = {name: str(kind.version) for name, kind in keys.KINDS.items()}
    return {"python": platform.python_version(), **versions, **kinds}


def finished(client: Any, futures: Iterable[Any]) -> Iterator[Any]:
    """Yield futures of a client as they are finished."""
    import distributed

    yield from distributed.as_completed(futures, loop=client.loop)


def process(
    folder: str, words: Sequence[str], variables: Mapping[str, str]
) -> tuple[int, str]:
    """Run a program of this project on a worker.

    Args:
        folder: of the project.
        words: after the name of the interpreter.
        variables: of the environment, beside the worker's own.

    Returns:
        Its exit status, and all that it said.
    """
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout
