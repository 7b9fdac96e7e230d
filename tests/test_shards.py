from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.cache import arrays, documents, kinds, shards, summaries
from pipeline.cache.stamps import Job
from pipeline.errors import AuditError
from tests import jobs
from tests.test_arrays import SHARD, SPLIT


@pytest.mark.parametrize(
    ("n_records", "n_rows", "expected"),
    [
        (7, 3, [[0, 1, 2], [3, 4, 5], [6]]),
        (6, 3, [[0, 1, 2], [3, 4, 5]]),
        (2, 5, [[0, 1]]),
        (2, 1, [[0], [1]]),
        (0, 3, []),
    ],
)
def test_row_blocks_are_all_rows_in_order(
    n_records: int, n_rows: int, expected: list[list[int]]
) -> None:
    found = shards.row_blocks(n_records, n_rows)
    assert [block.tolist() for block in found] == expected


def test_shards_are_named_by_their_index(tmp_path: Path) -> None:
    assert shards.shard_path(tmp_path, 12) == tmp_path / "00012.h5"


def numbered(folder: Path, index: int, key: str = "k") -> Path:
    """Write a shard of which each row tells the shard it is of."""
    path = shards.shard_path(folder, index)
    shard = replace(SHARD, id=SHARD.id + 10 * index, margin=SHARD.margin + index)
    arrays.write(path, shard, key=key, origin={})
    return path


def complete(n_references: int = 0, **more: Any) -> summaries.Complete:
    names = ["target", *map(shards.reference_name, range(n_references))]
    accuracies = summaries.Accuracies(train_accuracy=1.0, test_accuracy=0.5)
    return summaries.Complete(
        **{
            "shards": 2,
            "shard_rows": 2,
            "records": 4,
            "views": 1,
            "n_classes": 3,
            "folders": dict.fromkeys(names, "k"),
            "train_accuracy": 1.0,
            "test_accuracy": 0.5,
            "within_classes": 1.0,
            "contradicted": summaries.Contradicted(
                records=0, of=4, accuracy_on_others=1.0
            ),
            "references": (accuracies,) * n_references,
            **more,
        }
    )


def finished_features(run: Path, document: summaries.Complete) -> Job:
    """Return the job of an attack on features that are complete."""
    job = jobs.job("attack", run)
    path, key = job.artifact("features"), job.key_of("features")
    documents.write(path, document, key=key)
    return job


def test_all_shards_of_the_target_are_read_in_their_order(tmp_path: Path) -> None:
    job = finished_features(tmp_path, complete())
    for index in range(2):
        numbered(job.folder("features") / "target", index)
    blocks = [(rows, shard.id.tolist()) for rows, shard in shards.target_blocks(job)]
    assert blocks == [(slice(0, 2), [2, 5]), (slice(2, 4), [12, 15])]
    expected = np.concatenate((SHARD.margin, SHARD.margin + 1))
    assert np.array_equal(shards.target_margin(job), expected)


def test_a_shard_of_other_inputs_is_refused_by_name(tmp_path: Path) -> None:
    job = finished_features(tmp_path, complete())
    for index, key in enumerate(("k", "other")):
        numbered(job.folder("features") / "target", index, key)
    with pytest.raises(AuditError, match=r"00001\.h5: was made from other inputs"):
        list(shards.target_blocks(job))


def test_blocks_of_references_hold_each_record_at_its_own_row(tmp_path: Path) -> None:
    """Seven records in shards of three: the last block is short."""
    rng = np.random.default_rng(0)
    margin = rng.normal(size=(2, 7, 1)).astype(np.float32)
    member = rng.random((2, 7)) < 0.5
    job = finished_features(tmp_path, complete(2, shards=3, shard_rows=3, records=7))
    references = kinds.References(np.arange(7), member)
    path, key = job.artifact("references"), job.key_of("references")
    arrays.write(path, references, key=key, origin={})
    for model in range(2):
        folder = job.folder("features") / shards.reference_name(model)
        for index, rows in enumerate(shards.row_blocks(7, 3)):
            signals = kinds.ReferenceShard(
                id=rows,
                margin=margin[model, rows],
                recalibrated=2 * margin[model, rows],
                correct=np.ones(len(rows), dtype=bool),
            )
            path = shards.shard_path(folder, index)
            arrays.write(path, signals, key="k", origin={})
    blocks = list(shards.reference_blocks(job))
    places = [np.arange(7)[block.rows].tolist() for block in blocks]
    assert places == [[0, 1, 2], [3, 4, 5], [6]]
    for block in blocks:
        assert np.array_equal(block.member, member[:, block.rows])
        assert np.array_equal(block.margin, margin[:, block.rows])
        assert np.array_equal(block.recalibrated, 2 * margin[:, block.rows])


def test_without_references_blocks_are_empty(tmp_path: Path) -> None:
    job = finished_features(tmp_path, complete())
    references = kinds.References(np.arange(4), np.zeros((0, 4), dtype=bool))
    path, key = job.artifact("references"), job.key_of("references")
    arrays.write(path, references, key=key, origin={})
    shapes = [block.margin.shape for block in shards.reference_blocks(job)]
    assert shapes == [(0, 2, 1), (0, 2, 1)]


def test_an_artifact_upstream_is_read_with_the_key_it_must_have(
    tmp_path: Path,
) -> None:
    job = jobs.job("attack", tmp_path)
    path, key = job.artifact("split"), job.key_of("split")
    arrays.write(path, SPLIT, key=key, origin={})
    split = arrays.upstream(job, "split", kinds.Split)
    assert np.array_equal(split.evaluation, SPLIT.evaluation)


def test_a_refusal_of_an_artifact_upstream_names_the_command_that_makes_it(
    tmp_path: Path,
) -> None:
    place = {"arguments": "CONFIG=configs/mine.toml DATA='there it is'"}
    job = jobs.job("attack", tmp_path, paths=place)
    path = job.artifact("split")
    arrays.write(path, SPLIT, key="other", origin={})
    with pytest.raises(AuditError) as caught:
        arrays.upstream(job, "split", kinds.Split)
    assert str(caught.value) == (
        f"{path}: was made from other inputs (other, not {job.key_of('split'):.8}). "
        f"Fix: run `rm -f {path} && "
        "make split CONFIG=configs/mine.toml DATA='there it is'`."
    )


def test_a_refusal_of_a_document_upstream_names_the_command_that_makes_it(
    tmp_path: Path,
) -> None:
    job = jobs.job("attack", tmp_path)
    path = job.artifact("features")
    with pytest.raises(AuditError) as caught:
        documents.upstream(job, "features", summaries.Complete)
    assert str(caught.value) == (
        f"{path}: is missing. Fix: run `rm -f {path} && make features CONFIG=x.toml`."
    )
