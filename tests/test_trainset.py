from typing import Any

import numpy as np
import pytest

from pipeline import draws
from pipeline.config import Data
from pipeline.data import preprocessing, sources
from pipeline.models import devices
from pipeline.models.trainset import READ_ROWS, TrainingSet


@pytest.fixture(autouse=True)
def _cpu() -> None:
    devices.start("CPU")


def trainset(
    data: Data, stored: sources.Inputs, rows: Any, label: Any, **more: Any
) -> TrainingSet:
    rows = np.asarray(rows)
    settings = {
        "ids": 10 + rows,
        "rng": draws.rng(1, "target.order"),
        "progress": lambda *_: None,
    }
    return TrainingSet(data, stored, rows, label=label, **settings | more)


def read(dataset: Any) -> list[dict[str, Any]]:
    return list(dataset.create_dict_iterator(output_numpy=True, num_epochs=1))


def test_a_dataset_has_the_columns_of_the_source_in_its_order_and_types() -> None:
    n = 2 * READ_ROWS + 9
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, 99, (n, 4)).astype(np.int32)
    score = rng.normal(size=n).astype(np.float32)
    rows = np.arange(0, n, 2)
    label = (np.arange(len(rows)) % 3).astype(np.int32)
    data = Data(source="my_data.py:datasets", inputs=("tokens", "score"))
    records = trainset(data, (tokens, score), rows, label)
    assert len(records) == len(rows)
    assert records.ids.tolist() == (10 + rows).tolist()
    dataset = records.dataset()
    assert dataset.get_col_names() == ["tokens", "score", "label"]
    assert dataset.get_dataset_size() == len(rows)
    for whole in (read(dataset), read(records.dataset())):
        for name, column in (
            ("tokens", tokens[rows]),
            ("score", score[rows]),
            ("label", label),
        ):
            values = np.stack([row[name] for row in whole])
            assert values.dtype == column.dtype
            assert np.array_equal(values, column)


def test_images_of_known_sources_are_as_the_network_takes_them() -> None:
    """And a canary has the wrong label that the model is to learn."""
    data = Data(source="digits", mean=(0.5,), std=(0.25,))
    content = sources.catalogue(data).content[:5]
    stored = next(sources.blocks(data, [np.arange(5)], [content]))
    label = np.array([9, 8, 7], np.int32)
    whole = read(trainset(data, stored, [0, 2, 4], label).dataset())
    expected = (stored[0][[0, 2, 4]].transpose(0, 3, 1, 2) / 255 - 0.5) / 0.25
    images = np.stack([row["image"] for row in whole])
    assert images.dtype == np.float32
    np.testing.assert_allclose(images, expected, atol=1e-6)
    assert [int(row["label"]) for row in whole] == [9, 8, 7]


def test_a_dataset_can_be_shuffled_and_batched_and_repeats() -> None:
    images = np.arange(700, dtype=np.float32).reshape(700, 1)
    label = np.arange(700).astype(np.int32)
    data = Data(source="my_data.py:datasets")
    records = trainset(data, (images,), np.arange(700), label)
    dataset = records.dataset().shuffle(700).batch(64)
    whole = read(dataset)
    order = np.concatenate([row["label"] for row in whole])
    assert sorted(order) == list(range(700))
    assert order.tolist() != list(range(700))
    assert np.array_equal(np.concatenate([row["image"] for row in whole])[:, 0], order)


def test_a_batch_is_augmented_by_the_records_own_generator() -> None:
    images = np.random.default_rng(0).normal(size=(9, 3, 8, 8)).astype(np.float32)
    label = np.arange(9).astype(np.int32)
    data = Data(source="my_data.py:datasets")
    records = trainset(data, (images,), np.arange(2, 9), label[2:])
    rows = np.array([6, 0, 3])
    plain = records.batch(rows)
    assert np.array_equal(plain[0], images[rows + 2])
    assert plain[1].tolist() == [8, 2, 5]
    shown, _ = records.batch(rows, "tutorial")
    how = preprocessing.draw(3, "tutorial", draws.rng(1, "target.order"))
    (expected,) = preprocessing.shown((images[rows + 2],), data, [how])
    assert np.array_equal(shown, expected)
    assert not np.array_equal(shown, plain[0])


def test_progress_is_told_what_a_recipe_tells() -> None:
    import mindspore as ms

    steps: list[tuple[float | None, int | None]] = []
    records = trainset(
        Data(source="my_data.py:datasets"),
        (np.zeros((1, 2), np.float32),),
        [0],
        np.zeros(1, np.int32),
        progress=lambda *step: steps.append(step),
    )
    records.advance()
    records.advance(loss=ms.Tensor(0.5), total=3)
    assert steps == [(None, None), (0.5, 3)]
