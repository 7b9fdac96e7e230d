"""Search: the grids of both tools, on the same features, candidates and folds."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.search import fold_sides
from tests.bench import configs, whole
from tests.bench.mindarmour import SCRIPT
from tests.bench.pairs import alternated, put, tell
from tests.bench.workspace import Workspace, jobs, script

ALL = "all"


def measure(space: Workspace) -> dict[str, Any]:
    """Return the ratios of times, in all and by method, and how well the chosen do."""
    found: dict[str, Any] = {}
    grids = space.size.grids
    sides = {ALL: grids, **{name: configs.only(grids, [name]) for name in grids}}
    prepared(space)
    seconds: dict[str, dict[str, list[float]]] = {"ours": {}, "mindarmour": {}}
    accuracies: dict[str, dict[str, float]] = {}

    def ours() -> float:
        for name, methods in sides.items():
            took = searched(space, f"search-{name}", methods)
            seconds["ours"].setdefault(name, []).append(took)
        accuracies["ours"] = accuracy(space, f"search-{ALL}")
        return seconds["ours"][ALL][-1]

    def theirs() -> float:
        done = script(str(space.rival), SCRIPT, job(space), space.folder)
        took = {ALL: sum(done["seconds"].values()), **done["seconds"]}
        for name, value in took.items():
            seconds["mindarmour"].setdefault(name, []).append(value)
        accuracies["mindarmour"] = done["accuracy"]
        return took[ALL]

    alternated(space.pairs, *([ours, theirs] if space.rival else [ours]))
    if space.rival:
        ratios = {
            name: [
                b / a
                for a, b in zip(
                    seconds["ours"][name], seconds["mindarmour"][name], strict=True
                )
            ]
            for name in sides
        }
        tell(found, "search.over_mindarmour", ratios)
    put(found, "search.accuracy", accuracies)
    put(found, "search.seconds", {name: s for name, s in seconds.items() if s})
    return found


def prepared(space: Workspace) -> None:
    """Write the target's logits as arrays."""
    audit, path = whole.AUDIT, space.folder / "signals.npz"
    whole.configure(space, space.size.grids)
    space.make(audit, "features")
    fields = "label", "member"
    label, member = space.arrays(audit, "records/records.h5", *fields)
    shards = sorted((space.run(audit) / "features" / "target").glob("*.h5"))
    names = [str(shard.relative_to(space.run(audit))) for shard in shards]
    logits = [space.arrays(audit, name, "logits")[0] for name in names]
    np.savez(path, logits=np.concatenate(logits)[:, 0], label=label, member=member)


def searched(space: Workspace, audit: str, methods: dict[str, Any]) -> float:
    """Search anew, and return the seconds of the search itself."""
    space.config(audit, configs.search(space.folder / "signals.npz", methods))
    space.forget(audit, "attack")
    space.make(audit, "attack")
    path = space.run(audit) / "attack" / "timings.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    return float(content["seconds"]["learned"])


def accuracy(space: Workspace, audit: str) -> dict[str, float]:
    """Return the accuracy of each chosen attack on the records that were held out."""
    fields = "method", "decision", "member", "evaluation"
    names, decision, member, held_out = space.arrays(audit, "attack/scores.h5", *fields)
    right = (decision == member)[:, held_out].mean(axis=1)
    return {name.decode(): float(r) for name, r in zip(names, right, strict=True)}


def job(space: Workspace) -> dict[str, Any]:
    """Return MindArmour's part: the same features, candidates and folds."""
    audit, path = f"search-{ALL}", space.folder / "features.npz"
    ids, member = space.arrays(audit, "records/records.h5", "id", "member")
    (evaluation,) = space.arrays(audit, "split/split.h5", "evaluation")
    train = ~evaluation[0]
    with np.load(space.folder / "signals.npz") as arrays:
        logits, label = arrays["logits"][ids], arrays["label"][ids]
    np.savez(path, logits=logits, label=label, train=train, member=member)
    folds = fold_sides(member[train], configs.FOLDS, configs.SEED)
    return {
        "task": "search",
        "n_jobs": jobs(),
        "features": str(path),
        "folds": [[*map(_listed, fold)] for fold in folds],
        "grids": configs.plain(space.size.grids),
    }


def _listed(rows: NDArray[np.int64]) -> list[int]:
    return [int(row) for row in rows]
