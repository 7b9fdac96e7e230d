"""Show which stages the next run would make anew, and why. Nothing is changed."""

from rich.console import Console
from rich.table import Table

from pipeline import cli, config
from pipeline.cache import plan


def main() -> None:
    """Print a line per stage."""
    args = cli.arguments(__doc__)
    run = plan.artifacts_of(args.config)

    stamps = plan.stamps(config.load(args.config, args.data), run)

    table = Table("stage", "next run", "why", box=None, pad_edge=False)
    runs: set[str] = set()
    for name, stage in plan.STAGES.items():
        upstream = [f"{i} runs" for i in stage.inputs if i in runs]
        why = plan.reasons(name, stamps[name], run) or upstream[-1:]
        runs |= {name} if why else set()
        table.add_row(name, "runs" if why else "as it is", "; ".join(why))
    Console(highlight=False, markup=False).print(table)


if __name__ == "__main__":
    cli.run(main)
