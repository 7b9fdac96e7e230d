"""Launch: ranks started on this host, on several, or on a cluster, and waited for."""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipeline import cli, cluster
from pipeline.cache.devices import N_LOCAL
from pipeline.cache.stamps import Job, stamp_path
from pipeline.errors import AuditError
from pipeline.models.ranks import DONE, ENDED

# A rank writes a line each half minute, at least.
SILENCE = 600.0  # seconds
ERROR = "error: "  # what the line of a rank begins with that has failed
NOTE = "note: "  # and that of something else that the user should know
# Ranks for each worker of a cluster: few, as each compiles its graph anew, but workers
# may differ in speed.
PER_WORKER = 2
POLL = 0.5  # seconds between looks at the logs
PATIENCE = 2.0  # and between looks at what ranks of other hosts have left
LAST = 3  # lines of a log that are shown of a rank that ended without an error


def run(job: Job, n_ranks: int, total: int, is_left: Callable[[], bool]) -> None:
    """Have ranks do the work of a stage, and wait for those of all hosts.

    Args:
        job: of the stage.
        n_ranks: that this host starts.
        total: number of items, to show how far they are.
        is_left: whether a rank has left something to do; asked of the first host.

    Raises:
        AuditError: if a rank fails, with what it said.
    """
    workers = cli.workers()
    logs = job.run / "ranks" / job.stage
    logs.mkdir(parents=True, exist_ok=True)
    if workers.scheduler:
        ours = _on_cluster(job, n_ranks, total, workers.scheduler, logs)
    else:
        ours = _on_hosts(job, n_ranks, total, is_left, workers, logs)
    said = (line for path in ours for line in text_of(path).splitlines())
    for line in dict.fromkeys(said):
        if line.startswith(NOTE):
            cli.note(line.removeprefix(NOTE))


def _on_cluster(
    job: Job, n_ranks: int, total: int, address: str, logs: Path
) -> list[Path]:
    """Have a cluster run the ranks, and return their logs."""
    words = ["-m", f"stages.{job.stage}", "--stamp", str(_stamp(job)), "--rank"]
    handed_on = {name: os.environ.get(name, "") for name in cluster.HANDED_ON}
    folder = Path.cwd()
    with cluster.connected(address, folder) as client, cli.progress() as bar:
        n_ranks = min(n_ranks, PER_WORKER * len(client.nthreads()))
        paths = [logs / f"worker_{n}.log" for n in range(n_ranks)]
        task = bar.add_task(job.stage, total=total, note=f"on {address}")
        # One that is lost with its worker is run again by another.
        running = {
            client.submit(
                cluster.process,
                str(folder),
                words,
                {**handed_on, "RANK_ID": str(n), "RANK_SIZE": str(n_ranks)},
                pure=False,
            ): n
            for n in range(n_ranks)
        }
        for future in cluster.finished(client, running):
            n = running[future]
            status, text = future.result()
            paths[n].write_text(text, encoding="utf-8")
            if status != 0:
                client.cancel([*running])
                raise _told(job, n, n_ranks, paths[n]) or _ended(
                    job, {f"rank {n}": text}, logs
                )
            bar.advance(task, f"\n{text}".count(f"\n{DONE}"))
    return paths


def _on_hosts(
    job: Job,
    n_ranks: int,
    total: int,
    is_left: Callable[[], bool],
    workers: cli.Workers,
    logs: Path,
) -> list[Path]:
    """Have MindSpore's launcher run this host's ranks, and return their logs."""
    n_all = n_ranks * workers.nodes
    first = n_ranks * workers.node_rank
    paths = {n: logs / f"worker_{n}.log" for n in range(n_all)}
    ours = [paths[first + n] for n in range(n_ranks)]
    for path in ours:
        path.unlink(missing_ok=True)
    began = time.time()
    with cli.progress() as bar:
        task = bar.add_task(job.stage, total=total, note=f"{n_all} ranks")

        def show() -> None:
            done = sum(
                text_of(path).count(f"\n{DONE}")
                for path in paths.values()
                if path.exists() and path.stat().st_mtime >= began
            )
            bar.update(task, completed=min(done, total))

        with _launched(job, n_ranks, workers, logs) as launcher:
            while launcher.poll() is None:
                show()
                time.sleep(POLL)
        if launcher.returncode != 0:
            raise error_of(job, paths, ours, logs)
        while workers.nodes > 1 and workers.node_rank == 0 and is_left():
            show()
            check_others(job, paths, ours, began)
            time.sleep(PATIENCE)
    return ours


@contextmanager
def _launched(
    job: Job, n_ranks: int, workers: cli.Workers, logs: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """Start MindSpore's launcher, and end it and its ranks with the block."""
    with tempfile.TemporaryDirectory() as folder:
        # The launcher runs what PATH finds under this name. It also starts a process by
        # which ranks would find each other, and these have no use for it.
        python = Path(folder) / "python"
        python.write_text(
            '#!/bin/sh\n[ "$MS_ROLE" = MS_SCHED ] && exit\n'
            f'exec {shlex.quote(sys.executable)} "$@"\n'
        )
        python.chmod(0o755)
        options = {
            "worker_num": n_ranks * workers.nodes,
            "local_worker_num": n_ranks,
            "node_rank": workers.node_rank,
            "master_addr": workers.master or "127.0.0.1",
            "log_dir": logs,
            "join": True,
            "tail_worker_log": n_ranks * workers.nodes,  # none of them
        }
        command = [sys.executable, "-m", "mindspore.parallel.cluster.run"]
        command += [f"--{name}={value}" for name, value in options.items()]
        command += ["python", "-m", f"stages.{job.stage}", "--stamp", str(_stamp(job))]
        path = f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        with _launcher(logs, workers).open("wb") as log:
            process = subprocess.Popen(
                [*command, "--rank"],
                env={**os.environ, "PATH": path, N_LOCAL: str(n_ranks)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(10.0)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _launcher(logs: Path, workers: cli.Workers) -> Path:
    return logs / f"launcher_{workers.node_rank}.log"


def _stamp(job: Job) -> Path:
    return stamp_path(job.run, job.stage)


def error_of(
    job: Job, paths: Mapping[int, Path], ours: list[Path], logs: Path
) -> AuditError:
    """Return the error of the rank that failed: that which it told, if it did.

    Args:
        job: of the stage.
        paths: logs of the ranks of all hosts.
        ours: those of this host.
        logs: their folder.
    """
    for n, path in paths.items():
        if path in ours and (error := _told(job, n, len(paths), path)):
            return error
    # The launcher has ended the others, whose logs do not say so.
    texts = {f"rank {n}": text_of(path) for n, path in paths.items() if path in ours}
    short = {name: text for name, text in texts.items() if not has_ended(text)}
    failed = {name: text for name, text in short.items() if "Traceback" in text}
    if not any(text.strip() for text in texts.values()):
        failed = {"the launcher": text_of(_launcher(logs, cli.workers()))}
    return _ended(job, failed or short, logs)


def _told(job: Job, n: int, n_all: int, path: Path) -> AuditError | None:
    """Return the error that a rank has told in its log."""
    for line in reversed(text_of(path).splitlines()):
        if line.startswith(ERROR):
            problem, _, fix = line.removeprefix(ERROR).partition(". Fix: ")
            where = f"{job.stage} (rank {n} of {n_all})"
            return AuditError(where, problem, fix.removesuffix("."))
    return None


def _ended(job: Job, texts: Mapping[str, str], logs: Path) -> AuditError:
    """Return the error of ranks one of which ended without telling one.

    Args:
        job: of the stage.
        texts: what they have said, by name.
        logs: where it stands.
    """
    said = []
    for name, text in texts.items():
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        said.append(f"{name} said last: {' / '.join(lines[-LAST:]) or 'nothing'}")
    problem = f"a rank ended before its work was done; {'; '.join(said)}"
    return AuditError(job.stage, problem, f"see {logs}; make goes on from what is done")


def has_ended(text: str) -> bool:
    """Return whether a rank has said that it has finished its share."""
    return f"\n{ENDED}\n" in text


def check_others(
    job: Job, paths: dict[int, Path], ours: list[Path], began: float
) -> None:
    """Refuse to wait for ranks of other hosts that have failed or say nothing."""
    for n, path in paths.items():
        if path in ours:
            continue
        last = path.stat().st_mtime if path.exists() else 0.0
        if last >= began and (error := _told(job, n, len(paths), path)):
            raise error
        is_silent = time.time() - max(last, began) > SILENCE
        if is_silent and not has_ended(text_of(path)):
            problem = f"has said nothing for {cli.duration(SILENCE)} in {path}"
            fix = "start its host anew; what it has done is kept"
            raise AuditError(f"{job.stage} (rank {n} of {len(paths)})", problem, fix)


def text_of(path: Path) -> str:
    """Return what a rank has said, each line after a line break."""
    try:
        return "\n" + path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
