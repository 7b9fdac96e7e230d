"""Extraction: records a second, beside the bare network and beside MindArmour."""

from typing import Any

from tests.bench import configs, target
from tests.bench.images import N_CLASSES
from tests.bench.mindarmour import SCRIPT
from tests.bench.pairs import alternated, put, tell
from tests.bench.sizes import Extraction
from tests.bench.workspace import Workspace, script

BARE = "bare_run"


def measure(space: Workspace) -> dict[str, Any]:
    """Return the ratios of rates for each network."""
    found: dict[str, Any] = {}
    of_bare, over, rates = {}, {}, {}
    for size in space.size.extraction:
        name = size.network
        names, runs = measured(space, size)
        rates[name] = {
            side: [run[place] for run in runs] for place, side in enumerate(names)
        }
        of_bare[name] = [run[0] / run[1] for run in runs]
        if space.rival:
            over[name] = [run[0] / run[2] for run in runs]
    tell(found, "extraction.of_bare", of_bare)
    if space.rival:
        tell(found, "extraction.over_mindarmour", over)
    put(found, "extraction.records_per_s", rates)
    return found


def measured(
    space: Workspace, size: Extraction
) -> tuple[list[str], list[tuple[float, ...]]]:
    """Return the names of the sides, and their rates in each run, in records/s."""
    audit, n_records = f"extraction-{size.network}", size.shards * size.shard_rows
    is_trained = size.network == configs.NETWORK
    checkpoint = (
        target.trained(space) if is_trained else target.fresh(space, size.network)
    )
    space.config(audit, configs.extraction(space.images, checkpoint, size))
    space.make(audit, "target")
    job = {
        "network": size.network,
        "n_classes": N_CLASSES,
        "checkpoint": str(checkpoint),
        "image_size": size.image_size,
        "batch_size": size.batch_size,
        "records": n_records,
    }

    def ours() -> float:
        space.forget(audit, "features")
        space.make(audit, "features", RANKS="1")
        timed = n_records - size.shard_rows
        return timed / space.seconds_between_shards(audit)

    def bare() -> float:
        done = script(space.python, BARE, job, space.folder)
        return float(n_records / done["seconds"])

    def theirs() -> float:
        ids, member = space.arrays(audit, "records/records.h5", "id", "member")
        more = {
            "task": "extract",
            "images": str(space.images),
            "members": ids[member].tolist(),
            "nonmembers": ids[~member].tolist(),
            "mean": configs.MEAN,
            "std": configs.STD,
        }
        done = script(str(space.rival), SCRIPT, {**job, **more}, space.folder)
        return float(n_records / done["seconds"])

    sides = {"ours": ours, "bare": bare}
    if space.rival:
        sides["mindarmour"] = theirs
    return [*sides], alternated(space.pairs, *sides.values())
