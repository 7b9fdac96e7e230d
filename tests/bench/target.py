"""Target: the model that the bench audits, trained here once."""

from pathlib import Path

from tests.bench import configs
from tests.bench.workspace import Workspace, script

AUDIT = "model"


def trained(space: Workspace) -> Path:
    """Return the target's checkpoint, trained unless it is or need not be."""
    size = space.size
    if not size.epochs:
        return fresh(space, configs.NETWORK)
    space.config(AUDIT, configs.model(space.images, size.members, size.epochs))
    space.make(AUDIT, "target")
    return space.run(AUDIT) / "target" / "checkpoint.ckpt"


def fresh(space: Workspace, network: str) -> Path:
    """Return a checkpoint of a network that is not trained."""
    path = space.folder / f"{network}.ckpt"
    if not path.exists():
        job = {"network": network, "n_classes": 100, "checkpoint": str(path)}
        script(space.python, "fresh_run", job, space.folder)
    return path
