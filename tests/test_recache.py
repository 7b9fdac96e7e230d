"""Raising the version of a kind remakes what is cached of it, in the stage itself."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline.cache import arrays, documents, keys, kinds, summaries
from pipeline.cache.stamps import Job
from stages import features
from tests import jobs

N = 50


def job(folder: Path) -> Job:
    """Return the stage `features` of a target and two references run elsewhere."""
    rng = np.random.default_rng(0)
    label = (np.arange(N) % 3).astype(np.int32)
    member = rng.random((3, N)) < 0.5
    path = folder / "signals.npz"
    logits = rng.normal(size=(3, N, 3))
    np.savez(path, logits=logits, label=label, member=member)
    sections: dict[str, Any] = {
        "features": {"shard_rows": 20},
        "target": {},
        "data": {"source": "arrays"},
    }
    made = jobs.job("features", folder, sections, {"path": str(path)})
    records = kinds.Records(
        id=np.arange(N),
        label=label,
        member=member[0],
        population=np.zeros(N, dtype=bool),
        canary=np.zeros(N, dtype=bool),
        content=np.full(N, b""),
        duplicates_dropped=np.array(0),
        copies_dropped=np.array(0),
        copies=np.empty((0, 2), dtype=np.int64),
        n_classes=np.array(3),
        n_source=np.array(N),
    )
    references = kinds.References(np.arange(N), member[1:])
    for stage, artifact in (("records", records), ("references", references)):
        arrays.write(made.artifact(stage), artifact, key=made.key_of(stage), origin={})
    target = summaries.Target(checkpoint_sha256=None, accuracies=None)
    documents.write(made.artifact("target"), target, key=made.key_of("target"))
    none = summaries.Checkpoints(file=(), checkpoint_sha256=())
    documents.write(
        made.folder("references") / "references.json",
        none,
        key=made.key_of("references"),
    )
    return made


def keys_of(folder: Path) -> dict[str, str]:
    """Return the key of each model's shards, of which all have one."""
    found: dict[str, set[str]] = {}
    for path in (folder / "features").rglob("*.h5"):
        with h5py.File(path) as file:
            found.setdefault(path.parent.name, set()).add(file.attrs["key"])
    assert all(len(each) == 1 for each in found.values())
    return {name: next(iter(each)) for name, each in found.items()}


@pytest.mark.parametrize(
    ("kind", "remade", "extracted"),
    [
        ("outputs", ["reference-000", "reference-001", "target"], 9),
        # A reference's outputs are not kept, so they are extracted once more.
        ("signals", ["reference-000", "reference-001"], 6),
        ("features", [], 0),
        ("split", [], 0),
    ],
)
def test_a_raised_version_remakes_the_shards_of_its_kind(
    kind: str,
    remade: list[str],
    extracted: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = job(tmp_path)
    assert features.compute(made) == "9 of 9 shards of 3 models extracted"
    before = keys_of(tmp_path)
    assert features.compute(made) == "0 of 9 shards of 3 models extracted"
    raised = replace(keys.KINDS[kind], version=keys.KINDS[kind].version + 1)
    monkeypatch.setitem(keys.KINDS, kind, raised)
    line = f"{extracted} of 9 shards of 3 models extracted"
    assert features.compute(made) == line
    after = keys_of(tmp_path)
    assert [name for name in sorted(after) if after[name] != before[name]] == remade
    assert features.compute(made) == "0 of 9 shards of 3 models extracted"


def test_another_numpy_remakes_the_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = job(tmp_path)
    features.compute(made)
    monkeypatch.setattr(keys, "installed", lambda _: "9.9")
    assert features.compute(made) == "9 of 9 shards of 3 models extracted"
    path, key = made.artifact("features"), made.key
    _, origin = documents.read_with_origin(path, summaries.Complete, key=key, fix="")
    assert origin == {"numpy": "9.9", "scipy": "9.9"}
