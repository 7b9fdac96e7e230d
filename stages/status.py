"""Show which stages hold, why others do not, how large they are and how long they took.

Nothing is changed.
"""

import time

from rich.table import Table

from pipeline import cli, config
from pipeline.cache import costs, runs, stamps
from pipeline.cache.stages import STAGES

COLUMNS = ("stage", "state", "size", "made", "took", "why")


def main() -> None:
    """Print a line per stage."""
    path, data = cli.audit()
    run = runs.folder(path)
    settings = config.load(path, data)
    runs.check(run, path)
    present, digests = stamps.present(settings, run)

    table = Table(*COLUMNS, box=None, pad_edge=False)
    for name, stage in STAGES.items():
        reasons = stamps.reasons(run, name, present, digests)
        why = "; ".join(dict.fromkeys(reason.text for reason in reasons))
        artifact, made = run / stage.file, stamps.made_path(run, name)
        if not artifact.exists():
            table.add_row(name, "missing", "", "", "", why)
            continue
        took = costs.took(run, name)
        table.add_row(
            name,
            "stale" if reasons else "fresh",
            cli.size(costs.n_bytes(artifact.parent)),
            moment(made.stat().st_mtime) if made.exists() else "?",
            "?" if took is None else cli.duration(took),
            why,
        )
    cli.show(table)


def moment(seconds: float) -> str:
    """Return a time of this machine's clock as people write it."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


if __name__ == "__main__":
    cli.run(main)
