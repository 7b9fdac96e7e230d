import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.config import Data
from pipeline.data import brought, sources
from pipeline.errors import AuditError

DIGITS = Data(source="digits", members=10)
CIFAR = Data(source="cifar10", members=10)


def images(folder: Path, table: str | None, *pictures: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    for place, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / f"{place}.png")
    if table is not None:
        (folder / brought.LABELS).write_text(table, encoding="utf-8")
    return folder


def test_a_digit_as_an_image_is_the_digit_of_the_source(tmp_path: Path) -> None:
    stored, labels = sources._digits()
    lines = ["file,label", *(f"{i}.png,{labels[i]}" for i in (2, 0))]
    path = images(tmp_path / "a", "\n".join(lines), *stored[:3, ..., 0])
    made = brought.read(path, DIGITS, 10)
    assert made.name == ("2.png", "0.png")
    assert np.array_equal(made.inputs[0], stored[[2, 0]])
    assert made.label.tolist() == labels[[2, 0]].tolist()
    expected = sources.hashes(stored[[2, 0]])
    assert np.array_equal(sources.hashes(*made.inputs), expected)


def test_images_of_any_mode_become_those_of_the_source(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    path = images(tmp_path / "a", "label,file\n7,0.png\n7,1.png\n", pixels)
    Image.fromarray(pixels).convert("RGBA").save(path / "1.png")
    made = brought.read(path, CIFAR, 10)
    assert np.array_equal(made.inputs[0], np.stack([pixels, pixels]))


def test_arrays_are_read_in_the_type_of_the_source(tmp_path: Path) -> None:
    stored, labels = sources._digits()
    for form in (stored[:3], stored[:3, ..., 0]):
        np.savez(tmp_path / "a.npz", image=form, label=labels[:3])
        made = brought.read(tmp_path / "a.npz", DIGITS, 10)
        assert np.array_equal(made.inputs[0], stored[:3])
        assert made.name == ("record 0", "record 1", "record 2")
    users = Data(source="my.py:datasets", members=10, inputs=("ids", "mask"))
    np.savez(
        tmp_path / "b.npz",
        ids=np.arange(6).reshape(2, 3),
        mask=np.ones(2),
        label=[0, 1],
    )
    made = brought.read(tmp_path / "b.npz", users, 2)
    assert [column.dtype for column in made.inputs] == [np.int64, np.float32]


SMALL, LARGE = np.zeros((8, 8), np.uint8), np.zeros((9, 8), np.uint8)


@pytest.mark.parametrize(
    ("table", "picture", "words"),
    [
        (None, SMALL, r"labels\.csv: is missing\. Fix: write a line 'file,label'"),
        ("name,label\n", SMALL, r"labels\.csv: has not the columns file and label"),
        ("file,label\n", SMALL, r"has no records"),
        ("file,label\n0.png,x\n", SMALL, r"has the label 'x' of 0\.png"),
        ("file,label\n0.png\n", SMALL, r"has the label '' of 0\.png"),
        ("file,label\n0.png,10\n", SMALL, r"has the label 10 outside \[0, 10\)"),
        ("file,label\n1.png,1\n", SMALL, r"1\.png: is missing\. Fix: correct its name"),
        ("file,label\nlabels.csv,1\n", SMALL, r"cannot be read as an image"),
        ("file,label\n0.png,1\n", LARGE, r"has 8 by 9 pixels\. Fix: .* 8 by 8"),
    ],
)
def test_a_folder_that_is_wrong_is_refused(
    table: str | None, picture: np.ndarray, words: str, tmp_path: Path
) -> None:
    path = images(tmp_path / "a", table, picture)
    with pytest.raises(AuditError, match=words):
        brought.read(path, DIGITS, 10)


def test_a_table_in_another_coding_is_refused(tmp_path: Path) -> None:
    path = images(tmp_path / "a", None, SMALL)
    (path / brought.LABELS).write_bytes(b"file,label\n\xff.png,1\n")
    with pytest.raises(AuditError, match="Fix: save it as UTF-8"):
        brought.read(path, DIGITS, 10)


GOOD = {"image": np.zeros((2, 8, 8), np.uint8), "label": np.array([1, 2])}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"image": None}, "has no array 'image'. Fix: give image, label"),
        ({"label": None}, "has no array 'label'"),
        ({"label": np.array([0.5, 1.0])}, "has label of type float64"),
        ({"label": np.array([-1, 1])}, r"has the label -1 outside"),
        ({"image": np.zeros((2, 8, 8))}, r"Fix: give bytes \(2, 8, 8, 1\)"),
        ({"image": np.zeros((2, 9, 8), np.uint8)}, "has image of type uint8 and shape"),
        ({"image": np.zeros((3, 8, 8), np.uint8)}, r"Fix: give numbers \(2, \.\.\.\)"),
        ({"image": np.array(["a", "b"])}, "has image of type <U1"),
        ({"image": np.array([None, 1])}, "cannot be read"),
    ],
)
def test_arrays_that_are_wrong_are_refused(
    changed: dict[str, Any], words: str, tmp_path: Path
) -> None:
    arrays = {k: v for k, v in {**GOOD, **changed}.items() if v is not None}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(AuditError, match=words):
        brought.read(tmp_path / "a.npz", DIGITS, 10)


def test_what_is_no_archive_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(os.urandom(100))
    with pytest.raises(AuditError, match="cannot be read"):
        brought.read(tmp_path / "a.npz", DIGITS, 10)
    with pytest.raises(AuditError, match=r"RECORDS=.*is not there"):
        brought.read(tmp_path / "b", DIGITS, 10)


def test_images_of_a_users_own_source_are_refused(tmp_path: Path) -> None:
    path = images(tmp_path / "a", "file,label\n0.png,1\n", SMALL)
    users = Data(source="my.py:datasets", members=10)
    with pytest.raises(AuditError, match=r"npz file of image and label"):
        brought.read(path, users, 10)
