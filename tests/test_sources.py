import re
import sys
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from pipeline.config import CIFAR_FILES, Data
from pipeline.data import sources
from pipeline.errors import AuditError
from pipeline.signals import outputs
from pipeline.signals.margins import UNLABELLED
from stages import records

MINE = Data(source="mine.py:datasets")


def hashed(images: Any) -> NDArray[np.bytes_]:
    digests = [blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images]
    return np.array(digests, dtype="S32")


# The digits that come with scikit-learn


def test_digits_are_those_of_scikit_learn_in_one_pool() -> None:
    found = sources.catalogue(Data(source="digits"))
    assert np.array_equal(found.label, load_digits().target)
    assert (found.member, found.n_classes) == (None, 10)


def test_digits_without_scikit_learn_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(AuditError) as caught:
        sources.catalogue(Data(source="digits"))
    assert str(caught.value) == (
        "data.source: digits need scikit-learn. Fix: install it."
    )


def test_digits_are_scaled_to_bytes_without_rounding() -> None:
    ids = np.array([0, 5, 1796])
    digits = load_digits().images[ids]
    data = Data(source="digits")
    content = sources.catalogue(data).content[ids]
    ((block,),) = sources.blocks(data, [ids], [content])
    assert (block.shape, block.dtype) == ((3, 8, 8, 1), np.uint8)
    assert np.array_equal(block[..., 0] / 15, digits)
    assert np.array_equal(content, hashed(block))


# CIFAR


class Cifar:
    """A folder of tiny binary files, and what is in them."""

    def __init__(self, source: str, folder: Path, n_records: int = 3) -> None:
        self.data = Data(source=source, path=str(folder))
        self.folder = folder
        self.n_labels = 2 if source == "cifar100" else 1
        self.names = [name for part in CIFAR_FILES[source] for name in part]
        rng = np.random.default_rng(8)
        self.rows = {
            name: rng.integers(
                0, 256, (n_records, self.n_labels + 3072), dtype=np.uint8
            )
            for name in self.names
        }
        for place, rows in enumerate(self.rows.values()):
            # The coarse labels are others than the fine ones, which come last.
            rows[:, 0] = 19
            rows[:, self.n_labels - 1] = np.arange(n_records) + place
        self.save()

    def save(self) -> None:
        for name, rows in self.rows.items():
            (self.folder / name).write_bytes(rows.tobytes())

    def slow_images(self) -> NDArray[np.uint8]:
        """Return the images by the description of the format, byte by byte."""
        everything = np.concatenate(list(self.rows.values()))
        images = np.zeros((len(everything), 32, 32, 3), np.uint8)
        for i, row in enumerate(everything):
            for place, byte in enumerate(row[self.n_labels :]):
                # 1024 bytes of red, then of green, then of blue, each row by row.
                channel, rest = divmod(place, 1024)
                images[i, rest // 32, rest % 32, channel] = byte
        return images


@pytest.fixture(params=["cifar10", "cifar100"])
def cifar(request: pytest.FixtureRequest, tmp_path: Path) -> Cifar:
    return Cifar(request.param, tmp_path)


@pytest.fixture
def cifar100(tmp_path: Path) -> Cifar:
    return Cifar("cifar100", tmp_path)


def test_cifar_images_are_the_bytes_in_rows_columns_and_channels(cifar: Cifar) -> None:
    expected = cifar.slow_images()
    ids = np.arange(len(expected))
    content = [sources.catalogue(cifar.data).content]
    ((block,),) = sources.blocks(cifar.data, [ids], content)
    assert (block.dtype, block.flags.c_contiguous) == (np.uint8, True)
    assert np.array_equal(block, expected)


def test_cifar_blocks_hold_the_records_asked_for_over_the_files(cifar: Cifar) -> None:
    images = cifar.slow_images()
    last = len(images) - 1
    ids = [np.array([0, 2]), np.array([3]), np.array([4, last])]
    content = sources.catalogue(cifar.data).content
    found = sources.blocks(cifar.data, ids, [content[block] for block in ids])
    for (block,), rows in zip(found, ids, strict=True):
        assert np.array_equal(block, images[rows])


def test_cifar_content_is_the_hash_of_each_image(cifar: Cifar) -> None:
    expected = hashed(cifar.slow_images())
    assert np.array_equal(sources.catalogue(cifar.data).content, expected)


def test_cifar10_members_are_the_records_of_the_five_training_files(
    tmp_path: Path,
) -> None:
    found = sources.catalogue(Cifar("cifar10", tmp_path).data)
    assert found.member is not None
    assert found.member.tolist() == [True] * 15 + [False] * 3
    assert found.label.tolist() == [i + j for j in range(6) for i in range(3)]
    assert found.n_classes == 10


def test_cifar100_labels_are_the_fine_ones(cifar100: Cifar) -> None:
    found = sources.catalogue(cifar100.data)
    assert found.member is not None
    assert found.member.tolist() == [True] * 3 + [False] * 3
    assert found.label.tolist() == [0, 1, 2, 1, 2, 3]
    assert found.n_classes == 100


def test_cifar_is_read_in_parts_with_the_same_outcome(
    cifar100: Cifar, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sources.catalogue(cifar100.data).content
    monkeypatch.setattr(sources, "READ_ROWS", 4)
    assert np.array_equal(sources.catalogue(cifar100.data).content, whole)


@pytest.mark.parametrize("size", [0, 3073, 3 * 3074 - 1])
def test_a_cifar_file_that_is_cut_short_is_refused(size: int, cifar100: Cifar) -> None:
    path = cifar100.folder / "test.bin"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(AuditError) as caught:
        sources.catalogue(cifar100.data)
    assert str(caught.value) == (
        f"{path}: has {size} bytes, not a multiple of 3074. "
        "Fix: get the whole binary version of cifar100."
    )


def test_a_cifar_label_out_of_range_is_refused(cifar100: Cifar) -> None:
    cifar100.rows["test.bin"][1, 1] = 100
    cifar100.save()
    with pytest.raises(AuditError) as caught:
        sources.catalogue(cifar100.data)
    assert str(caught.value) == (
        f"{cifar100.folder / 'test.bin'}: has the label 100 outside [0, 100). "
        "Fix: correct the labels or the data's format."
    )


def test_a_record_that_changed_since_it_was_chosen_is_refused(cifar: Cifar) -> None:
    ids = np.arange(2)
    content = sources.catalogue(cifar.data).content[ids]
    cifar.rows[cifar.names[0]][1, -1] ^= 1
    cifar.save()
    with pytest.raises(AuditError, match="gives other records, or another order"):
        list(sources.blocks(cifar.data, [ids], [content]))


def test_hashes_are_equal_exactly_where_the_content_is() -> None:
    images = np.zeros((4, 2, 2, 1), dtype=np.uint8)
    images[1, 0, 0] = images[3, 0, 0] = 1
    images[2, 0, 1] = 1
    found = sources.hashes(images)
    equal = found[:, None] == found[None, :]
    expected = [
        [True, False, False, False],
        [False, True, False, True],
        [False, False, True, False],
        [False, True, False, True],
    ]
    assert equal.tolist() == expected


@pytest.mark.parametrize(
    ("source", "given", "expected"),
    [
        ("digits", {}, ((0.0,), (1.0,))),
        (
            "cifar100",
            {},
            ((0.4465, 0.4822, 0.4914), (0.2010, 0.1994, 0.2023)),
        ),
        ("digits", {"mean": [0.5], "std": [0.25]}, ((0.5,), (0.25,))),
    ],
)
def test_channels_are_normalised_by_the_configs_numbers_or_ours(
    source: str, given: Any, expected: Any
) -> None:
    data = Data(source=source, **given)
    assert sources.channels_normalised_by(data) == expected


def test_a_number_of_means_other_than_of_channels_is_refused() -> None:
    data = Data(source="cifar10", mean=[0.5])
    with pytest.raises(AuditError, match=r"data.mean: has 1 values. Fix: give 3."):
        sources.channels_normalised_by(data)


@pytest.mark.parametrize(
    "other",
    [
        (np.zeros((1, 3), np.float32),),
        (np.zeros((1, 3), np.int64),),
        (np.zeros((1, 6), np.int16),),
        (np.zeros((1, 3, 1), np.int32),),
        (np.zeros((1, 1), np.int32), np.zeros((1, 2), np.int32)),
        (np.zeros((1, 2), np.int32), np.zeros((1, 1), np.int32)),
    ],
    ids=["floats", "longer", "shorter", "axes", "one and two", "two and one"],
)
def test_equal_bytes_of_other_types_or_shapes_are_other_records(other: Any) -> None:
    ids = np.zeros((1, 3), np.int32)
    assert sources.hashes(ids) == sources.hashes(ids.copy())
    assert sources.hashes(ids) != sources.hashes(*other)


def test_records_are_equal_only_if_all_their_inputs_are() -> None:
    first = np.array([[1, 2], [1, 2], [1, 2]], np.int32)
    second = np.array([[0.5], [0.5], [0.25]], np.float32)
    one, again, other = sources.hashes(first, second)
    assert one == again != other


# A user's own function


class Fake:
    """What the audit uses of a mindspore dataset."""

    def __init__(
        self,
        images: Any,
        labels: Any,
        batch: int | None = None,
        columns: Sequence[str] = ("image", "label"),
    ) -> None:
        self.images = images
        self.labels = labels
        self.batch = batch
        self.columns = columns

    def get_col_names(self) -> list[str]:
        return list(self.columns)

    def create_dict_iterator(
        self, *, output_numpy: bool, num_epochs: int
    ) -> Iterator[dict[str, Any]]:
        assert output_numpy
        assert num_epochs == 1
        size = self.batch or 1
        for start in range(0, len(self.labels), size):
            rows = slice(start, start + size) if self.batch else start
            yield {"image": self.images[rows], "label": self.labels[rows]}


Returns = Callable[[Callable[[], Any]], None]
IMAGES = np.random.default_rng(6).random((12, 1, 2, 2)).astype(np.float32)
LABELS = (np.arange(12) % 3).astype(np.int32)


@pytest.fixture
def returns(monkeypatch: pytest.MonkeyPatch) -> Returns:
    """Return a function that says what the user's function does."""

    def set_to(function: Callable[[], Any]) -> None:
        monkeypatch.setattr(sources.modules, "call", lambda _: function())

    return set_to


def seven_and_five(batch: int | None = None) -> tuple[Fake, Fake]:
    return (
        Fake(IMAGES[:7], LABELS[:7], batch),
        Fake(IMAGES[7:], LABELS[7:], batch),
    )


def refusal() -> str:
    """Return the message with which the user's function is refused."""
    with pytest.raises(AuditError) as caught:
        sources.catalogue(MINE)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("mine.py:datasets: ")
    return message.removeprefix("mine.py:datasets: ")


@pytest.mark.parametrize("batch", [None, 1, 3, 100])
def test_a_users_records_are_the_same_batched_or_not(
    batch: int | None, returns: Returns
) -> None:
    returns(lambda: seven_and_five(batch))
    found = sources.catalogue(MINE)
    assert found.member is not None
    assert np.array_equal(found.label, LABELS)
    assert found.member.tolist() == [True] * 7 + [False] * 5
    assert np.array_equal(found.content, hashed(IMAGES))
    assert found.n_classes == 3


def test_copies_in_a_users_datasets_are_dropped(returns: Returns) -> None:
    """Members stand three times, non-members twice, and one of them is a member too."""
    inside, outside = (
        np.tile(np.arange(6), 3),
        np.array([*range(6, 12), 0, *range(6, 12)]),
    )
    returns(lambda: tuple(Fake(IMAGES[r], LABELS[r]) for r in (inside, outside)))
    found = records.choose(MINE, sources.catalogue(MINE))
    first_images = np.concatenate((inside, outside))[found.id]
    assert sorted(first_images.tolist()) == list(range(12))
    assert np.array_equal(found.content, hashed(IMAGES[first_images]))
    assert (found.member.sum(), found.nonmember.sum()) == (6, 6)
    assert found.copies_dropped > 0
    assert len(found.copies) == 2 * 6 + 7
    source = np.concatenate((inside, outside))
    assert np.array_equal(source[found.copies[:, 0]], source[found.copies[:, 1]])


def test_a_users_function_is_found_in_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_data.py").write_text(
        "import numpy as np\n"
        "class Fake:\n"
        "    def get_col_names(self):\n"
        "        return ['label', 'image']\n"
        "    def create_dict_iterator(self, **_):\n"
        "        yield {'image': np.ones(2), 'label': np.array(1)}\n"
        "def datasets():\n"
        "    return Fake(), Fake()\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    found = sources.catalogue(Data(source=f"{tmp_path}/their_data.py:datasets"))
    assert found.label.tolist() == [1, 1]


@pytest.mark.parametrize("batch", [None, 1, 3, 100])
@pytest.mark.parametrize(
    "ids",
    [
        [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]],
        [[0], [2, 6, 7], [11]],
        [[3, 4]],
        [list(range(12))],
        [[6], [7]],
    ],
    ids=str,
)
def test_blocks_of_a_users_records_are_those_asked_for(
    batch: int | None, ids: list[list[int]], returns: Returns
) -> None:
    returns(lambda: seven_and_five(batch))
    rows = [np.array(block) for block in ids]
    content = [hashed(IMAGES[block]) for block in rows]
    found = list(sources.blocks(MINE, rows, content))
    assert len(found) == len(rows)
    for (block,), expected in zip(found, rows, strict=True):
        assert block.dtype == np.float32
        assert np.array_equal(block, IMAGES[expected])


def test_a_users_datasets_are_opened_at_once_and_read_no_further_than_asked(
    returns: Returns,
) -> None:
    """A pipeline may start processes when it is opened, which a thread must not."""
    told: list[str] = []

    class Telling(Fake):
        def create_dict_iterator(self, **more: Any) -> Iterator[dict[str, Any]]:
            told.append("opened")
            rows = super().create_dict_iterator(**more)
            return (told.append("read") or row for row in rows)

    returns(lambda: (Telling(IMAGES[:7], LABELS[:7]), Telling(IMAGES[7:], LABELS[7:])))
    found = sources.blocks(MINE, [np.array([1, 2])], [hashed(IMAGES[1:3])])
    assert told == ["opened", "opened"]
    assert len(list(found)) == 1
    assert told[2:] == ["read"] * 3


def test_a_users_record_that_changed_since_it_was_chosen_is_refused(
    returns: Returns,
) -> None:
    returns(seven_and_five)
    rows = [np.array([0, 1]), np.array([2])]
    found = sources.blocks(MINE, rows, [hashed(IMAGES[:2]), hashed(IMAGES[3:4])])
    assert np.array_equal(next(found), IMAGES[:2][None])
    with pytest.raises(AuditError, match="gives other records, or another order"):
        next(found)


def test_a_users_record_that_is_there_no_more_is_refused(returns: Returns) -> None:
    returns(seven_and_five)
    rows, content = [np.array([11, 12])], [hashed(IMAGES[:2])]
    with pytest.raises(AuditError, match="gives other records, or another order"):
        list(sources.blocks(MINE, rows, content))


@pytest.mark.parametrize("what", ["order", "number", "images", "labels"])
def test_records_that_change_from_reading_to_reading_are_refused(
    what: str, returns: Returns
) -> None:
    _, others = seven_and_five()
    readings = iter(
        [
            (Fake(IMAGES[:7], LABELS[:7]), others),
            {
                "order": (Fake(IMAGES[6::-1], LABELS[6::-1]), others),
                "number": (Fake(IMAGES[:6], LABELS[:6]), others),
                "images": (Fake(IMAGES[:7] / 2, LABELS[:7]), others),
                "labels": (Fake(IMAGES[:7], LABELS[1:8]), others),
            }[what],
        ]
    )
    returns(lambda: next(readings))
    assert refusal() == (
        "gives other records, or another order, at each reading. "
        "Fix: leave out shuffling (shuffle=False) and random augmentation."
    )


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (seven_and_five()[:1], "tuple"),
        (seven_and_five()[0], "Fake"),
        ({"members": 1, "nonmembers": 2}, "dict"),
        (None, "NoneType"),
    ],
    ids=["one", "bare", "dict", "nothing"],
)
def test_a_function_that_returns_no_pair_is_refused(
    given: Any, kind: str, returns: Returns
) -> None:
    returns(lambda: given)
    assert refusal() == (
        f"returns {kind}, not two datasets. Fix: return (members, nonmembers)."
    )


def test_a_pair_of_arrays_is_refused(returns: Returns) -> None:
    returns(lambda: (IMAGES[:7], IMAGES[7:]))
    assert refusal() == (
        "returns a ndarray, not a mindspore dataset. Fix: return (members, nonmembers)."
    )


class Columns:
    """A dataset of any columns, unbatched."""

    def __init__(self, **columns: Any) -> None:
        self.columns = columns

    def get_col_names(self) -> list[str]:
        return list(self.columns)

    def create_dict_iterator(self, **_: Any) -> Iterator[dict[str, Any]]:
        for values in zip(*self.columns.values(), strict=True):
            row = zip(self.columns, map(np.asarray, values), strict=True)
            yield dict(row)


TEXT = Data(source="mine.py:datasets", inputs=("ids", "mask"))


def text(**more: Any) -> Columns:
    ids = np.arange(12, dtype=np.int32).reshape(4, 3)
    mask = np.ones((4, 5), np.float16)
    given = {"label": LABELS[:4], "mask": mask, "ids": ids} | more
    return Columns(**given)


def refused_text() -> str:
    with pytest.raises(AuditError) as caught:
        sources.catalogue(TEXT)
    return str(caught.value).removeprefix("mine.py:datasets: ")


def test_inputs_are_the_columns_named_in_their_order_and_of_their_types(
    returns: Returns,
) -> None:
    returns(lambda: (text(), text(ids=np.full((4, 3), 77, np.int32))))
    found = sources.catalogue(TEXT)
    rows = [np.array([0, 1]), np.array([3, 4])]
    content = [found.content[ids] for ids in rows]
    (ids, mask), (last, _) = sources.blocks(TEXT, rows, content)
    assert (ids.dtype, mask.dtype) == (np.int32, np.float16)
    assert ids.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert mask.shape == (2, 5)
    assert last.tolist() == [[9, 10, 11], [77, 77, 77]]


@pytest.mark.parametrize(
    "kind",
    ["uint8", "int8", "int16", "int32", "int64", "uint32", "float16", "float32"],
)
def test_a_users_numbers_keep_their_type(kind: str, returns: Returns) -> None:
    returns(lambda: (text(ids=np.ones((4, 3), kind)),) * 2)
    found = sources.catalogue(TEXT)
    assert found.narrowed == ()
    ((ids, _),) = sources.blocks(TEXT, [np.arange(4)], [found.content[:4]])
    assert ids.dtype == kind


def test_float64_is_read_as_float32_and_told(returns: Returns) -> None:
    ids = np.random.default_rng(3).normal(size=(4, 3))
    returns(lambda: (text(ids=ids), text(ids=ids)))
    found = sources.catalogue(TEXT)
    assert found.narrowed == ("ids",)
    ((read, _),) = sources.blocks(TEXT, [np.arange(4)], [found.content[:4]])
    assert read.dtype == np.float32
    assert np.array_equal(read, ids.astype(np.float32))


@pytest.mark.parametrize(
    ("column", "line"),
    [
        (
            np.ones((4, 3), bool),
            "has bools in the column ids. Fix: cast them to int32 or float32, and "
            "compare in construct (x != 0).",
        ),
        (
            np.array(["a", "b", "c", "d"]),
            "has text in the column ids. Fix: turn it into numbers in the pipeline, as "
            "a tokenizer does.",
        ),
        (
            np.ones((4, 3), np.complex64),
            "has complex64 in the column ids. Fix: give integers or floats.",
        ),
    ],
    ids=["bools", "text", "complex"],
)
def test_a_column_that_holds_no_plain_numbers_is_refused(
    column: Any, line: str, returns: Returns
) -> None:
    returns(lambda: (text(ids=column), text()))
    assert refused_text() == line


def test_records_of_several_shapes_are_refused_and_padding_is_named(
    returns: Returns,
) -> None:
    returns(lambda: (text(), text(ids=np.ones((4, 7), np.int32))))
    assert refused_text() == (
        "has records of ids of shapes (3,) and (7,). Fix: pad or resize all records to "
        "one shape (mindspore.dataset.transforms.PadEnd, or dataset.padded_batch in "
        "place of batch)."
    )


def test_records_of_several_types_are_refused(returns: Returns) -> None:
    returns(lambda: (text(), text(ids=np.ones((4, 3), np.int64))))
    assert refused_text() == (
        "has records of ids of types int32 and int64. Fix: cast them to one type "
        "(mindspore.dataset.transforms.TypeCast)."
    )


def test_columns_that_the_config_does_not_name_are_refused(returns: Returns) -> None:
    returns(lambda: (text(), text()))
    assert refusal() == (
        "has the columns label, mask, ids, and no image. Fix: set data.inputs to those "
        "that the network is given, in the order of construct's arguments, such as "
        '["mask", "ids"].'
    )
    more = text(length=np.arange(4))
    returns(lambda: (more, more))
    assert refused_text() == (
        "has the column length, which data.inputs does not name. Fix: name it there, "
        'or leave it out by dataset.project(["ids", "mask", "label"]).'
    )


def test_other_columns_are_refused(returns: Returns) -> None:
    odd = Fake(IMAGES, LABELS, columns=("image", "fine_label", "coarse_label"))
    returns(lambda: (odd, odd))
    assert refusal() == (
        "has the columns image, fine_label, coarse_label, and no label. "
        "Fix: rename them (dataset.rename), so that there is a label."
    )


@pytest.mark.parametrize("batch", [None, 3])
def test_labels_that_are_not_whole_numbers_are_refused(
    batch: int | None, returns: Returns
) -> None:
    labels = LABELS.astype(np.float32)
    returns(lambda: (Fake(IMAGES, labels, batch), Fake(IMAGES, labels, batch)))
    assert refusal() == "has labels of type float32. Fix: cast them to int32."


def test_labels_of_one_hot_vectors_are_refused(returns: Returns) -> None:
    one_hot = np.eye(3, dtype=np.int32)[LABELS]
    returns(lambda: (Fake(IMAGES, one_hot, 4), Fake(IMAGES, one_hot, 4)))
    assert refusal() == (
        "yields image (4, 1, 2, 2) with labels (4, 3). "
        "Fix: give one whole number as the label of each record."
    )


def test_negative_labels_are_refused(returns: Returns) -> None:
    returns(lambda: (Fake(IMAGES, LABELS - 1), Fake(IMAGES, LABELS)))
    assert refusal() == "has the label -1. Fix: give labels from 0 upwards."


def test_datasets_without_records_are_refused(returns: Returns) -> None:
    returns(lambda: (Fake(IMAGES, []), Fake(IMAGES, [])))
    assert refusal() == "has no records. Fix: return datasets that are not empty."


def test_a_pipeline_that_fails_is_refused_in_one_line(returns: Returns) -> None:
    class Broken(Fake):
        def create_dict_iterator(self, **_: Any) -> Iterator[dict[str, Any]]:
            msg = "map operation: [Decode] failed.\n---\n- C++ Call Stack: ...\n"
            raise RuntimeError(msg)

    returns(lambda: (Broken(IMAGES, LABELS), Fake(IMAGES, LABELS)))
    assert refusal() == (
        "cannot be read (RuntimeError: map operation: [Decode] failed). "
        "Fix: make its pipeline run."
    )


# Signals made elsewhere

N, CLASSES = 6, 3
LOGITS = np.random.default_rng(9).normal(size=(N, CLASSES)).astype(np.float32)
MEMBER = np.arange(N) < 4
TRAIN = np.arange(N) % 2 == 0
SIGNALS = {"logits": LOGITS, "label": np.arange(N) % CLASSES, "member": MEMBER}
# Of two models and of two views; the target and the unchanged record come first.
TWO = np.stack((LOGITS, LOGITS + 1))
VIEWS = np.stack((TWO, TWO + 5), axis=2)
SIDES = np.stack((MEMBER, ~MEMBER))
Save = Callable[..., Data]


@pytest.fixture(params=["npz", "h5"])
def save(request: pytest.FixtureRequest, tmp_path: Path) -> Save:
    """Return a function that writes the arrays in either format."""

    def saved(arrays: dict[str, Any]) -> Data:
        path = tmp_path / f"signals.{request.param}"
        if request.param == "npz":
            np.savez(path, **arrays)
        else:
            with h5py.File(path, "w") as file:
                for name, array in arrays.items():
                    file[name] = array
        return Data(source="arrays", path=str(path))

    return saved


@pytest.mark.parametrize(
    "arrays",
    [
        SIGNALS,
        {**SIGNALS, "logits": TWO, "member": SIDES},
        {**SIGNALS, "logits": VIEWS, "member": SIDES},
        {**SIGNALS, "logits": TWO[:1], "member": SIDES[:1]},
    ],
    ids=["records", "models", "views", "one model"],
)
def test_signals_of_each_shape_have_the_target_first(
    arrays: dict[str, Any], save: Save
) -> None:
    found = sources.signals(save(arrays))
    assert np.array_equal(found.outputs.of(0, slice(None))[:, 0], LOGITS)
    assert np.array_equal(found.label, SIGNALS["label"])
    assert found.label.dtype == np.int32
    assert np.array_equal(found.member[0], MEMBER)
    assert found.outputs.shape[:2] == found.member.shape
    assert found.train is None


def test_signals_may_say_which_records_the_attack_learns_from(save: Save) -> None:
    found = sources.signals(save({**SIGNALS, "train": TRAIN}))
    assert found.train is not None
    assert np.array_equal(found.train, TRAIN)


def test_signals_may_hold_a_population(save: Save) -> None:
    assert not sources.signals(save(SIGNALS)).population.any()
    found = sources.catalogue(save({**SIGNALS, "population": ~MEMBER}))
    assert found.population is not None
    assert np.array_equal(found.population, ~MEMBER)


def test_a_population_of_members_is_refused(save: Save) -> None:
    data = save({**SIGNALS, "population": MEMBER})
    with pytest.raises(AuditError) as caught:
        sources.signals(data)
    assert str(caught.value) == (
        f"{data.path}: has members of the target in its population. "
        "Fix: give records that it was not trained on."
    )


def test_signals_have_a_catalogue(save: Save) -> None:
    found = sources.catalogue(save(SIGNALS))
    assert found.member is not None
    assert np.array_equal(found.member, MEMBER)
    assert found.n_classes == CLASSES
    assert len({*found.content.tolist()} - {b""}) == N


def test_records_with_the_same_label_and_outputs_of_all_models_have_one_content(
    save: Save,
) -> None:
    rows = np.array([0, 1, 2, 3, 4, 5, 0, 4, 2])
    logits = TWO[:, rows].copy()
    logits[1, 7, 1] += 1  # of a reference
    signals = {"logits": logits, "label": rows % CLASSES, "member": SIDES[:, rows]}
    content = sources.catalogue(save(signals)).content
    equal = np.argwhere(np.triu(content[:, None] == content, 1)).tolist()
    assert equal == [[0, 6], [2, 8]]


LABELS_OF_MANY = np.random.default_rng(2).integers(0, 4, 200)


@pytest.mark.parametrize(
    "logits",
    [
        5 * np.eye(4)[LABELS_OF_MANY],
        5 * np.eye(4)[np.where(np.arange(200) % 9, LABELS_OF_MANY, 0)],
        np.random.default_rng(3).normal(size=(200, 2)).round(1)[:, [0, 1, 0, 1]],
        np.random.default_rng(3).normal(size=(30, 4))[np.arange(200) % 30],
    ],
    ids=["classes", "wrong classes", "rounded", "of other labels"],
)
def test_outputs_that_distinct_records_share_are_no_sign_of_copies(
    logits: NDArray[np.float64], save: Save
) -> None:
    signals = {"logits": logits, "label": LABELS_OF_MANY, "member": np.arange(200) < 9}
    assert set(sources.catalogue(save(signals)).content.tolist()) == {b""}


def test_copies_are_told_where_one_in_fifty_has_another_label(save: Save) -> None:
    rows = np.repeat(np.arange(100), 3)
    logits = np.random.default_rng(3).normal(size=(100, 4))[rows]
    label = rows % 4
    label[:3] = [0, 1, 2]
    signals = {"logits": logits, "label": label, "member": np.arange(300) < 150}
    content = sources.catalogue(save(signals)).content
    assert len({*content.tolist()}) == 102


MARGIN = np.random.default_rng(7).normal(size=(2, N, 2))
MARGINS: dict[str, Any] = {"margin": MARGIN, "member": SIDES}


@pytest.mark.parametrize(
    ("margin", "member"),
    [(MARGIN[0, :, 0], MEMBER), (MARGIN[:, :, 0], SIDES), (MARGIN, SIDES)],
    ids=["records", "models", "views"],
)
def test_margins_of_each_shape_have_the_target_first(
    margin: NDArray[np.float64], member: NDArray[np.bool_], save: Save
) -> None:
    found = sources.signals(save({"margin": margin, "member": member}))
    assert found.kind == "margins"
    assert found.outputs.shape == (*found.member.shape, found.outputs.shape[2], 1)
    assert np.array_equal(found.outputs.of(0, slice(None))[:, 0, 0], MARGIN[0, :, 0])
    assert np.array_equal(found.member[0], MEMBER)
    assert (found.label == UNLABELLED).all()


def test_margins_tell_no_copies_and_may_have_labels(save: Save) -> None:
    found = sources.catalogue(save({**MARGINS, "label": SIGNALS["label"] + 4}))
    assert set(found.content.tolist()) == {b""}
    assert np.array_equal(found.label, SIGNALS["label"] + 4)
    assert found.n_classes == SIGNALS["label"].max() + 5


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"logits": LOGITS},
            "has both logits and margin. Fix: leave out margin, which is computed "
            "from the logits.",
        ),
        (
            {"margin": np.ones((2, N), dtype=int)},
            "has a margin of type int64 and shape (2, 6). Fix: give floats "
            "([n_models,] n_records[, n_views]).",
        ),
        (
            {"margin": np.ones((2, N, 1, 3))},
            "has a margin of type float64 and shape (2, 6, 1, 3). Fix: give floats "
            "([n_models,] n_records[, n_views]).",
        ),
        (
            {"margin": MARGIN.transpose(1, 0, 2), "label": SIGNALS["label"]},
            "has margins of shape (6, 2, 2), but label and member have 6 records. "
            "Fix: transpose the margins to ([n_models,] n_records[, n_views]).",
        ),
        (
            {"label": np.full(N, -1)},
            "has the label -1 outside [0, 2147483648). Fix: correct the labels or the "
            "data's format.",
        ),
        (
            {"margin": np.stack((MARGIN[0], np.zeros((N, 2))))},
            "array margin: model 1 gives the same outputs for every record. Fix: check "
            "its checkpoint (weights that are NaN?) and how it was run.",
        ),
        (
            {"margin": 1 / (1 + np.exp(-MARGIN))},
            "array margin: the target gives values in [0, 1], as confidences are. "
            "Fix: give log(p / (1 - p)).",
        ),
    ],
)
def test_margins_that_cannot_be_are_refused(
    changed: dict[str, Any], message: str, save: Save
) -> None:
    data = save({**MARGINS, **changed})
    with pytest.raises(AuditError) as caught:
        sources.catalogue(data)
    assert str(caught.value) == f"{data.path}: {message}"


@pytest.mark.parametrize("name", SIGNALS)
def test_signals_without_one_of_the_arrays_are_refused(name: str, save: Save) -> None:
    data = save({k: v for k, v in SIGNALS.items() if k != name})
    with pytest.raises(AuditError) as caught:
        sources.signals(data)
    assert str(caught.value) == (
        f"{data.path}: has no array {name!r}. "
        "Fix: give logits, label and member; or margin and member."
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"logits": LOGITS[0]},
            "has logits of type float32 and shape (3,). Fix: give floats "
            "([n_models,] n_records, [n_views,] n_classes)",
        ),
        (
            {"logits": np.ones((N, CLASSES), dtype=int)},
            "has logits of type int64 and shape (6, 3). Fix: give floats "
            "([n_models,] n_records, [n_views,] n_classes)",
        ),
        (
            {"label": np.zeros(N)},
            "has label of type float64 and shape (6,). Fix: give integers (6,)",
        ),
        (
            {"label": np.zeros(N - 1, dtype=int)},
            "has label of type int64 and shape (5,). Fix: give integers (6,)",
        ),
        (
            {"member": MEMBER.astype(int)},
            "has member of type int64 and shape (6,). Fix: give bools (6,)",
        ),
        (
            {"population": MEMBER[1:]},
            "has population of type bool and shape (5,). Fix: give bools (6,)",
        ),
        (
            {"member": SIDES},
            "has member of type bool and shape (2, 6). Fix: give bools (6,)",
        ),
        (
            {"logits": TWO},
            "has member of type bool and shape (6,). Fix: give bools (2, 6)",
        ),
        (
            {"train": TRAIN[:-1]},
            "has train of type bool and shape (5,). Fix: give bools (6,)",
        ),
        (
            {"label": np.full(N, CLASSES)},
            "has the label 3 outside [0, 3). Fix: correct the labels or the data's "
            "format",
        ),
        (
            {"label": np.full(N, -1)},
            "has the label -1 outside [0, 3). Fix: correct the labels or the data's "
            "format",
        ),
    ],
)
def test_signals_of_a_wrong_shape_or_type_are_refused(
    changed: dict[str, Any], message: str, save: Save
) -> None:
    data = save({**SIGNALS, **changed})
    with pytest.raises(AuditError) as caught:
        sources.signals(data)
    assert str(caught.value) == f"{data.path}: {message}."


@pytest.mark.parametrize("name", ["signals.npz", "signals.h5"])
@pytest.mark.parametrize("content", [b"", b"not a file of arrays"])
def test_signals_in_a_file_of_another_kind_are_refused(
    name: str, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    message = f"{re.escape(str(path))}: cannot be read .*Fix: give an .npz or .h5 file."
    with pytest.raises(AuditError, match=message):
        sources.signals(Data(source="arrays", path=str(path)))


@pytest.mark.parametrize(
    ("name", "kind"), [("label", "integers"), ("member", "bools"), ("logits", "floats")]
)
def test_pickled_signals_are_refused_by_the_name_of_the_array(
    name: str, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "signals.npz"
    np.savez(path, **{**SIGNALS, name: np.array([None] * N)})
    with pytest.raises(AuditError) as caught:
        sources.signals(Data(source="arrays", path=str(path)))
    assert str(caught.value) == (
        f"{path}: has Python objects or strings in the array {name!r}. "
        f"Fix: save it as {kind}, not of dtype object."
    )


def test_labels_of_strings_in_h5_are_refused_by_their_name(tmp_path: Path) -> None:
    path = tmp_path / "signals.h5"
    with h5py.File(path, "w") as file:
        for name, array in SIGNALS.items():
            file[name] = ["a"] * N if name == "label" else array
    with pytest.raises(AuditError) as caught:
        sources.signals(Data(source="arrays", path=str(path)))
    assert str(caught.value) == (
        f"{path}: has Python objects or strings in the array 'label'. "
        "Fix: save it as integers, not of dtype object."
    )


def test_an_array_without_values_in_h5_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signals.h5"
    with h5py.File(path, "w") as file:
        for name, array in SIGNALS.items():
            file[name] = h5py.Empty("f4") if name == "logits" else array
    with pytest.raises(AuditError) as caught:
        sources.signals(Data(source="arrays", path=str(path)))
    assert str(caught.value) == (
        f"{path}: has no values in the array 'logits'. Fix: store floats in it."
    )


@pytest.mark.parametrize(
    ("logits", "label_and_member"),
    [
        (LOGITS.T, {}),
        (TWO.transpose(0, 2, 1), {"member": SIDES}),
        (VIEWS.transpose(0, 2, 1, 3), {"member": SIDES}),
        (VIEWS.transpose(3, 0, 2, 1), {"member": SIDES}),
    ],
    ids=["records", "models", "views", "all axes"],
)
def test_transposed_logits_are_blamed_where_label_and_member_agree(
    logits: Any, label_and_member: dict[str, Any], save: Save
) -> None:
    data = save({**SIGNALS, **label_and_member, "logits": logits})
    with pytest.raises(AuditError) as caught:
        sources.signals(data)
    assert str(caught.value) == (
        f"{data.path}: has logits of shape {logits.shape}, but label and member have "
        "6 records. Fix: transpose the logits to ([n_models,] n_records, [n_views,] "
        "n_classes)."
    )


def test_logits_of_fewer_records_are_blamed_where_label_and_member_agree(
    save: Save,
) -> None:
    data = save({**SIGNALS, "logits": LOGITS[:5]})
    with pytest.raises(AuditError) as caught:
        sources.signals(data)
    assert str(caught.value) == (
        f"{data.path}: has logits of shape (5, 3), but label and member have 6 "
        "records. Fix: give ([n_models,] n_records, [n_views,] n_classes)."
    )


@pytest.mark.parametrize("shape", [(N, 1), (2, N, 1), (2, N, 3, 1)], ids=str)
def test_a_single_logit_of_two_classes_is_read_beside_a_zero(
    shape: tuple[int, ...], save: Save
) -> None:
    single = np.random.default_rng(4).normal(size=shape)
    member = np.broadcast_to(MEMBER, shape[: 1 if len(shape) == 2 else 2])
    given = {"logits": single, "label": np.arange(N) % 2, "member": member}
    found = sources.signals(save(given))
    assert found.outputs.shape[-1] == 2
    whole = np.stack(
        [found.outputs.of(m, slice(None)) for m in range(len(found.member))]
    )
    assert not whole[..., 0].any()
    assert np.array_equal(whole[..., 1].ravel(), single.ravel())
    with pytest.raises(AuditError, match=r"has the label 2 outside \[0, 2\)"):
        sources.signals(save({**given, "label": np.arange(N) % 3}))


def test_some_records_of_a_model_are_read_alone(save: Save) -> None:
    outputs = sources.signals(
        save({**SIGNALS, "logits": VIEWS, "member": SIDES})
    ).outputs
    rows = np.array([1, 2, 5])
    for model in range(2):
        assert np.array_equal(outputs.of(model, rows), VIEWS[model, rows])
        assert np.array_equal(outputs.of(model, slice(2, 4)), VIEWS[model, 2:4])
    assert outputs.of(1, rows[:0]).shape == (0, *VIEWS.shape[2:])


def test_a_catalogue_is_the_same_in_small_blocks(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.array([0, 1, 2, 3, 4, 5, 0, 4, 2])
    logits = TWO[:, rows].copy()
    logits[1, 7, 1] += 1
    data = save({"logits": logits, "label": rows % CLASSES, "member": SIDES[:, rows]})
    whole = sources.catalogue(data)
    monkeypatch.setattr(sources, "READ_VALUES", 2 * CLASSES)
    assert np.array_equal(sources.catalogue(data).content, whole.content)


def test_a_single_probability_of_two_classes_is_refused(save: Save) -> None:
    n = 40
    given = {
        "logits": np.random.default_rng(4).random((n, 1)),
        "label": np.arange(n) % 2,
        "member": np.arange(n) < 20,
    }
    with pytest.raises(AuditError) as caught:
        sources.catalogue(save(given))
    assert str(caught.value).endswith(
        ": array logits: the target gives a probability, which lies in [0, 1], as its "
        "single logit. Fix: give the logits before the sigmoid."
    )


def test_signals_need_no_inputs(save: Save) -> None:
    assert sources.inputs(save(SIGNALS), N) is None


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_inputs_of_floats_become_float32(kind: type, save: Save) -> None:
    given = np.arange(N * 4).reshape(N, 2, 2).astype(kind)
    found = sources.inputs(save({**SIGNALS, "inputs": given}), N)
    assert found is not None
    assert found.dtype == np.float32
    assert np.array_equal(found, given)


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int64])
def test_inputs_of_whole_numbers_stay_as_they_are(kind: type, save: Save) -> None:
    given = np.arange(N * 4, dtype=kind).reshape(N, 4)
    found = sources.inputs(save({**SIGNALS, "inputs": given}), N)
    assert found is not None
    assert found.dtype == kind
    assert np.array_equal(found, given)


INPUTS_FIX = "Fix: give floats or integers (6, ...), or leave them out"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            np.zeros((N - 1, 2)),
            f"has inputs of type float64 and shape (5, 2). {INPUTS_FIX}",
        ),
        (
            np.zeros((N, 0)),
            f"has inputs of type float64 and shape (6, 0). {INPUTS_FIX}",
        ),
        (np.zeros(()), f"has inputs of type float64 and shape (). {INPUTS_FIX}"),
        (MEMBER, f"has inputs of type bool and shape (6,). {INPUTS_FIX}"),
        (
            np.array([0, 1, 2, 3, 4, np.nan]),
            "has inputs that are NaN or infinite as float32. Fix: correct the records",
        ),
        (
            np.array([0, 1, 2, 3, 4, 1e300]),
            "has inputs that are NaN or infinite as float32. Fix: correct the records",
        ),
    ],
    ids=["number", "empty", "scalar", "bool", "NaN", "too large"],
)
def test_inputs_that_cannot_be_compared_are_refused(
    inputs: np.ndarray[Any, Any], message: str, save: Save
) -> None:
    data = save({**SIGNALS, "inputs": inputs})
    with pytest.raises(AuditError) as caught:
        sources.inputs(data, N)
    assert str(caught.value) == f"{data.path}: {message}."


def test_signals_in_a_file_that_is_cut_short_are_refused(save: Save) -> None:
    data = save(SIGNALS)
    path = Path(str(data.path))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(AuditError, match="cannot be read"):
        sources.signals(data)


def test_a_label_beyond_32_bits_is_refused(returns: Returns) -> None:
    labels = LABELS.astype(np.int64)
    labels[3] = 2**40
    returns(lambda: (Fake(IMAGES, labels), Fake(IMAGES, labels)))
    assert str(2**40) in refusal()


def test_images_of_different_sizes_are_refused(returns: Returns) -> None:
    images = [np.zeros((1, 2, 2), np.float32), np.zeros((1, 3, 3), np.float32)]
    returns(lambda: (Fake(images, LABELS[:2]), Fake(images, LABELS[:2])))
    assert "has records of image of shapes (1, 2, 2) and (1, 3, 3)" in refusal()


def test_signals_in_a_renamed_npy_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "signals.npz"
    with path.open("wb") as file:
        np.save(file, LOGITS)
    with pytest.raises(AuditError, match="cannot be read"):
        sources.signals(Data(source="arrays", path=str(path)))


def test_a_flipped_byte_in_compressed_signals_never_ends_in_a_traceback(
    tmp_path: Path,
) -> None:
    path = tmp_path / "signals.npz"
    np.savez_compressed(path, **SIGNALS)
    whole, refused = path.read_bytes(), 0
    for place in range(40, len(whole), 3):
        flipped = bytes([whole[place] ^ 255])
        path.write_bytes(whole[:place] + flipped + whole[place + 1 :])
        try:
            sources.signals(Data(source="arrays", path=str(path)))
        except AuditError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("name", ["logits", "member"])
def test_signals_in_groups_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "signals.h5"
    with h5py.File(path, "w") as file:
        for other, array in SIGNALS.items():
            if other != name:
                file[other] = array
        file.create_group(name)["part"] = SIGNALS[name]
    with pytest.raises(AuditError) as caught:
        sources.signals(Data(source="arrays", path=str(path)))
    kind = {"logits": "floats", "member": "bools"}[name]
    assert str(caught.value) == (
        f"{path}: has a group {name!r} where an array is expected. "
        f"Fix: store {name} as one dataset, of {kind}."
    )


# Outputs on another scale than logits


def softmax(logits: Any) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def many(n_models: int = 3, n_classes: int = 4, n: int = 30) -> dict[str, Any]:
    rng = np.random.default_rng(n_classes)
    return {
        "logits": rng.normal(size=(n_models, n, n_classes)) * 3,
        "label": np.arange(n) % n_classes,
        "member": rng.random((n_models, n)) < 0.5,
    }


@pytest.mark.parametrize(
    ("model", "name"), [(0, "the target"), (2, "model 2")], ids=["target", "reference"]
)
def test_probabilities_are_refused_by_the_name_of_their_model(
    model: int, name: str, save: Save
) -> None:
    arrays = many()
    arrays["logits"][model] = softmax(arrays["logits"][model])
    data = save(arrays)
    with pytest.raises(AuditError) as caught:
        sources.catalogue(data)
    assert str(caught.value) == (
        f"{data.path}: array logits: {name} gives probabilities, which lie in [0, 1] "
        "and sum to 1, as logits. Fix: give the logits before the softmax, or their "
        "log-softmax."
    )


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (
            "decisions",
            "gives decisions, a 1 for one class and 0 for all others, as logits. Fix: "
            "give the logits from which they were decided",
        ),
        (
            "negated",
            "gives negative log-probabilities as logits. Fix: change the sign: "
            "log-probabilities can be used as logits",
        ),
        (
            "constant",
            "gives the same outputs for every record. Fix: check its checkpoint "
            "(weights that are NaN?) and how it was run",
        ),
    ],
)
def test_other_outputs_that_are_no_logits_are_refused(
    kind: str, words: str, save: Save
) -> None:
    arrays = many()
    logits = arrays["logits"]
    arrays["logits"] = {
        "decisions": np.eye(4)[logits.argmax(axis=-1)],
        "negated": -np.log(softmax(logits)),
        "constant": np.broadcast_to(logits[:, :1], logits.shape),
    }[kind]
    data = save(arrays)
    with pytest.raises(AuditError) as caught:
        sources.catalogue(data)
    assert str(caught.value) == f"{data.path}: array logits: the target {words}."


def test_log_probabilities_are_logits(save: Save) -> None:
    arrays = many()
    data = save({**arrays, "logits": np.log(softmax(arrays["logits"]))})
    assert sources.catalogue(data).n_classes == 4


CORRUPTIONS: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "softened": (
        "gives probabilities",
        lambda a: {"logits": softmax(a["logits"] / 2).astype(a["logits"].dtype)},
    ),
    "objects": ("in the array 'label'", lambda a: {"label": a["label"].astype(object)}),
    "transposed": (
        "transpose the logits",
        lambda a: (
            {"logits": np.swapaxes(a["logits"], -1, a["logits"].ndim - 3 or 1)}
            if a["logits"].ndim == 4
            else {"logits": np.swapaxes(a["logits"], -1, -2)}
        ),
    ),
}


def sound(seed: int) -> dict[str, Any]:
    """Return sound signals whose shape, type and scale the seed draws."""
    rng = np.random.default_rng(seed)
    n_classes = int(rng.choice([2, 3, 10, 100]))
    n = n_classes + int(rng.integers(1, 200))
    n_models, n_views = (int(count) for count in rng.integers(1, 4, 2))
    shape = [(n,), (n_models, n), (n_models, n, n_views)][seed % 3]
    kind = [np.float16, np.float32, np.float64][seed // 3 % 3]
    logits = rng.normal(size=(*shape, n_classes)) * rng.choice([0.01, 1.0, 10.0])
    # As they come, above 0, within [0, 1], and as log-probabilities.
    form = seed // 9 % 4
    if form == 1:
        logits = np.abs(logits)
    elif form == 2:
        logits = 1 / (1 + np.exp(-logits))
    elif form == 3:
        logits = np.log(softmax(logits))
    return {
        "logits": logits.astype(kind),
        "label": rng.integers(0, n_classes, n),
        "member": rng.random(shape[:2]) < 0.5,
    }


@pytest.mark.parametrize("seed", range(36))
def test_sound_signals_pass_and_corrupted_ones_are_refused(
    seed: int, tmp_path: Path
) -> None:
    arrays, path = sound(seed), tmp_path / "signals.npz"
    data = Data(source="arrays", path=str(path))
    np.savez(path, **arrays)
    found = sources.catalogue(data)
    assert np.array_equal(found.label, arrays["label"])
    n_records = len(arrays["label"])
    for kind, (words, corrupt) in CORRUPTIONS.items():
        if kind == "softened" and n_records < outputs.FEWEST:
            continue
        np.savez(path, **{**arrays, **corrupt(arrays)})
        with pytest.raises(AuditError, match=re.escape(words)):
            sources.catalogue(data)
