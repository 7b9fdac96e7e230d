"""Weights: the arrays in the file of a checkpoint.

The files are read here and not by MindSpore: it loads a parameter that stands twice, or
whose content is too short, without a word, a negative dimension aborts it, and which
types it reads depends on its version.

Sources: checkpoint.proto in MindSpore for .ckpt, which is a protobuf message;
https://huggingface.co/docs/safetensors for .safetensors and the index of its parts.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.data import own
from pipeline.data.modules import summary
from pipeline.errors import AuditError

Arrays = dict[str, NDArray[Any]]

# NumPy has no bfloat16; it is read as float32, which holds all of its values.
BFLOAT16 = "bfloat16"
# What a .ckpt and a .safetensors file call the types of NumPy.
CKPT_TYPES = {
    **{f"Int{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"UInt{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    **{f"Float{bits}": f"float{bits}" for bits in (16, 32, 64)},
    "Bool": "bool",
    "BFloat16": BFLOAT16,
}
SAFETENSORS_TYPES = {
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    "BOOL": "bool",
    "BF16": BFLOAT16,
}
# A string that was saved beside the parameters, such as the name of an epoch.
CKPT_TEXT = "str"
# After the message of a .ckpt that was saved with a checksum: this word, and the sum.
CKPT_CHECKSUM, CHECKSUM_BYTES = b"crc_num", 10
HEADER_BYTES = 8  # of a .safetensors file: the length of the header that follows
VARINT_BYTES = 10  # of a number of 64 bits, at most


def read(path: Path) -> Arrays:
    """Return the arrays in a checkpoint, by name.

    Args:
        path: a .ckpt or .safetensors file, or the index of several of the latter.

    Returns:
        The arrays, of the types in the file, but float32 for bfloat16.

    Raises:
        AuditError: if the file or a part of it is missing, or is no checkpoint.
    """
    if own.is_index(path):
        return _indexed(path)
    safetensors = path.suffix == ".safetensors"
    try:
        content = memoryview(path.read_bytes())
        arrays = _of_safetensors(content) if safetensors else _of_ckpt(content)
        if not arrays:
            raise ValueError("it has no parameters")
    except FileNotFoundError:
        raise AuditError(path, "does not exist", "correct target.checkpoint") from None
    except Exception as error:  # a damaged file may raise anything
        words = str(error) if type(error) is ValueError else summary(error)
        kind = "safetensors" if safetensors else "ckpt"
        fix = (
            f"give a .ckpt or .safetensors file that MindSpore saved ({kind} expected)"
        )
        problem = f"is truncated or not a checkpoint ({words})"
        raise AuditError(path, problem, fix) from error
    return arrays


def _indexed(index: Path) -> Arrays:
    """Return the arrays of several files, each by the part that the index names."""
    arrays: Arrays = {}
    for name, names in own.parts(index).items():
        part = read(index.with_name(name))
        for parameter in names:
            if parameter not in part:
                problem = f"lacks {parameter}, which {index.name} says it holds"
                fix = "copy the index and all its parts anew"
                raise AuditError(index.with_name(name), problem, fix)
            arrays[parameter] = part[parameter]
    return arrays


# .ckpt


class _Slice(NamedTuple):
    """A parameter, or a part of one that is large."""

    shape: tuple[int, ...]
    kind: str
    content: memoryview


def _of_ckpt(content: memoryview) -> Arrays:
    end = len(content) - CHECKSUM_BYTES
    start = end - len(CKPT_CHECKSUM)
    if start >= 0 and content[start:end] == CKPT_CHECKSUM:
        content = content[:start]
    slices: dict[str, list[_Slice]] = {}
    last = None
    for name, part in _slices(content):
        if name in slices and name != last:
            raise ValueError(f"{name} stands in it twice")
        slices.setdefault(name, []).append(part)
        last = name
    return {
        name: _joined(name, parts)
        for name, parts in slices.items()
        if parts[0].kind != CKPT_TEXT
    }


def _slices(content: memoryview) -> Iterator[tuple[str, _Slice]]:
    """Yield name and content of each value of a checkpoint's message."""
    for _, value in _fields(content):
        parts = dict(_fields(_bytes(value)))
        name = str(_bytes(parts[1]), "utf-8")
        if 2 not in parts:
            raise ValueError(f"{name} is not an array")
        kind, data = "", memoryview(b"")
        shape: list[int] = []
        for number, field in _fields(_bytes(parts[2])):
            if number == 1:
                shape += [field] if isinstance(field, int) else _varints(field)
            elif number == 2:
                kind = str(_bytes(field), "utf-8")
            elif number == 3:
                data = _bytes(field)
        yield name, _Slice(tuple(map(_signed, shape)), kind, data)


def _joined(name: str, parts: list[_Slice]) -> NDArray[Any]:
    shapes, kinds = {part.shape for part in parts}, {part.kind for part in parts}
    if len(shapes) > 1 or len(kinds) > 1:
        raise ValueError(f"{name} stands in it twice")
    (shape,), (kind,) = shapes, kinds
    if kind not in CKPT_TYPES:
        raise ValueError(f"{name} is of type {kind!r}, which is not known")
    content = memoryview(b"".join(part.content for part in parts))
    # Thus MindSpore writes the shape of a number.
    shape = () if shape == (0,) else shape
    return _array(name, content, CKPT_TYPES[kind], shape)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and content of each field of a protobuf message."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            whole, at = _varint(message, at)
            yield number, whole
        elif wire == 2:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise ValueError("its end is missing")
            yield number, message[at : at + size]
            at += size
        else:
            raise ValueError("it is not a message of parameters")


def _varints(packed: memoryview) -> Iterator[int]:
    at = 0
    while at < len(packed):
        number, at = _varint(packed, at)
        yield number


def _varint(message: memoryview, start: int) -> tuple[int, int]:
    """Return the number that starts at a place, and where it ends."""
    number = 0
    for place, byte in enumerate(message[start : start + VARINT_BYTES]):
        number |= (byte & 127) << 7 * place
        if byte < 128:
            return number, start + place + 1
    raise ValueError("its end is missing")


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


def _bytes(field: int | memoryview) -> memoryview:
    if isinstance(field, int):
        raise ValueError("it is not a message of parameters")
    return field


# .safetensors


def _of_safetensors(content: memoryview) -> Arrays:
    length = int.from_bytes(content[:HEADER_BYTES], "little")
    start = HEADER_BYTES + length
    if start > len(content):
        raise ValueError("its end is missing")
    header = json.loads(bytes(content[HEADER_BYTES:start]), object_pairs_hook=_once)
    header.pop("__metadata__", None)
    arrays: Arrays = {}
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: _offsets(item[1])):
        first, last = _offsets(entry)
        # Without gaps and overlaps, so that every byte is of one parameter.
        if first != end or last < first:
            raise ValueError(f"{name} does not begin where another ends")
        if entry["dtype"] not in SAFETENSORS_TYPES:
            kind = entry["dtype"]
            raise ValueError(f"{name} is of type {kind!r}, which is not known")
        data = content[start + first : start + last]
        kind, shape = SAFETENSORS_TYPES[entry["dtype"]], tuple(entry["shape"])
        arrays[name] = _array(name, data, kind, shape)
        end = last
    if start + end != len(content):
        raise ValueError("it goes on after its last parameter")
    return arrays


def _offsets(entry: Any) -> tuple[int, int]:
    first, last = entry["data_offsets"]
    return int(first), int(last)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, none of whose names may stand twice."""
    whole = dict(pairs)
    if len(whole) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice} stands in it twice")
    return whole


def _array(
    name: str, content: memoryview, kind: str, shape: tuple[int, ...]
) -> NDArray[Any]:
    """Return the bytes of a parameter as an array."""
    if any(size < 0 for size in shape):
        raise ValueError(f"{name} has the shape {shape}")
    # Files have the lower byte first, as have all machines that MindSpore runs on.
    stored = np.dtype("uint16" if kind == BFLOAT16 else kind)
    expected = math.prod(shape) * stored.itemsize
    if len(content) != expected:
        problem = f"{name} has {len(content)} bytes, where {kind} {shape} takes"
        raise ValueError(f"{problem} {expected}")
    values = np.frombuffer(content, stored).reshape(shape)
    if kind == BFLOAT16:
        # They are the upper halves of float32.
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values
