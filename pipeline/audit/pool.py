"""Pool: the processes that fit the learned attacks, on this machine or on a cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import joblib

from pipeline import cli, cluster


@contextmanager
def pool(jobs: int) -> Iterator[joblib.Parallel]:
    """Yield the pool, whose results come as they are finished.

    Args:
        jobs: number of processes on this machine.

    Raises:
        AuditError: as `cluster.connected`.
    """
    scheduler = cli.workers().scheduler
    if not scheduler:
        with joblib.parallel_config("loky", inner_max_num_threads=1):
            yield joblib.Parallel(
                jobs, return_as="generator_unordered", max_nbytes=None
            )
        return
    with (
        cluster.connected(scheduler, Path.cwd()) as client,
        joblib.parallel_config("dask", client=client),
    ):
        yield joblib.Parallel(-1, return_as="generator_unordered")


def place(run: Path) -> Path | None:
    """Return where files for the pool go: within the run's folder if others read them.

    Args:
        run: a folder that all processes of a cluster see.

    Returns:
        None for the usual place of scratch files.
    """
    if not cli.workers().scheduler:
        return None
    run.mkdir(parents=True, exist_ok=True)
    return run.absolute()
