"""Make a folder to start from: a config and files that run as they are.

Called by the Makefile, with NAME and KIND in the environment.
"""

import os
import subprocess
import sys
from pathlib import Path

from pipeline import cli
from pipeline.attacks.grids import nearest
from pipeline.cache import starts
from pipeline.errors import AuditError

# The templates of each kind. The files of a later one replace those of an earlier one.
LAYERS = {"own": ("own",), "images": ("own", "images"), "arrays": ("arrays",)}
# Programs of a template that make its data and its model, in the order of their names.
EXAMPLES = "example_*.py"


def main() -> None:
    """Copy the files of a kind, and have them make their example."""
    kind = os.environ.get("KIND") or "own"
    if kind not in LAYERS:
        raise AuditError("KIND", f"is {kind!r}", nearest(kind, LAYERS))
    config = starts.config_of(os.environ.get("NAME", ""))
    with starts.making(config) as folder:
        starts.fill(folder, config, LAYERS[kind])
        for program in sorted(folder.glob(EXAMPLES)):
            run(program)
    print(f"{config.parent}/ is made, with an example in place of your data and model.")
    print(f"Try it: make audit CONFIG={config}")
    print("Then replace what is marked REPLACE in its files by your own.")


def run(program: Path) -> None:
    """Run a program of the new folder in that folder.

    Raises:
        AuditError: if it fails.
    """
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, program.name],
        cwd=program.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        fix = "run `make check`, which says what this interpreter lacks"
        raise AuditError(program.name, f"failed ({last})", fix)


if __name__ == "__main__":
    cli.run(main)
