"""Memory: the most that each stage of the tutorial's audit holds."""

from typing import Any

from tests.bench import configs, peaks, target
from tests.bench.workspace import Workspace, environment

AUDIT = "memory"


def measure(space: Workspace) -> dict[str, Any]:
    """Return the peak of each stage, in bytes."""
    checkpoint, size = target.trained(space), space.size
    config = configs.whole(space.images, checkpoint, size.members, size.grids)
    space.config(AUDIT, config)
    space.forget(AUDIT)
    took = peaks.of(space.command(AUDIT, "audit"), space.folder, environment())
    return {"memory": {stage: peak.bytes for stage, peak in took.items()}}
