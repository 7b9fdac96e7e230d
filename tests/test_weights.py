"""The files of checkpoints, MindSpore's own and damaged ones."""

import json
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore.train.checkpoint_pb2 import Checkpoint
from safetensors.numpy import save_file

from pipeline.data import own, weights
from pipeline.errors import AuditError
from pipeline.models import devices


@pytest.fixture(autouse=True)
def _cpu() -> None:
    # Once it has computed anything, MindSpore 2.7 to 2.9 cannot be told where.
    devices.start("CPU")


RNG = np.random.default_rng(0)
KINDS = [
    *("bool", "float16", "float32", "float64"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
]


def drawn(kind: str, shape: tuple[int, ...] = (2, 3)) -> Any:
    return (100 * RNG.random(shape)).astype(kind)


def save(path: Path, arrays: dict[str, Any], **more: Any) -> Path:
    """Save tensors as MindSpore does."""
    tensors = [
        {
            "name": name,
            "data": value if isinstance(value, ms.Tensor) else ms.Tensor(value),
        }
        for name, value in arrays.items()
    ]
    ms.save_checkpoint(tensors, str(path), format=path.suffix[1:], **more)
    return path


def message(*parameters: tuple[str, tuple[int, ...], str, bytes]) -> bytes:
    """Return a .ckpt of any dimensions, types and contents."""
    whole = Checkpoint()
    for name, shape, kind, content in parameters:
        value = whole.value.add()
        value.tag = name
        value.tensor.dims.extend(shape)
        value.tensor.tensor_type = kind
        value.tensor.tensor_content = content
    return bytes(whole.SerializeToString())


def refusal(path: Path, content: bytes | None = None) -> str:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AuditError) as caught:
        weights.read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("ending", ["ckpt", "safetensors"])
def test_arrays_of_every_type_are_read_as_they_were_saved(
    ending: str, tmp_path: Path
) -> None:
    arrays = {kind: drawn(kind) for kind in KINDS}
    # A batch norm's counter and a net of one unit; 300 is more than a byte holds.
    arrays |= {"number": drawn("float32", ()), "long": drawn("float32", (300,))}
    read = weights.read(save(tmp_path / f"a.{ending}", arrays))
    assert {*read} == {*arrays}
    for name, values in arrays.items():
        assert read[name].dtype == values.dtype
        assert np.array_equal(read[name], values)


@pytest.mark.parametrize("ending", ["ckpt", "safetensors"])
def test_bfloat16_is_read_as_float32(ending: str, tmp_path: Path) -> None:
    values = ms.Tensor(drawn("float32")).astype(ms.bfloat16)
    read = weights.read(save(tmp_path / f"a.{ending}", {"a": values}))
    assert read["a"].dtype == np.float32
    assert np.array_equal(read["a"], values.astype(ms.float32).asnumpy())


def test_a_checksum_and_text_that_were_saved_besides_are_passed_over(
    tmp_path: Path,
) -> None:
    path = save(
        tmp_path / "a.ckpt",
        {"a": drawn("float32")},
        append_dict={"epoch_num": 3, "name": "best"},
        crc_check=True,
    )
    assert path.read_bytes()[-17:-10] == weights.CKPT_CHECKSUM
    assert {*weights.read(path)} == {"a", "epoch_num"}


def test_a_large_parameter_is_read_from_its_slices(tmp_path: Path) -> None:
    values = drawn("float32", (4, 2))
    slices = [("a", (4, 2), "Float32", half.tobytes()) for half in np.split(values, 2)]
    path = tmp_path / "a.ckpt"
    path.write_bytes(message(*slices))
    assert np.array_equal(weights.read(path)["a"], values)
    found = ms.load_checkpoint(str(path))["a"].asnumpy()
    assert np.array_equal(found, values)


ONE = ("w", (2,), "Float32", bytes(8))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it has no parameters"),
        (message(("w", (-1, -1), "Float32", bytes(8))), "w has the shape (-1, -1)"),
        (message(ONE, ONE), "w has 16 bytes, where float32 (2,) takes 8"),
        (message(ONE, ("v", *ONE[1:]), ONE), "w stands in it twice"),
        (message(ONE, ("w", (1, 2), *ONE[2:])), "w stands in it twice"),
        (message(("w", (2,), "Float32", bytes(7))), "w has 7 bytes, where float32 "),
        (message(("w", (2,), "Float64", bytes(8))), "w has 8 bytes, where float64 "),
        (message(("w", (2,), "Float31", bytes(8))), "w is of type 'Float31', which"),
        (message(ONE)[:-1], "its end is missing"),
        (message(ONE) + b"\x0a\xff", "its end is missing"),
        (message(ONE) + b"\x0d\0\0\0\0", "it is not a message of parameters"),
        (message(ONE) + b"\x08\x01", "it is not a message of parameters"),
        (b"\x0a\x03\x0a\x01w", "w is not an array"),
        (b"\x0a\x02\x12\x00", "KeyError: 1"),
    ],
    ids=range(14),
)
def test_a_ckpt_that_is_damaged_is_refused_in_one_line(
    content: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.ckpt"
    assert refusal(path, content).startswith(
        f"{path}: is truncated or not a checkpoint ({words}"
    )


def tensors(header: str, n_bytes: int) -> bytes:
    return len(header).to_bytes(8, "little") + header.encode() + bytes(n_bytes)


def entry(
    start: int = 0, end: int = 8, kind: str = "F32", shape: tuple[int, ...] = (2,)
) -> str:
    content = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    return json.dumps(content)


@pytest.mark.parametrize(
    ("header", "n_bytes", "words"),
    [
        (f'{{"w": {entry(kind="F8_E4M3")}}}', 8, "w is of type 'F8_E4M3', which"),
        (
            f'{{"w": {entry(kind="NONE")}}}',
            8,
            "w is of type 'NONE', which is not known",
        ),
        (f'{{"w": {entry(shape=(-1, -2))}}}', 8, "w has the shape (-1, -2)"),
        (f'{{"w": {entry(shape=(3,))}}}', 8, "w has 8 bytes, where float32 (3,)"),
        (f'{{"w": {entry()}, "w": {entry()}}}', 8, "w stands in it twice"),
        (f'{{"v": {entry()}, "w": {entry(4, 12)}}}', 12, "w does not begin where"),
        (f'{{"w": {entry(-8, 0)}}}', 8, "w does not begin where another ends"),
        (f'{{"w": {entry()}}}', 7, "w has 7 bytes, where"),
        (f'{{"w": {entry()}}}', 9, "it goes on after its last parameter"),
        ('{"w": {}}', 0, "KeyError: 'data_offsets'"),
        ("[]", 0, "TypeError"),
        ("{}", 0, "it has no parameters"),
        ("{", 0, "JSONDecodeError"),
    ],
    ids=range(13),
)
def test_a_safetensors_file_that_is_damaged_is_refused_in_one_line(
    header: str, n_bytes: int, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    assert refusal(path, tensors(header, n_bytes)).startswith(
        f"{path}: is truncated or not a checkpoint ({words}"
    )


def test_a_safetensors_file_that_is_shorter_than_its_header_is_refused(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.safetensors"
    assert "(its end is missing)" in refusal(path, b"\xff" * 8)


# Several files


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """The index of two parts, one parameter in each."""
    names = {"a": "part-1.safetensors", "b": "part-2.safetensors"}
    for name, file in names.items():
        save_file({name: np.full((2,), ord(name), np.float32)}, tmp_path / file)
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 16}, "weight_map": names}))
    return path


def test_the_parts_that_an_index_names_are_read_as_one(index: Path) -> None:
    arrays = weights.read(index)
    assert {name: values.tolist() for name, values in arrays.items()} == {
        "a": [97, 97],
        "b": [98, 98],
    }


def test_a_part_that_is_missing_is_named(index: Path) -> None:
    index.with_name("part-2.safetensors").unlink()
    assert refusal(index) == (
        f"{index}: names the part part-2.safetensors, which is missing. Fix: copy the "
        "index and all its parts anew, into one folder."
    )


def test_a_part_that_lacks_its_parameter_is_named(index: Path) -> None:
    part = index.with_name("part-2.safetensors")
    save_file({"c": np.zeros(2, np.float32)}, part)
    assert refusal(index) == (
        f"{part}: lacks b, which {index.name} says it holds. Fix: copy the index and "
        "all its parts anew."
    )


@pytest.mark.parametrize("name", ["../part.safetensors", "/etc/passwd", "a.ckpt", ""])
def test_a_part_that_is_not_beside_its_index_is_refused(name: str, index: Path) -> None:
    index.with_name("a.ckpt").touch()
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    words = f"names the part {name!r}, which is not a .safetensors file beside it"
    assert f"{index}: {words}. Fix: copy " in refusal(index)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": []}', "\x00"])
def test_what_is_no_index_is_refused(content: str, index: Path) -> None:
    words = "is not an index of .safetensors files (it has no weight_map)"
    assert f"{index}: {words}. Fix: " in refusal(index, content.encode())


@pytest.mark.parametrize("name", ["a.ckpt", "a.safetensors", "a.json"])
def test_a_checkpoint_that_is_missing_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    assert refusal(path) == f"{path}: does not exist. Fix: correct target.checkpoint."


def test_the_parts_of_an_index_come_by_file(index: Path) -> None:
    table = {"a": "p.safetensors", "b": "p.safetensors"}
    index.with_name("p.safetensors").touch()
    index.write_text(json.dumps({"weight_map": table}))
    assert own.parts(index) == {"p.safetensors": ["a", "b"]}
