"""Memory: the most that each stage of the tutorial's audit holds."""

from typing import Any

from pipeline.cache.stages import STAGES
from tests.bench import configs, peaks, target
from tests.bench.workspace import Workspace, environment

AUDIT = "memory"


def measure(space: Workspace) -> dict[str, Any]:
    """Return the peak of each stage, in bytes."""
    checkpoint, size = target.trained(space), space.size
    config = configs.whole(space.images, checkpoint, size.members, size.grids)
    space.config(AUDIT, config)
    space.forget(AUDIT)
    of_stages = {
        stage: peaks.of(space.command(AUDIT, stage), space.folder, environment()).bytes
        for stage in STAGES
    }
    return {"memory": of_stages}
