"""Show what the next run would make anew, what that takes, and why.

Nothing is changed.
"""

from rich.table import Table

from pipeline import cli, config
from pipeline.cache import costs, runs, stamps
from pipeline.cache.costs import Cost
from pipeline.cache.stages import STAGES

OF_NETWORKS = ("target", "references", "features")
NOT_KNOWN = "?"


def main() -> None:
    """Print a line per stage."""
    path, data = cli.audit()
    run = runs.folder(path)
    settings = config.load(path, data)
    runs.check(run, path)
    present, digests = stamps.present(settings, run)
    memory, sizes = costs.Memory(run), costs.sizes(run, present)

    table = Table("stage", "next run", "time", "disk", "why", box=None, pad_edge=False)
    at_work: dict[str, Cost] = {}
    for name, stage in STAGES.items():
        reasons = stamps.reasons(run, name, present, digests)
        why = [reason.text for reason in reasons if reason.stage == name]
        upstream = [other for other in stage.inputs if other in at_work]
        if reasons and not why:
            why = [f"{upstream[-1]} runs"] if upstream else [r.text for r in reasons]
        if not reasons:
            table.add_row(name, "as it is")
            continue
        cost = at_work[name] = costs.estimate(name, present, sizes, memory)
        table.add_row(name, "runs", *shown(cost), "; ".join(why))
    cli.show(table)
    for line in summary(at_work):
        print(line)


def shown(cost: Cost) -> tuple[str, str]:
    """Return the time and the disk that a stage takes, in words."""
    return (
        NOT_KNOWN if cost.seconds is None else cli.duration(cost.seconds),
        NOT_KNOWN if cost.n_bytes is None else cli.size(cost.n_bytes),
    )


def summary(at_work: dict[str, Cost]) -> list[str]:
    """Return what all stages that run take, and how to know what is not known.

    Args:
        at_work: the cost of each stage that runs.
    """
    if not at_work:
        return []
    seconds = [cost.seconds for cost in at_work.values() if cost.seconds is not None]
    lines = []
    if seconds:
        lines.append(
            f"about {cli.duration(sum(seconds))} on this machine, as far as it is "
            "known; less where a part is cached"
        )
    unknown = [name for name, cost in at_work.items() if cost.seconds is None]
    if {*unknown} & {*OF_NETWORKS}:
        lines.append("? is not known yet: `make probe` times a pass and a step")
    elif unknown:
        lines.append("? is not known until such a stage has run on this machine")
    return lines


if __name__ == "__main__":
    cli.run(main)
