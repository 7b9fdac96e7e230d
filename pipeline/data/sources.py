"""Datasets: where audited records come from."""

import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.config import CIFAR_FILES, Data
from pipeline.data import membership, modules
from pipeline.errors import AuditError
from pipeline.signals import outputs
from pipeline.signals.margins import UNLABELLED
from pipeline.signals.stored import slices

CIFAR_CLASSES = {"cifar10": 10, "cifar100": 100}
CIFAR_PIXELS = 32 * 32 * 3
# (height, width, n_channels) of the images of known sources.
IMAGE_SHAPES = {"digits": (8, 8, 1), **dict.fromkeys(CIFAR_FILES, (32, 32, 3))}
# What MindArmour's tutorial normalises CIFAR-100 by.
CIFAR_MEAN = (0.4465, 0.4822, 0.4914)
CIFAR_STD = (0.2010, 0.1994, 0.2023)
DIGITS_FILE = "datasets/data/digits.csv.gz"  # within scikit-learn
# Digits come as 0 … 16; times 15 they fill a byte without rounding.
DIGIT_SCALE = 15
HASH_BYTES = 16
# A record of a single array of such numbers is hashed by its bytes alone.
BARE = (np.dtype(np.uint8), np.dtype(np.float32))
MOST_LABEL = 2**31 - 1  # labels are kept in 32 bits
# Outputs are coarse, so that distinct records may share them, if they take no more
# values than this and no more than they have distinct rows ...
COARSE_VALUES = 1000
# ... or if more than this share of the records whose outputs another has as well stand
# with a record of another class; copies have one class, but for errors of labelling.
COARSE_MIXED = 0.05
READ_ROWS = 1024  # images held in memory at once while a file is read through
READ_VALUES = 2**22  # the same of a model's outputs, in numbers
# What the arrays of signals made elsewhere hold, by their names.
ARRAYS = {
    "logits": "floats",
    "margin": "floats",
    "label": "integers",
    "member": "bools",
    "train": "bools",
    "population": "bools",
    "inputs": "floats or integers",
    "unit": "integers or strings",
}
# What a user's column may not hold, and the way out, by NumPy's letter of its type.
KINDS_REFUSED = {
    "b": ("bools", "cast them to int32 or float32, and compare in construct (x != 0)"),
    "U": ("text", "turn it into numbers in the pipeline, as a tokenizer does"),
    "S": ("text", "turn it into numbers in the pipeline, as a tokenizer does"),
    "O": ("Python objects", "turn them into numbers in the pipeline"),
}
# What MindSpore says where records of several shapes are to be batched.
UNEVEN = "Cannot batch tensors with different shapes"
PAD = (
    "pad or resize all records to one shape (mindspore.dataset.transforms.PadEnd, or "
    "dataset.padded_batch in place of batch)"
)
LARGE = ("logits", "margin")
# The axes of what models say of the records.
AXES = {
    "logits": "([n_models,] n_records, [n_views,] n_classes)",
    "margins": "([n_models,] n_records[, n_views])",
}
# Those of these that say nothing of signals.
BESIDE = ("inputs", "unit")
# The way out of each fault of a model's outputs.
FAULT_FIXES: dict[outputs.Fault, str] = {
    "constant": "check its checkpoint (weights that are NaN?) and how it was run",
    "decisions": "give the logits from which they were decided",
    "probabilities": "give the logits before the softmax, or their log-softmax",
    "sigmoids": "give the logits before the sigmoid",
    "negated": "change the sign: log-probabilities can be used as logits",
}


# What a network is given of records: an array for each of its inputs, in the order of
# `construct`'s arguments, each of shape (n_records, ...).
Inputs = tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class Catalogue:
    """What a source holds, the inputs aside."""

    label: NDArray[np.int32]  # (n_records,)
    # (n_records,) whether the target may have been trained on it; None: the audit
    # draws members and non-members from one pool.
    member: NDArray[np.bool_] | None
    # (n_records,) hash of each record's input, of arrays of the outputs and the label;
    # empty where that is no sign of what the record is.
    content: NDArray[np.bytes_]
    n_classes: int
    # (n_records,) not to be audited; None: the config says how many.
    population: NDArray[np.bool_] | None = None
    # Inputs whose numbers are read in a narrower type than they have.
    narrowed: tuple[str, ...] = ()


class Dataset:
    """An array of an .h5 file, read when it is asked for.

    Args:
        path: of the file.
        name: of the array.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        with h5py.File(path, "r") as file:
            self.shape: tuple[int, ...] = file[name].shape
            self.dtype: np.dtype[Any] = file[name].dtype
        self.ndim = len(self.shape)

    def __getitem__(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        try:
            with h5py.File(self._path, "r") as file:
                return np.asarray(file[self._name][key])
        except OSError as error:
            raise _unreadable(self._path, error) from error


@dataclass(frozen=True)
class Outputs:
    """Models' logits, or their margins in nats as if of a single class."""

    # with the axes that `AXES` tells
    stored: NDArray[np.floating[Any]] | Dataset
    kind: Literal["logits", "margins"]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The numbers of models, records, views and classes."""
        shape = self.stored.shape + ((1,) if self.kind == "margins" else ())
        n_models, n_records = (1, *shape[:1]) if len(shape) == 2 else shape[:2]
        n_views = shape[2] if len(shape) == 4 else 1
        is_single = self.kind == "logits" and shape[-1] == 1
        return n_models, n_records, n_views, 2 if is_single else shape[-1]

    @property
    def has_models(self) -> bool:
        """Whether what is stored has an axis of models."""
        return self.stored.ndim > (2 if self.kind == "logits" else 1)

    def of(
        self, model: int, rows: slice | NDArray[np.int64]
    ) -> NDArray[np.floating[Any]]:
        """Return the (n_rows, n_views, n_classes) outputs of a model on some records.

        Args:
            model: its place.
            rows: of the records, ascending.
        """
        # Those between are read too, as a file is read faster so.
        near = rows if isinstance(rows, slice) else slice(*_ends(rows))
        block = self.stored[(model, near) if self.has_models else (near,)]
        if not isinstance(rows, slice):
            block = block[rows - near.start]
        n_views, n_classes = self.shape[2:]
        n_stored = self.stored.shape[-1] if self.kind == "logits" else 1
        block = block.reshape(len(block), n_views, n_stored)
        if n_stored < n_classes:  # the single logit of two classes
            block = np.concatenate((np.zeros_like(block), block), axis=2)
        return block

    def blocks(self) -> list[slice]:
        """Return the records in successive blocks that are small enough to be held."""
        _, n_records, *widths = self.shape
        return slices(n_records, READ_VALUES // int(np.prod(widths)))


def _ends(rows: NDArray[np.int64]) -> tuple[int, int]:
    """Return between what ascending rows lie."""
    return (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)


@dataclass(frozen=True)
class OfModel:
    """The outputs of one model."""

    outputs: Outputs
    model: int

    def __len__(self) -> int:
        return self.outputs.shape[1]

    def __getitem__(self, rows: slice) -> NDArray[np.floating[Any]]:
        return self.outputs.of(self.model, rows)


@dataclass(frozen=True)
class Signals:
    """Models' outputs, made elsewhere; the first model is the target."""

    outputs: Outputs
    label: NDArray[np.int32]  # (n_records,) UNLABELLED where there are none
    member: NDArray[np.bool_]  # (n_models, n_records)
    train: NDArray[np.bool_] | None  # (n_records,) on the attack-train side
    population: NDArray[np.bool_]  # (n_records,) not to be audited

    @property
    def kind(self) -> Literal["logits", "margins"]:
        """What the outputs are."""
        return self.outputs.kind


def catalogue(data: Data) -> Catalogue:
    """Read the labels of a source, and the hash of each record's content.

    Raises:
        AuditError: if a file is truncated or foreign, a user's function does not keep
            to the contract, its order changes from reading to reading, or a model's
            outputs are no logits.
    """
    if data.source == "arrays":
        models, path = signals(data), Path(str(data.path))
        member, population = models.member[0], models.population
        if models.kind == "margins":
            _check_margins(path, models.outputs)
            # A single number is no sign of what the record is.
            content = np.zeros_like(hashes([]), shape=len(models.label))
            n_classes = max(int(models.label.max(initial=0)) + 1, 2)
        else:
            _check_outputs(path, models.outputs)
            content, n_classes = _outputs_content(models), models.outputs.shape[3]
        return Catalogue(models.label, member, content, n_classes, population)
    if modules.is_function(data.source):
        return _users_catalogue(data)
    if data.source == "digits":
        digits, label = _digits()
        return Catalogue(label, None, hashes(digits), 10)
    images, label, member = _cifar(data)
    return Catalogue(label, member, hashes(images), CIFAR_CLASSES[data.source])


def blocks(
    data: Data,
    ids: Sequence[NDArray[np.int64]],
    content: Sequence[NDArray[np.bytes_]],
) -> Iterator[Inputs]:
    """Return the inputs of records, block by block.

    The source is opened at once, and read when a block is asked for.

    Args:
        data: the source.
        ids: of the records of each block, ascending within and over the blocks.
        content: the hashes that the records must have.

    Returns:
        Of each block an array for each of `data.inputs`: (n_rows, height, width,
        n_channels) bytes for images of known sources; (n_rows, ...) of their own type
        for a user's, but float32 for float64.

    Raises:
        AuditError: if a record is not the one it was when the audit chose it.
    """
    raw = _raw_blocks(data, ids)

    def checked() -> Iterator[Inputs]:
        for block, expected in zip(raw, content, strict=True):
            if not np.array_equal(hashes(*block), expected):
                raise _unrepeatable(data.source)
            yield block

    return checked()


def hashes(*columns: Iterable[NDArray[Any]]) -> NDArray[np.bytes_]:
    """Return the hash of each record's content.

    Two records are equal if all their inputs are, in type, shape and value.

    Args:
        columns: of each input, the records' arrays.
    """
    digests = [
        blake2b(_bytes(parts), digest_size=HASH_BYTES).hexdigest()
        for parts in zip(*columns, strict=True)
    ]
    return np.array(digests, dtype=f"S{2 * HASH_BYTES}")


def _bytes(parts: Inputs) -> bytes:
    whole = b"".join(part.tobytes() for part in parts)
    if len(parts) == 1 and parts[0].dtype in BARE:
        return whole
    forms = [(part.dtype.str, part.shape) for part in parts]
    return repr(forms).encode() + whole


def at(inputs: Inputs, rows: NDArray[np.int64]) -> Inputs:
    """Return the inputs of some records."""
    return tuple(column[rows] for column in inputs)


def together(parts: Sequence[Inputs]) -> Inputs:
    """Return the inputs of successive records as those of all of them."""
    return tuple(map(np.concatenate, zip(*parts, strict=True)))


def channels_normalised_by(data: Data) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation of each channel, the config's or ours."""
    cifar = data.source in CIFAR_FILES
    n_channels = 3 if cifar else 1
    mean = data.mean or (CIFAR_MEAN if cifar else (0.0,))
    std = data.std or (CIFAR_STD if cifar else (1.0,))
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != n_channels:
            problem = f"has {len(values)} values"
            raise AuditError(f"data.{name}", problem, f"give {n_channels}")
    return mean, std


def _raw_blocks(data: Data, ids: Sequence[NDArray[np.int64]]) -> Iterator[Inputs]:
    if modules.is_function(data.source):
        reader = _UsersBatches(data.source, data.inputs)
        # Opened here, not where they are read: a pipeline may start processes, which
        # must not begin as copies of one in which a network is running.
        readings = [reader.of(dataset) for dataset in _users_datasets(data)]
        return _users_blocks(data, chain(*readings), ids)
    images = _digits()[0] if data.source == "digits" else _cifar(data)[0]
    return ((images[block],) for block in ids)


def _digits() -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return the digits from the file that scikit-learn brings along.

    Each of four stages reads them; to import scikit-learn for it takes a second.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise AuditError("data.source", "digits need scikit-learn", "install it")
    table = np.loadtxt(Path(package.origin).parent / DIGITS_FILE, delimiter=",")
    images = (table[:, :-1] * DIGIT_SCALE).astype(np.uint8)
    return images.reshape(-1, 8, 8, 1), table[:, -1].astype(np.int32)


def _cifar(
    data: Data,
) -> tuple["_CifarImages", NDArray[np.int32], NDArray[np.bool_]]:
    folder = Path(str(data.path))
    # CIFAR-100 has a coarse label before the fine one.
    n_labels = 2 if data.source == "cifar100" else 1
    parts: list[NDArray[np.uint8]] = []
    members: list[NDArray[np.bool_]] = []
    for names, is_member in zip(CIFAR_FILES[data.source], (True, False), strict=True):
        for name in names:
            path = folder / name
            size, record = path.stat().st_size, n_labels + CIFAR_PIXELS
            if size % record or not size:
                problem = f"has {size} bytes, not a multiple of {record}"
                fix = f"get the whole binary version of {data.source}"
                raise AuditError(path, problem, fix)
            rows = np.memmap(path, np.uint8, "r").reshape(-1, record)
            parts.append(rows)
            members.append(np.full(len(rows), is_member))
            _check_labels(path, rows[:, n_labels - 1], CIFAR_CLASSES[data.source])
    label = np.concatenate([part[:, n_labels - 1] for part in parts]).astype(np.int32)
    return _CifarImages(parts, n_labels), label, np.concatenate(members)


class _CifarImages:
    """The images of several binary files, read from disk when asked for."""

    def __init__(self, parts: Sequence[NDArray[np.uint8]], n_labels: int) -> None:
        self._parts = parts
        self._n_labels = n_labels
        self._starts = np.cumsum([0, *map(len, parts)])

    def __getitem__(self, ids: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return (n_ids, 32, 32, 3) for ascending ids."""
        rows = [
            part[ids[(ids >= start) & (ids < start + len(part))] - start]
            for part, start in zip(self._parts, self._starts[:-1], strict=True)
        ]
        planes = np.concatenate(rows)[:, self._n_labels :].reshape(-1, 3, 32, 32)
        return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for start in range(0, self._starts[-1], READ_ROWS):
            end = min(start + READ_ROWS, self._starts[-1])
            yield from self[np.arange(start, end)]


def _check_labels(where: object, label: NDArray[Any], n_classes: int) -> None:
    outside = label[(label < 0) | (label >= n_classes)]
    if len(outside):
        problem = f"has the label {outside[0]} outside [0, {n_classes})"
        raise AuditError(where, problem, "correct the labels or the data's format")


# A user's own function


def _users_datasets(data: Data) -> list[Any]:
    source = data.source
    pair = modules.call(source)
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        problem = f"returns {type(pair).__name__}, not two datasets"
        raise AuditError(source, problem, "return (members, nonmembers)")
    for dataset in pair:
        if not hasattr(dataset, "create_dict_iterator"):
            problem = f"returns a {type(dataset).__name__}, not a mindspore dataset"
            raise AuditError(source, problem, "return (members, nonmembers)")
        _check_columns(source, data.inputs, dataset.get_col_names())
    return list(pair)


def _check_columns(source: str, inputs: Sequence[str], columns: Sequence[str]) -> None:
    wanted = [*inputs, "label"]
    missing = [name for name in wanted if name not in columns]
    besides = [name for name in columns if name not in wanted]
    if missing:
        problem = f"has the columns {', '.join(columns)}, and no {missing[0]}"
        fix = "rename them (dataset.rename), so that there is a label"
        if missing != ["label"]:
            names = ", ".join(f'"{name}"' for name in columns if name != "label")
            fix = (
                "set data.inputs to those that the network is given, in the order of "
                f"construct's arguments, such as [{names}]"
            )
        raise AuditError(source, problem, fix)
    if besides:
        problem = f"has the column {besides[0]}, which data.inputs does not name"
        names = ", ".join(f'"{name}"' for name in wanted)
        fix = f"name it there, or leave it out by dataset.project([{names}])"
        raise AuditError(source, problem, fix)


def batches(name: str, dataset: Any) -> Iterator[tuple[Inputs, NDArray[np.int32]]]:
    """Yield inputs and labels of a `mindspore.dataset` that a script hands over.

    Args:
        name: of the dataset, for errors.
        dataset: with a column for the label, and all that the network is given in
            others, in its order; batched or not.

    Yields:
        (n_rows, ...) of each input, and (n_rows,).

    Raises:
        AuditError: if it is no dataset, or does not keep to what `datasets` returns.
    """
    if not hasattr(dataset, "create_dict_iterator"):
        problem = f"is a {type(dataset).__name__}, not a mindspore dataset"
        raise AuditError(name, problem, "give a pipeline of mindspore.dataset")
    columns = dataset.get_col_names()
    inputs = [column for column in columns if column != "label"]
    if not inputs:
        problem = "has no column but label"
        raise AuditError(name, problem, "add what the network is given")
    _check_columns(name, inputs, columns)
    yield from _UsersBatches(name, inputs).of(dataset)


class _UsersBatches:
    """The records of a user's datasets in one reading, batched whether they are or not.

    All records must have inputs of the same types and shapes.
    """

    def __init__(self, source: str, inputs: Sequence[str]) -> None:
        self._source = source
        self._inputs = inputs
        self._forms: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}

    @property
    def narrowed(self) -> tuple[str, ...]:
        """The inputs read so far that are float64, and read as float32."""
        return tuple(
            name for name, (dtype, _) in self._forms.items() if dtype == np.float64
        )

    def of(self, dataset: Any) -> Iterator[tuple[Inputs, NDArray[np.int32]]]:
        """Return inputs and labels of one of the datasets, which is opened at once."""
        with self._named():
            rows = dataset.create_dict_iterator(output_numpy=True, num_epochs=1)
        return self._read(rows)

    def _read(
        self, rows: Iterable[dict[str, Any]]
    ) -> Iterator[tuple[Inputs, NDArray[np.int32]]]:
        with self._named():
            for row in rows:
                yield self._batch(row)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Tell what a pipeline raises as the source's."""
        try:
            yield
        except AuditError:
            raise
        except Exception as error:
            problem = f"cannot be read ({modules.summary(error)})"
            fix = "make its pipeline run"
            if UNEVEN in str(error):
                problem, fix = "batches records of different shapes", PAD
            raise AuditError(self._source, problem, fix) from error

    def _batch(self, row: dict[str, Any]) -> tuple[Inputs, NDArray[np.int32]]:
        source, label = self._source, np.asarray(row["label"])
        columns = {name: np.asarray(row[name]) for name in self._inputs}
        if label.ndim == 0:
            label = label[None]
            columns = {name: column[None] for name, column in columns.items()}
        for name, column in columns.items():
            if label.ndim != 1 or column.shape[:1] != label.shape:
                shapes = f"{name} {column.shape} with labels {label.shape}"
                fix = "give one whole number as the label of each record"
                raise AuditError(source, f"yields {shapes}", fix)
        if not np.issubdtype(label.dtype, np.integer):
            problem = f"has labels of type {label.dtype}"
            raise AuditError(source, problem, "cast them to int32")
        if label.size and not 0 <= label.min() <= label.max() <= MOST_LABEL:
            wrong = label[(label < 0) | (label > MOST_LABEL)][0]
            fix = "give labels from 0 upwards"
            raise AuditError(source, f"has the label {wrong}", fix)
        inputs = tuple(self._checked(*each) for each in columns.items())
        return inputs, label.astype(np.int32)

    def _checked(self, name: str, column: NDArray[Any]) -> NDArray[Any]:
        """Return an input in the type in which a network is given it."""
        source = self._source
        if column.dtype.kind not in "iuf":
            known = KINDS_REFUSED.get(column.dtype.kind)
            kind, fix = known or (str(column.dtype), "give integers or floats")
            raise AuditError(source, f"has {kind} in the column {name}", fix)
        form = column.dtype, column.shape[1:]
        dtype, shape = self._forms.setdefault(name, form)
        if shape != form[1]:
            problem = f"has records of {name} of shapes {shape} and {form[1]}"
            raise AuditError(source, problem, PAD)
        if dtype != form[0]:
            problem = f"has records of {name} of types {dtype} and {form[0]}"
            fix = "cast them to one type (mindspore.dataset.transforms.TypeCast)"
            raise AuditError(source, problem, fix)
        if dtype != np.float64:
            return column
        with np.errstate(over="ignore"):  # what becomes infinite is refused later
            return column.astype(np.float32)


def _users_catalogue(data: Data) -> Catalogue:
    first, again = _users_scan(data), _users_scan(data)
    for name in ("label", "content", "member"):
        if not np.array_equal(getattr(first, name), getattr(again, name)):
            raise _unrepeatable(data.source)
    if not len(first.label):
        fix = "return datasets that are not empty"
        raise AuditError(data.source, "has no records", fix)
    return first


def _users_scan(data: Data) -> Catalogue:
    labels: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
    contents: list[NDArray[np.bytes_]] = [hashes([])]
    sides: list[NDArray[np.bool_]] = [np.empty(0, bool)]
    reader = _UsersBatches(data.source, data.inputs)
    for dataset, is_member in zip(_users_datasets(data), (True, False), strict=True):
        for inputs, label in reader.of(dataset):
            labels.append(label)
            contents.append(hashes(*inputs))
            sides.append(np.full(len(label), is_member))
    label = np.concatenate(labels)
    return Catalogue(
        label,
        np.concatenate(sides),
        np.concatenate(contents),
        int(label.max(initial=-1)) + 1,
        narrowed=reader.narrowed,
    )


def _users_blocks(
    data: Data,
    batches: Iterator[tuple[Inputs, NDArray[np.int32]]],
    ids: Sequence[NDArray[np.int64]],
) -> Iterator[Inputs]:
    """Yield blocks of ascending ids from one pass over a user's datasets."""
    waiting = iter(ids)
    wanted = next(waiting, None)
    kept: list[Inputs] = []
    start = 0
    for inputs, label in batches:
        end = start + len(label)
        while wanted is not None:
            own = wanted[(wanted >= start) & (wanted < end)] - start
            kept.append(at(inputs, own))
            if wanted[-1] >= end:
                break
            yield together(kept)
            kept, wanted = [], next(waiting, None)
        if wanted is None:
            return  # the rest of a long pipeline is not read
        start = end
    if wanted is not None:
        raise _unrepeatable(data.source)


def _unrepeatable(source: str) -> AuditError:
    problem = "gives other records, or another order, at each reading"
    fix = "leave out shuffling (shuffle=False) and random augmentation"
    return AuditError(source, problem, fix)


# Signals made elsewhere


def signals(data: Data) -> Signals:
    """Read models' outputs from an .npz or .h5 file.

    Model 0 is the target, all others are references; the first view is the unchanged
    record.

    Raises:
        AuditError: if the file is not one, or an array is missing, misshapen, or out of
            range.
    """
    path = Path(str(data.path))
    arrays = _arrays(path, [name for name in ARRAYS if name not in BESIDE])
    outputs = _models_outputs(path, arrays)
    lead = outputs.shape[:2]
    of_file = lead if outputs.has_models else lead[1:]
    member, train = arrays["member"], arrays.get("train")
    label = arrays.get("label", np.full(lead[1], UNLABELLED))
    population = arrays.get("population", np.zeros(lead[1], dtype=bool))
    _check_axes(path, outputs, label, member)
    _check_array(path, "label", label, lead[1:], np.integer)
    _check_array(path, "member", member, of_file, np.bool_)
    if train is not None:
        _check_array(path, "train", train, lead[1:], np.bool_)
    _check_array(path, "population", population, lead[1:], np.bool_)
    if "label" in arrays:
        n_classes = outputs.shape[3] if outputs.kind == "logits" else MOST_LABEL + 1
        _check_labels(path, label, n_classes)
    member = member.reshape(lead)
    if (population & member[0]).any():
        problem = "has members of the target in its population"
        raise AuditError(path, problem, "give records that it was not trained on")
    return Signals(outputs, label.astype(np.int32), member, train, population)


def model_name(model: int) -> str:
    """Return what messages call a model of a file of arrays."""
    return f"model {model}" if model else "the target"


def _models_outputs(path: Path, arrays: Mapping[str, Any]) -> Outputs:
    """Return the models' logits or margins.

    Raises:
        AuditError: if an array is missing, or has another number of axes or type.
    """
    if "logits" in arrays and "margin" in arrays:
        problem = "has both logits and margin"
        fix = "leave out margin, which is computed from the logits"
        raise AuditError(path, problem, fix)
    by_margin = "margin" in arrays
    needed = ("member",) if by_margin else ("logits", "label", "member")
    for name in needed:
        if name not in arrays:
            problem = f"has no array {name!r}"
            fix = "give logits, label and member; or margin and member"
            raise AuditError(path, problem, fix)
    array = arrays["margin" if by_margin else "logits"]
    least = 1 if by_margin else 2
    if not least <= array.ndim <= least + 2 or not np.issubdtype(
        array.dtype, np.floating
    ):
        name = "a margin" if by_margin else "logits"
        problem = f"has {name} of type {array.dtype} and shape {array.shape}"
        fix = f"give floats {AXES['margins' if by_margin else 'logits']}"
        raise AuditError(path, problem, fix)
    return Outputs(array, "margins" if by_margin else "logits")


def _outputs_content(models: Signals) -> NDArray[np.bytes_]:
    """Return a hash of each record's label and of what all models say of it.

    Copies of a record have the same outputs. Other records may have them too where the
    outputs are coarse, as classes without probabilities are: nothing is known then.
    """
    outputs, label = models.outputs, models.label
    blocks = outputs.blocks()
    of_target = np.concatenate([hashes(outputs.of(0, rows)) for rows in blocks])
    everything = np.arange(len(label))
    content = np.concatenate(
        [hashes(_joined(outputs, label, everything[rows], 1)) for rows in blocks]
    )
    _, group, size = np.unique(of_target, return_inverse=True, return_counts=True)
    is_repeated = size[group] > 1
    if not is_repeated.any():
        return content
    repeated = np.flatnonzero(is_repeated)
    labels = np.unique(np.stack((group[repeated], label[repeated])), axis=1)
    n_labels = np.bincount(labels[0], minlength=len(size))
    mixed = float((n_labels[group[repeated]] > 1).mean())
    values: NDArray[np.floating[Any]] = np.empty(0)
    for rows in blocks:
        values = np.union1d(values, outputs.of(0, rows))
        if len(values) > COARSE_VALUES:
            break
    if len(values) <= min(len(size), COARSE_VALUES) or mixed > COARSE_MIXED:
        return np.zeros_like(content)
    for rows in blocks:
        own = everything[rows][is_repeated[rows]]
        content[own] = hashes(_joined(outputs, label, own, len(models.member)))
    return content


def _joined(
    outputs: Outputs, label: NDArray[np.int32], rows: NDArray[np.int64], n_models: int
) -> Iterator[NDArray[np.uint8]]:
    """Yield the bytes of each row's outputs, by the first models, and its label."""
    of_models = [outputs.of(model, rows) for model in range(n_models)]
    for place, row in enumerate(rows):
        parts = [of_model[place].tobytes() for of_model in of_models]
        whole = b"".join((*parts, label[row].tobytes()))
        yield np.frombuffer(whole, np.uint8)


def inputs(data: Data, n_records: int) -> NDArray[Any] | None:
    """Read the inputs of signals made elsewhere, if their file holds them.

    Args:
        data: the source.
        n_records: of the source.

    Returns:
        (n_records, ...) integers as they are, floats as float32; or None.

    Raises:
        AuditError: if the file cannot be read, or they are of another number or type,
            empty, or not finite.
    """
    path = Path(str(data.path))
    array: NDArray[Any] | None = _arrays(path, ("inputs",)).get("inputs")
    if array is None:
        return None
    is_number = any(np.issubdtype(array.dtype, k) for k in (np.floating, np.integer))
    if not is_number or array.shape[:1] != (n_records,) or not array.size:
        problem = f"has inputs of type {array.dtype} and shape {array.shape}"
        fix = f"give floats or integers ({n_records}, ...), or leave them out"
        raise AuditError(path, problem, fix)
    if np.issubdtype(array.dtype, np.integer):
        return array
    with np.errstate(over="ignore"):
        ready = array.astype(np.float32)
    if not np.isfinite(ready).all():
        problem = "has inputs that are NaN or infinite as float32"
        raise AuditError(path, problem, "correct the records")
    return ready


def units(data: Data, n_records: int) -> NDArray[Any] | None:
    """Read which unit each record belongs to, from `data.units` or a file of arrays.

    Args:
        data: the source.
        n_records: of the source.

    Returns:
        (n_records,) whole numbers or strings; None if nothing is told.

    Raises:
        AuditError: if both tell it, or what tells it cannot be read or holds no ids.
    """
    array: NDArray[Any] | None = None
    if data.source == "arrays":
        array = _arrays(Path(str(data.path)), ("unit",)).get("unit")
    if data.units is None:
        if array is None:
            return None
        return membership.checked_units(data.path, "array unit", array, n_records)
    if array is not None:
        problem = f"is set, and {data.path} has the array 'unit'"
        raise AuditError("data.units", problem, "leave one of the two out")
    return membership.units(Path(data.units), n_records)


def _check_array(
    path: Path, name: str, array: NDArray[Any], shape: tuple[int, ...], kind: type
) -> None:
    if array.shape != shape or not np.issubdtype(array.dtype, kind):
        problem = f"has {name} of type {array.dtype} and shape {array.shape}"
        raise AuditError(path, problem, f"give {kind.__name__.rstrip('_')}s {shape}")


def _check_axes(
    path: Path, outputs: Outputs, label: NDArray[Any], member: NDArray[Any]
) -> None:
    """Refuse outputs whose axes are in another order than label and member show."""
    n, own = len(label) if label.ndim == 1 else None, outputs.stored.shape
    if n is None or n == outputs.shape[1] or member.shape[-1:] != (n,):
        return
    kind = outputs.kind
    problem = f"has {kind} of shape {own}, but label and member have {n} records"
    to = f"transpose the {kind} to" if n in own else "give"
    fix = f"{to} {AXES[kind]}"
    raise AuditError(path, problem, fix)


def _check_outputs(path: Path, logits: Outputs) -> None:
    for model in range(logits.shape[0]):
        if (fault := outputs.fault(OfModel(logits, model))) is not None:
            problem = f"array logits: {model_name(model)} {outputs.WORDS[fault]}"
            raise AuditError(path, problem, FAULT_FIXES[fault])


def _check_margins(path: Path, margin: Outputs) -> None:
    for model in range(margin.shape[0]):
        name = model_name(model)
        low, high = np.inf, -np.inf
        for rows in margin.blocks():
            block = margin.of(model, rows)
            finite = block[np.isfinite(block)]
            low = min(low, float(finite.min(initial=np.inf)))
            high = max(high, float(finite.max(initial=-np.inf)))
        if low == high:
            problem = f"array margin: {name} {outputs.WORDS['constant']}"
            raise AuditError(path, problem, FAULT_FIXES["constant"])
        if 0 <= low <= high <= 1:
            problem = f"array margin: {name} gives values in [0, 1], as confidences are"
            raise AuditError(path, problem, "give log(p / (1 - p))")


def _arrays(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Read arrays of a file by their names; those of `LARGE` of an .h5 only later."""
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return {
                    name: _of_npz(path, file, name) for name in names if name in file
                }
        with h5py.File(path, "r") as file:
            return {name: _of_h5(path, file, name) for name in names if name in file}
    except AuditError:
        raise
    except Exception as error:  # a damaged archive may raise anything
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> AuditError:
    problem = f"cannot be read ({modules.summary(error)})"
    return AuditError(path, problem, "give an .npz or .h5 file")


def _of_npz(path: Path, file: Any, name: str) -> NDArray[Any]:
    try:
        return np.asarray(file[name])
    except ValueError as error:
        # NumPy would unpickle them, which runs whatever code the file names.
        if "Object arrays" not in str(error):
            raise
        raise _objects(path, name) from error


def _of_h5(path: Path, file: h5py.File, name: str) -> NDArray[Any] | Dataset:
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        problem = f"has a group {name!r} where an array is expected"
        fix = f"store {name} as one dataset, of {ARRAYS[name]}"
        raise AuditError(path, problem, fix)
    if dataset.shape is None:
        problem = f"has no values in the array {name!r}"
        raise AuditError(path, problem, f"store {ARRAYS[name]} in it")
    if dataset.dtype == object:
        raise _objects(path, name)
    return Dataset(path, name) if name in LARGE else np.asarray(dataset[()])


def _objects(path: Path, name: str) -> AuditError:
    kind = ARRAYS[name]
    problem = f"has Python objects or strings in the array {name!r}"
    return AuditError(path, problem, f"save it as {kind}, not of dtype object")
