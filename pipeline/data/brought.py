"""Brought: records that are brought to an audit later, by files of the user's."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.config import Data
from pipeline.data import modules
from pipeline.data.sources import IMAGE_SHAPES, Inputs
from pipeline.errors import AuditError

LABELS = "labels.csv"  # beside the images
COLUMNS = ("file", "label")


@dataclass(frozen=True)
class Brought:
    """Records in the form in which the source of an audit stores its own."""

    name: tuple[str, ...]  # (n_records,) of the file, or the place in the array
    inputs: Inputs  # as `sources.blocks` yields them
    label: NDArray[np.int32]  # (n_records,)


def read(path: Path, data: Data, n_classes: int) -> Brought:
    """Read records that somebody brings.

    Args:
        path: a folder of images with labels.csv in it, whose columns are file and
            label; or an .npz file with the arrays label and, for each of `data.inputs`,
            one of that name.
        data: the source of the audit.
        n_classes: of the audit; labels lie below.

    Raises:
        AuditError: if a file is missing or no image, or records are of another shape
            or type than those of the source, or have no right label.
    """
    if path.is_dir():
        names, inputs, labels = _of_folder(path, data)
    elif path.is_file():
        names, inputs, labels = _of_arrays(path, data)
    else:
        fix = "pass RECORDS=a folder of images with labels.csv, or an .npz file"
        raise AuditError(f"RECORDS={path}", "is not there", fix)
    if not len(labels):
        raise AuditError(path, "has no records", "give one or more")
    wrong = labels[(labels < 0) | (labels >= n_classes)]
    if len(wrong):
        problem = f"has the label {wrong[0]} outside [0, {n_classes})"
        raise AuditError(path, problem, "number the classes as the audit's source does")
    return Brought(tuple(names), inputs, labels.astype(np.int32))


def _of_folder(folder: Path, data: Data) -> tuple[list[str], Inputs, NDArray[np.int64]]:
    if data.source not in IMAGE_SHAPES:
        problem = f"is a folder, and how {data.source} prepares images is not known"
        names = " and ".join([*data.inputs, "label"])
        fix = f"give an .npz file of {names}, as the network takes them"
        raise AuditError(f"RECORDS={folder}", problem, fix)
    shape = IMAGE_SHAPES[data.source]
    rows = list(_rows(folder / LABELS))
    images = [_image(folder / name, shape) for name, _ in rows]
    stacked = np.stack(images) if images else np.empty((0, *shape), np.uint8)
    labels = np.array([label for _, label in rows], dtype=np.int64)
    return [name for name, _ in rows], (stacked,), labels


def _rows(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the names and labels of a table."""
    fix = f"write a line '{','.join(COLUMNS)}' and one for each image"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {*COLUMNS} <= {*(reader.fieldnames or ())}:
                problem = f"has not the columns {' and '.join(COLUMNS)}"
                raise AuditError(path, problem, fix)
            for row in reader:
                name, label = row["file"], (row["label"] or "").strip()
                if not label.isdecimal():
                    problem = f"has the label {label!r} of {name}"
                    raise AuditError(path, problem, "give whole numbers from 0 upwards")
                yield name, int(label)
    except FileNotFoundError:
        raise AuditError(path, "is missing", fix) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problem = f"cannot be read ({modules.summary(error)})"
        raise AuditError(path, problem, "save it as UTF-8") from error


def _image(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    height, width, n_channels = shape
    try:
        # What is of another size is not decoded, however large.
        with Image.open(path) as image:
            if image.size != (width, height):
                problem = "has {} by {} pixels".format(*image.size)
                fix = f"give images of {width} by {height}, as the audit's are"
                raise AuditError(path, problem, fix)
            pixels = np.asarray(image.convert("L" if n_channels == 1 else "RGB"))
    except FileNotFoundError:
        fix = f"correct its name in {LABELS}"
        raise AuditError(path, "is missing", fix) from None
    except AuditError:
        raise
    except Exception as error:  # a damaged image may raise anything
        problem = f"cannot be read as an image ({modules.summary(error)})"
        raise AuditError(path, problem, "give a PNG") from error
    return np.ascontiguousarray(pixels.reshape(shape))


def _of_arrays(path: Path, data: Data) -> tuple[list[str], Inputs, NDArray[np.int64]]:
    wanted = (*data.inputs, "label")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in wanted if name in file}
    except Exception as error:  # a damaged archive may raise anything
        problem = f"cannot be read ({modules.summary(error)})"
        raise AuditError(path, problem, "save it by numpy.savez") from error
    if missing := [name for name in wanted if name not in arrays]:
        problem = f"has no array {missing[0]!r}"
        raise AuditError(path, problem, f"give {', '.join(wanted)}")
    label = arrays.pop("label")
    if label.ndim != 1 or not np.issubdtype(label.dtype, np.integer):
        problem = f"has label of type {label.dtype} and shape {label.shape}"
        raise AuditError(path, problem, "give whole numbers (n_records,)")
    inputs = tuple(_column(path, *each, data, len(label)) for each in arrays.items())
    names = [f"record {place}" for place in range(len(label))]
    return names, inputs, label.astype(np.int64)


def _column(
    path: Path, name: str, array: NDArray[Any], data: Data, n_records: int
) -> NDArray[Any]:
    """Return an input in the type in which the source stores it."""
    shape = IMAGE_SHAPES.get(data.source)
    if array.shape[:1] != (n_records,) or array.dtype.kind not in "iuf":
        problem = f"has {name} of type {array.dtype} and shape {array.shape}"
        raise AuditError(path, problem, f"give numbers ({n_records}, ...)")
    if shape is not None:
        if array.dtype != np.uint8 or array.shape[1:] not in (shape, shape[:2]):
            problem = f"has {name} of type {array.dtype} and shape {array.shape}"
            fix = f"give bytes ({n_records}, {', '.join(map(str, shape))})"
            raise AuditError(path, problem, fix)
        return np.ascontiguousarray(array).reshape(n_records, *shape)
    if array.dtype != np.float64:
        return array
    with np.errstate(over="ignore"):  # what becomes infinite is refused later
        return array.astype(np.float32)
