"""What networks are shown is read ahead of them, and the same as read at once."""

import threading
import weakref
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn
from numpy.typing import NDArray

from pipeline import config, draws
from pipeline.cache.kinds import Records
from pipeline.config import Data
from pipeline.data import preprocessing, readahead, sources, spool
from pipeline.errors import AuditError
from pipeline.models import devices, extraction
from pipeline.models.inference import Extractor, Outputs
from pipeline.models.logits import Logits
from pipeline.models.trainset import TrainingSet
from stages import records
from tests import stocks
from tests.trainsets import recipe, trainer, weights

BATCH = 16


@pytest.fixture(autouse=True)
def _cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # MindSpore leaves its compiler's reports in the current folder when it fails.
    monkeypatch.chdir(tmp_path)
    devices.start("CPU")
    monkeypatch.setattr(devices, "batches_ahead", lambda: 1)


class Net(nn.Cell):
    """A layer on an image, and on a number if there is one."""

    def __init__(self, n_pixels: int) -> None:
        super().__init__()
        rng = np.random.default_rng(3)
        self.flatten = nn.Flatten()
        self.dense = nn.Dense(n_pixels, 10, has_bias=False)
        matrix = rng.normal(size=(10, n_pixels)).astype(np.float32)
        self.dense.weight.set_data(ms.Tensor(matrix))

    def construct(self, *inputs: Any) -> Any:
        logits = self.dense(self.flatten(inputs[0]))
        if len(inputs) > 1:
            logits = logits + inputs[1].expand_dims(1)
        return logits


def reading() -> list[threading.Thread]:
    """Return the threads that read ahead; MindSpore has others."""
    return [each for each in threading.enumerate() if each.name == readahead.THREAD]


def network(data: Data) -> Net:
    shape = sources.IMAGE_SHAPES.get(data.source, (3, 8, 8))
    return Net(int(np.prod(shape)))


def extractor(data: Data) -> Extractor:
    logits = Logits(network(data), 10)
    return Extractor(logits, precision="float32", batch_size=BATCH)


def chosen(data: Data) -> Records:
    catalogue = sources.catalogue(data)
    settings = data.model_copy(update={"members": 44, "nonmembers": 44})
    return records.choose(settings, catalogue)


def at_once(
    extract: Extractor,
    data: Data,
    audited: Records,
    blocks: Sequence[NDArray[np.int64]],
    views: Sequence[str],
    how: preprocessing.Draw | None,
) -> list[Outputs]:
    """Return what a network says of whole blocks, one view after the other."""
    said = []
    for rows in blocks:
        ids, content = audited.id[rows], audited.content[rows]
        (block,) = sources.blocks(data, [ids], [content])
        of_views = []
        for view in views:
            changes = [] if how is None else [how[rows]]
            changes.append(preprocessing.view(view, len(rows)))
            ready = preprocessing.inputs(block, data, devices.resize, changes)
            of_views.append(extract(ready, audited.label[rows]))
        said.append(
            Outputs(*(np.stack(v, axis=1) for v in zip(*of_views, strict=True)))
        )
    return said


def assert_equal(found: Sequence[Outputs], expected: Sequence[Outputs]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for name in Outputs._fields:
            a, b = getattr(one, name), getattr(other, name)
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("kind", stocks.SOURCES)
@pytest.mark.parametrize("augmentation", ["none", "tutorial"])
def test_outputs_are_those_of_blocks_read_at_once(
    kind: str, augmentation: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = stocks.data(kind, tmp_path, monkeypatch)
    audited = chosen(data)
    features = config.Features(member_augmentation=augmentation)
    how = preprocessing.member_augmentation(features, audited.member)
    # A block of whole batches, one of less than a batch, and one that ends with a part.
    blocks = np.split(np.arange(len(audited.id)), [2 * BATCH, 2 * BATCH + 5])
    views = ("identity", "flip", "shift(1,-2)")
    asked = (data, audited, blocks, views, how)
    extract = extractor(data)
    ahead = list(extraction.outputs(extract, *asked))
    assert_equal(ahead, at_once(extract, *asked))
    monkeypatch.setattr(devices, "batches_ahead", lambda: 0)
    assert_equal(list(extraction.outputs(extractor(data), *asked)), ahead)


def test_a_record_that_changed_ends_the_reading_in_its_turn() -> None:
    data = Data(source="digits")
    audited = chosen(data)
    audited.content[50] = audited.content[51]
    blocks = [np.arange(40), np.arange(40, 88)]
    outputs = extraction.outputs(extractor(data), data, audited, blocks, ["identity"])
    assert len(next(outputs).logits) == 40
    with pytest.raises(AuditError, match="digits: gives other records, or another"):
        next(outputs)
    assert not reading()


def test_the_reading_ends_where_no_more_blocks_are_asked_for() -> None:
    data = Data(source="digits")
    audited = chosen(data)
    blocks = np.split(np.arange(88), 4)
    said = extraction.outputs(extractor(data), data, audited, blocks, ["identity"])
    with closing(said):
        next(said)
        assert len(reading()) == 1
    assert not reading()


def test_few_batches_are_in_memory_however_large_a_block_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = Data(source="digits")
    catalogue = sources.catalogue(data)
    settings = data.model_copy(update={"members": 800, "nonmembers": 800})
    audited = records.choose(settings, catalogue)
    made: list[int] = []
    gone: list[int] = []
    alive: list[int] = []
    inputs = preprocessing.inputs

    def counted(*given: Any) -> sources.Inputs:
        (ready,) = inputs(*given)
        made.append(1)
        weakref.finalize(ready, gone.append, 1)
        alive.append(len(made) - len(gone))
        return (ready,)

    monkeypatch.setattr(preprocessing, "inputs", counted)
    blocks = [np.arange(1600)]
    (said,) = extraction.outputs(extractor(data), data, audited, blocks, ["identity"])
    assert len(said.logits) == 1600
    assert len(made) == len(gone) == 100
    assert max(alive) <= 4


def images(seed: int) -> TrainingSet:
    data = Data(source="digits", members=44)
    audited = chosen(data)
    rows = np.arange(len(audited.id))
    stored = spool.stored(data, audited.id, audited.content, Path())
    return TrainingSet(
        data,
        stored,
        rows,
        ids=audited.id,
        label=audited.label,
        rng=draws.rng(seed, "target.order"),
        progress=lambda *_: None,
    )


def test_training_is_the_same_read_ahead_or_not_from_memory_or_from_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = Data(source="digits")
    settings = recipe(augmentation="tutorial", batch_size=BATCH, epochs=3)

    def trained() -> list[bytes]:
        made = trainer(settings, lambda: network(data))
        return weights(made.train(images(1), weights=1, seed=1))

    found = trained()
    monkeypatch.setattr(spool, "IN_MEMORY", 0)
    assert trained() == found
    monkeypatch.setattr(devices, "batches_ahead", lambda: 0)
    assert trained() == found


def test_an_error_at_a_batch_of_training_is_the_readers_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = Data(source="digits")
    learned = images(1)
    batch, calls = learned.batch, []

    def failing(*given: Any) -> sources.Inputs:
        calls.append(1)
        if len(calls) == 4:
            raise AuditError("digits", "has values that are NaN", "correct them")
        return batch(*given)

    monkeypatch.setattr(learned, "batch", failing)
    made = trainer(recipe(batch_size=BATCH), lambda: network(data))
    with pytest.raises(AuditError, match="digits: has values that are NaN"):
        made.train(learned, weights=1, seed=1)
    assert not reading()
