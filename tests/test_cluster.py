"""Work that is done by the workers of a Dask scheduler, started here on loopback."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest

from pipeline import cluster
from pipeline.audit import pool
from pipeline.cache import keys
from pipeline.errors import AuditError
from tests.conftest import PROJECT, Checkout
from tests.test_make import bytes_of


def started(
    words: list[str], folder: Path, path: Path = PROJECT
) -> "subprocess.Popen[bytes]":
    """Start one of Dask's programs, which imports the project from this path."""
    program, *options = words
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.{program}", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


WORKER = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler that has two workers."""
    folder = tmp_path_factory.mktemp("cluster")
    file = folder / "scheduler.json"
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    processes = [
        started(["dask_scheduler", *options, "--scheduler-file", str(file)], folder)
    ]
    while not file.exists():
        assert processes[0].poll() is None
        time.sleep(0.05)
    found = str(json.loads(file.read_text())["address"])
    processes += [started(["dask_worker", found, *WORKER], folder) for _ in range(2)]
    wait_for(found, 2)
    yield found
    for process in processes:
        process.kill()
        process.wait()


def wait_for(address: str, n_workers: int) -> None:
    import distributed

    with distributed.Client(address, set_as_default=False) as client:
        client.wait_for_workers(n_workers, timeout=120)


@pytest.fixture
def scheduler(address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("RANKS", "NODES", "NODE_RANK", "MASTER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SCHEDULER", address)
    return address


def test_references_and_fits_of_a_cluster_are_those_of_one_process(
    address: str, audited: Checkout, finished: Checkout
) -> None:
    for stage in ("references", "attack"):
        shutil.rmtree(audited.run / stage)
    done = audited.make("audit", f"SCHEDULER={address}", "RANKS=")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 trained" in done.stdout
    made = bytes_of(audited)
    assert [name for name in made if name.startswith("ranks/")]
    others = {k: v for k, v in made.items() if not k.startswith("ranks/")}
    assert others == bytes_of(finished)


def dying(number: int, folder: str, process: int) -> int:
    """Return a number after a while; on the worker of this process, end it instead."""
    path = Path(folder) / f"{number}"
    with path.open("a") as file:
        file.write("called\n")
    time.sleep(0.1)
    if os.getpid() == process:
        os.kill(process, signal.SIGKILL)
    return number


def test_a_worker_that_is_killed_costs_its_tasks_only(
    scheduler: str, tmp_path: Path
) -> None:
    spare = started(["dask_worker", scheduler, *WORKER], tmp_path)
    wait_for(scheduler, 3)
    calls = tmp_path / "calls"
    calls.mkdir()
    with pool.pool(1) as processes:
        tasks = (joblib.delayed(dying)(n, str(calls), spare.pid) for n in range(12))
        assert sorted(processes(tasks)) == list(range(12))
    n_calls = sum(
        len((calls / str(number)).read_text().splitlines()) for number in range(12)
    )
    assert 12 < n_calls <= 12 + 3
    assert spare.wait() == -signal.SIGKILL


# What is refused


def error_of(address: str, folder: Path = PROJECT) -> str:
    with pytest.raises(AuditError) as caught, cluster.connected(address, folder):
        raise AssertionError
    return str(caught.value)


def test_a_scheduler_that_does_not_answer_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 1.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        assert error_of(address) == (
            f"SCHEDULER: no Dask scheduler answers at {address} within 1 s. Fix: start "
            "one by `dask scheduler`, or correct the address."
        )


def test_without_the_package_the_command_to_install_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert error_of("tcp://127.0.0.1:1") == (
        "SCHEDULER: needs the package distributed, which is not installed. Fix: run "
        "`pip install -e '.[cluster]'`."
    )


def test_a_worker_that_does_not_see_the_folder_is_told(
    scheduler: str, tmp_path: Path
) -> None:
    error = error_of(scheduler, tmp_path / "elsewhere")
    assert error.startswith("SCHEDULER: worker tcp://127.0.0.1:")
    assert error.endswith(
        f"does not see {tmp_path}/elsewhere. Fix: mount it there by the same path."
    )


def test_a_worker_of_another_version_is_told(
    scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = keys.KINDS["fit"].version + 1
    monkeypatch.setitem(keys.KINDS, "fit", keys.Kind(other, ()))
    error = error_of(scheduler)
    assert f"has fit {other - 1}, not {other}. Fix: start its workers by " in error
    assert error.endswith(f"`dask worker {scheduler} --nthreads 1` in {PROJECT}.")


def test_workers_must_have_every_library_of_what_they_make() -> None:
    program = cluster.program()
    for kind in ("checkpoint", "outputs", "signals", "fit", "accelerated"):
        for name in (keys.ON_DEVICE, *keys.KINDS[kind].libraries):
            assert program[name] == keys.installed(name)


def test_a_worker_without_this_program_is_told(scheduler: str, tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text("")
    without = started(["dask_worker", scheduler, *WORKER], tmp_path, tmp_path)
    try:
        wait_for(scheduler, 3)
        error = error_of(scheduler)
    finally:
        without.kill()
        without.wait()
    assert error.startswith("SCHEDULER: a worker does not have this program (")
    assert "No module named 'pipeline" in error


class Told:
    """A client of workers that have these numbers of threads."""

    def __init__(self, **threads: int) -> None:
        self._threads = threads

    def nthreads(self) -> dict[str, int]:
        return self._threads

    def run(self, *_: Any) -> Any:
        raise AssertionError


@pytest.mark.parametrize(
    ("client", "problem"),
    [
        (Told(), "tcp://here:1 has no worker"),
        (Told(one=1, two=4), "worker two does 4 things at once"),
    ],
)
def test_workers_that_are_missing_or_share_a_process_are_told(
    client: Told, problem: str
) -> None:
    with pytest.raises(AuditError) as caught:
        cluster.check(client, "tcp://here:1", Path("/shared"))
    assert str(caught.value) == (
        f"SCHEDULER: {problem}. Fix: start its workers by `dask worker tcp://here:1 "
        "--nthreads 1` in /shared."
    )
