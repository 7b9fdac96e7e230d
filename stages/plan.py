"""Show which stages the next run would make anew, and why. Nothing is changed."""

from rich.console import Console
from rich.table import Table

from pipeline import cli, config
from pipeline.cache import devices, runs, stamps
from pipeline.cache.digests import Digests
from pipeline.cache.stages import STAGES


def main() -> None:
    """Print a line per stage."""
    path, data = cli.audit()
    run = runs.folder(path)
    settings = config.load(path, data)
    runs.check(run, path)
    digests = Digests(runs.digests(run))
    present = stamps.stamps(
        devices.resolved(settings, runs.devices(run), save=False), digests
    )

    table = Table("stage", "next run", "why", box=None, pad_edge=False)
    at_work: set[str] = set()
    for name, stage in STAGES.items():
        reasons = stamps.reasons(run, name, present, digests)
        why = [reason.text for reason in reasons if reason.stage == name]
        upstream = [other for other in stage.inputs if other in at_work]
        if reasons and not why:
            why = [f"{upstream[-1]} runs"] if upstream else [r.text for r in reasons]
        at_work |= {name} if reasons else set()
        table.add_row(name, "runs" if reasons else "as it is", "; ".join(why))
    Console(highlight=False, markup=False).print(table)


if __name__ == "__main__":
    cli.run(main)
