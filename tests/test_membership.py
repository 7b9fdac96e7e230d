from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.data import membership
from pipeline.errors import AuditError

MEMBER = np.arange(8) % 2 == [[0], [1]]


def written(folder: Path, array: NDArray[Any]) -> Path:
    path = folder / "membership.npy"
    np.save(path, array, allow_pickle=True)
    return path


def test_membership_is_read_as_it_was_saved(tmp_path: Path) -> None:
    found = membership.read(written(tmp_path, MEMBER), "digits", 2, 8)
    assert found.dtype == bool
    assert np.array_equal(found, MEMBER)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            MEMBER.astype(int),
            "has type int64 and shape (2, 8). "
            "Fix: save bools of shape (2, 8) by numpy.save.",
        ),
        (
            MEMBER[0],
            "has type bool and shape (8,). "
            "Fix: save bools of shape (2, 8) by numpy.save.",
        ),
        (
            MEMBER[:1],
            "has 1 rows, but 2 checkpoints lie beside it. "
            "Fix: give one row for each, in order of file name.",
        ),
        (
            MEMBER[:, :5],
            "has 5 columns, but digits has 8 records. "
            "Fix: give one column for each, audited or not.",
        ),
    ],
)
def test_another_array_is_refused(
    array: NDArray[Any], message: str, tmp_path: Path
) -> None:
    path = written(tmp_path, array)
    with pytest.raises(AuditError) as caught:
        membership.read(path, "digits", 2, 8)
    assert str(caught.value) == f"{path}: {message}"


NAMES = ["ref_10.ckpt", "ref_2.ckpt"]


@pytest.mark.parametrize("kind", ["U", "S"])
def test_rows_with_names_are_paired_by_them(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "membership.npz"
    np.savez(path, names=np.array(NAMES[::-1]).astype(kind), member=MEMBER)
    found = membership.named(path, "digits", NAMES, 8)
    assert np.array_equal(found, MEMBER[::-1])


SAVE = "Fix: save names and member by numpy.savez, a file name for each row."


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"member": MEMBER}, f"has no array 'names'. {SAVE}"),
        ({"names": np.array(NAMES)}, f"has no array 'member'. {SAVE}"),
        (
            {"names": np.array([2, 10]), "member": MEMBER},
            f"has names of type int64 and shape (2,). {SAVE}",
        ),
        (
            {"names": np.array(["ref_10", "ref_2"]), "member": MEMBER},
            "names 'ref_10', which is no checkpoint beside it. "
            "Fix: give the names of the files, .ckpt and all.",
        ),
        (
            {"names": np.array([NAMES[0]] * 2), "member": MEMBER},
            "names 'ref_10.ckpt' twice. Fix: give each file one row.",
        ),
        (
            {"names": np.array(NAMES[:1]), "member": MEMBER[:1]},
            "does not name 'ref_2.ckpt', which lies beside it. "
            "Fix: give each file one row.",
        ),
        (
            {"names": np.array(NAMES), "member": MEMBER[:, :5]},
            "has 5 columns, but digits has 8 records. "
            "Fix: give one column for each, audited or not.",
        ),
        (
            {"names": np.array(NAMES), "member": MEMBER.astype(int)},
            "has type int64 and shape (2, 8). "
            "Fix: save bools of shape (2, 8) by numpy.savez.",
        ),
    ],
)
def test_rows_with_other_names_are_refused(
    arrays: dict[str, NDArray[Any]], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "membership.npz"
    np.savez(path, **arrays)
    with pytest.raises(AuditError) as caught:
        membership.named(path, "digits", NAMES, 8)
    assert str(caught.value) == f"{path}: {message}"


def test_an_archive_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "membership.npz"
    path.write_bytes(b"junk")
    with pytest.raises(AuditError, match=r"membership.npz: cannot be read \("):
        membership.named(path, "digits", NAMES, 8)


def refusal(path: Path) -> str:
    with pytest.raises(AuditError) as caught:
        membership.read(path, "digits", 2, 8)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("content", [b"", b"junk", b"\x93NUMPY\x01\x00"])
def test_what_is_no_array_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "membership.npy"
    path.write_bytes(content)
    message = refusal(path)
    assert "cannot be read (" in message
    assert message.endswith("Fix: save a bool array by numpy.save.")


def test_a_truncated_array_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, MEMBER)
    path.write_bytes(path.read_bytes()[:-3])
    assert "cannot be read (" in refusal(path)


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    path = written(tmp_path, np.array([[print], [print]], dtype=object))
    assert "cannot be read (ValueError: Object arrays" in refusal(path)


def test_an_archive_of_arrays_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "membership.npy"
    with path.open("wb") as file:
        np.savez(file, member=MEMBER)
    assert "has type NpzFile" in refusal(path)


@pytest.mark.parametrize(
    "groups",
    [np.array([3, 1, 1]), np.array(["a", "b", "a"]), np.array([b"a", b"b", b"a"])],
)
def test_groups_are_read_as_they_were_saved(
    groups: NDArray[Any], tmp_path: Path
) -> None:
    found = membership.groups(written(tmp_path, groups), 3)
    expected = [one.decode() if isinstance(one, bytes) else one for one in groups]
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("groups", "problem"),
    [
        (np.arange(4), "has type int64 and shape (4,)"),
        (np.ones((3, 1), int), "has type int64 and shape (3, 1)"),
        (np.ones(3), "has type float64 and shape (3,)"),
    ],
)
def test_groups_of_another_shape_or_type_are_refused(
    groups: NDArray[Any], problem: str, tmp_path: Path
) -> None:
    path = written(tmp_path, groups)
    with pytest.raises(AuditError) as caught:
        membership.groups(path, 3)
    assert str(caught.value) == (
        f"report.groups: {path} {problem}. Fix: save whole numbers or strings of shape "
        "(3,), one for each record of the source."
    )


def test_groups_of_broken_text_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, np.array([b"a", b"\xff", b"a"]))
    with pytest.raises(AuditError) as caught:
        membership.groups(path, 3)
    assert f"report.groups: {path} cannot be read (" in str(caught.value)


def test_more_groups_than_a_report_can_tell_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, np.arange(1001))
    with pytest.raises(AuditError) as caught:
        membership.groups(path, 1001)
    assert str(caught.value) == (
        f"report.groups: {path} has 1001 groups. Fix: give at most 1000."
    )


def test_groups_that_are_no_array_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "groups.npy"
    path.write_text("a,b")
    with pytest.raises(AuditError) as caught:
        membership.groups(path, 3)
    found = str(caught.value)
    assert found.startswith(f"report.groups: {path} cannot be read (")
    assert found.endswith("). Fix: save an array by numpy.save.")


@pytest.mark.parametrize(
    "ids",
    [np.array([3, 0, 3]), np.array(["a", "b c", "a"]), np.array([b"a", b"b", b"a"])],
)
def test_units_are_read_as_they_were_saved(ids: NDArray[Any], tmp_path: Path) -> None:
    found = membership.units(written(tmp_path, ids), 3)
    expected = [one.decode() if isinstance(one, bytes) else one for one in ids]
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        (np.arange(4), "has type int64 and shape (4,)"),
        (np.ones((3, 1), int), "has type int64 and shape (3, 1)"),
        (np.array([1.0, np.nan, 2.0]), "has type float64 and shape (3,)"),
        (np.ones(3, bool), "has type bool and shape (3,)"),
    ],
)
def test_units_of_another_shape_or_type_are_refused(
    ids: NDArray[Any], problem: str, tmp_path: Path
) -> None:
    path = written(tmp_path, ids)
    with pytest.raises(AuditError) as caught:
        membership.units(path, 3)
    assert str(caught.value) == (
        f"data.units: {path} {problem}. Fix: save whole numbers or strings of shape "
        "(3,), one id for each record of the source."
    )


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        (np.array([4, -1, -1]), "has 2 ids that are negative"),
        (np.array(["a", "", " "]), "has 2 ids that are empty"),
    ],
)
def test_units_that_are_missing_are_refused(
    ids: NDArray[Any], problem: str, tmp_path: Path
) -> None:
    path = written(tmp_path, ids)
    with pytest.raises(AuditError) as caught:
        membership.units(path, 3)
    assert str(caught.value) == (
        f"data.units: {path} {problem}. Fix: give every record an id; a record of "
        "nobody else's, one of its own."
    )


def test_units_that_are_objects_or_no_array_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, np.array(["a", 1, None], dtype=object))
    with pytest.raises(AuditError, match=r"cannot be read \(.*Fix: save whole numbers"):
        membership.units(path, 3)
    path.write_text("a,b")
    with pytest.raises(AuditError, match=r"^data.units: .* cannot be read \("):
        membership.units(path, 3)


def test_units_of_broken_text_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, np.array([b"a", b"\xff", b"a"]))
    with pytest.raises(AuditError) as caught:
        membership.units(path, 3)
    assert f"data.units: {path} has ids that are no text (" in str(caught.value)
    assert str(caught.value).endswith("Fix: encode them as UTF-8.")
