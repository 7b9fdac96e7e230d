"""Remove what the stages of a config made, and nothing that they did not make."""

from pipeline import cli
from pipeline.cache import runs


def main() -> None:
    """Remove the run's folder, if it is marked as this config's own."""
    path, _ = cli.audit()
    run = runs.folder(path)
    runs.check(run, path)
    if run.exists():
        runs.hold(run, lambda: cli.note(f"a make is at work in {run}; waiting"))
    print(f"removed {run}/" if runs.remove(run, path) else f"{run}/ is not there")


if __name__ == "__main__":
    cli.run(main)
