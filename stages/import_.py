"""Take over signals made by another tool: a folder with a config, ready to audit.

Called by the Makefile, with FROM, KIND, NAME and TARGET in the environment.
"""

import os
from pathlib import Path

import h5py
import numpy as np

from pipeline import cli
from pipeline.attacks.grids import nearest
from pipeline.cache import starts
from pipeline.data import experiments
from pipeline.data.experiments import Experiments
from pipeline.errors import AuditError

KINDS = ("lira",)
SIGNALS = "signals.h5"


def main() -> None:
    """Write the models' outputs as one file of arrays, and a config beside it."""
    kind = os.environ.get("KIND") or KINDS[0]
    if kind not in KINDS:
        raise AuditError("KIND", f"is {kind!r}", nearest(kind, KINDS))
    if not (source := os.environ.get("FROM")):
        problem = "is missing"
        raise AuditError("FROM", problem, "pass FROM=the folder of the models")
    config = starts.config_of(os.environ.get("NAME", ""))
    models = experiments.read(Path(source))
    chosen = order(models, os.environ.get("TARGET", ""))
    with starts.making(config) as folder:
        starts.fill(folder, config, [kind])
        write(folder / SIGNALS, models, chosen)
    n_records, n_views = models.shape[:2]
    print(
        f"{config.parent}/ is made: the target {models.names[chosen[0]]}, "
        f"{len(chosen) - 1} references, {models.kind} of {n_records:,} records in "
        f"{n_views} view{'s' * (n_views > 1)}."
    )
    print(f"Audit it: make audit CONFIG={config}")


def order(models: Experiments, target: str) -> list[int]:
    """Return the models to take over, the target first.

    A model that was trained on just the other records is left out: whoever sees it
    knows the target's members.

    Args:
        models: of the folder.
        target: its place among them or its name; empty for the first.

    Raises:
        AuditError: if there is no such model.
    """
    names = models.names
    place = names.index(target) if target in names else target or "0"
    if not str(place).isdecimal() or int(place) >= len(names):
        problem = f"is {target!r}, but there are {len(names)} models"
        fix = f"give a number from 0 to {len(names) - 1}, or a name such as {names[0]}"
        raise AuditError("TARGET", problem, fix)
    first = int(place)
    rest = []
    for model in range(len(names)):
        if model == first:
            continue
        if np.array_equal(models.member[model], ~models.member[first]):
            cli.note(
                f"{names[model]} was trained on just what {names[first]} was not: it "
                "would reveal who is a member, and is left out"
            )
        else:
            rest.append(model)
    return [first, *rest]


def write(path: Path, models: Experiments, chosen: list[int]) -> None:
    """Write the arrays of these models, one model in memory at a time."""
    name = "logits" if models.kind == "logits" else "margin"
    first = models.outputs(chosen[0])
    with h5py.File(path, "w") as file:
        shape = (len(chosen), *models.shape)
        outputs = file.create_dataset(name, shape, first.dtype, track_times=False)
        for row, model in enumerate(chosen):
            outputs[row] = models.outputs(model)
        file["member"] = models.member[chosen]
        if models.label is not None:
            file["label"] = models.label


if __name__ == "__main__":
    cli.run(main)
