"""Whole: both tools from the checkpoint to their metrics, and again after an edit."""

import statistics
import time
from collections.abc import Mapping
from typing import Any

from tests.bench import configs, target
from tests.bench.images import N_CLASSES
from tests.bench.mindarmour import SCRIPT
from tests.bench.pairs import alternated, put, tell
from tests.bench.workspace import Workspace, jobs, script

AUDIT = "whole"


def measure(space: Workspace) -> dict[str, Any]:
    """Return the ratios of a first run and of one after an edit, and a no-op's time."""
    found: dict[str, Any] = {}
    size = space.size
    method, name, values = size.added
    edited = {**size.grids, method: {**size.grids[method], name: values}}
    seconds: dict[str, list[float]] = {"first": [], "rerun": [], "noop": []}

    def ours() -> float:
        configure(space, size.grids)
        space.forget(AUDIT)
        seconds["first"].append(space.make(AUDIT, "audit"))
        seconds["noop"] += [space.make(AUDIT, "audit") for _ in range(size.noops)]
        configure(space, edited)
        seconds["rerun"].append(space.make(AUDIT, "audit"))
        return seconds["first"][-1]

    def theirs() -> float:
        work = job(space)
        started = time.perf_counter()
        script(str(space.rival), SCRIPT, work, space.folder)
        return time.perf_counter() - started

    runs = alternated(space.pairs, *([ours, theirs] if space.rival else [ours]))
    if space.rival:
        seconds["mindarmour"] = [b for _, b in runs]
        tell(found, "end_to_end.over_mindarmour", [b / a for a, b in runs])
        pairs = zip(seconds["rerun"], seconds["mindarmour"], strict=True)
        tell(found, "rerun.over_mindarmour", [b / a for a, b in pairs])
    put(found, "end_to_end.seconds", seconds)
    put(found, "noop_s", statistics.median(seconds["noop"]))
    ends = [min(seconds["noop"]), max(seconds["noop"])]
    found.setdefault("spread", {})["noop_s"] = ends
    return found


def configure(space: Workspace, grids: Mapping[str, Mapping[str, str]]) -> None:
    """Write the config of the audit with these grids; its target is trained first."""
    checkpoint, members = target.trained(space), space.size.members
    text = configs.whole(space.images, checkpoint, members, grids)
    space.config(AUDIT, text)


def job(space: Workspace) -> dict[str, Any]:
    """Return MindArmour's part: the same records, division and candidates."""
    ids, member = space.arrays(AUDIT, "records/records.h5", "id", "member")
    (evaluation,) = space.arrays(AUDIT, "split/split.h5", "evaluation")
    sides = {"members": member, "nonmembers": ~member}
    parts = {"train": ~evaluation[0], "eval": evaluation[0]}
    records = {
        side: {part: ids[own & rows].tolist() for part, rows in parts.items()}
        for side, own in sides.items()
    }
    return {
        "task": "whole",
        "n_jobs": jobs(),
        "network": configs.NETWORK,
        "n_classes": N_CLASSES,
        "checkpoint": str(target.trained(space)),
        "images": str(space.images),
        "image_size": 32,
        "batch_size": configs.BATCH,
        "mean": configs.MEAN,
        "std": configs.STD,
        "n_folds": configs.FOLDS,
        "grids": configs.plain(space.size.grids),
        **records,
    }
