from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.data import membership, selection
from pipeline.errors import AuditError

LABEL = np.array([0, 0, 0, 1, 1, 1, 2, 2], dtype=np.int32)
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


def test_nothing_is_said_of_references_on_halves() -> None:
    assert membership.remarks(["a", "b"], MEMBER, LABEL) == []


def test_each_way_to_differ_is_told_with_its_models() -> None:
    member = np.zeros((6, 8), dtype=bool)
    member[1] = True
    member[2, 0] = True
    member[3, 1:] = True
    member[4] = LABEL < 2
    member[5] = MEMBER[0]
    found = membership.remarks(["a", "b", "c", "d", "e", "f"], member, LABEL)
    assert found == [
        "trained on no audited record, so of use to offline attacks only: a",
        "trained on every audited record, so of no use to offline attacks: b",
        "trained on less than a quarter of the audited records: c (0.12)",
        "trained on more than three quarters of the audited records: d (0.88)",
        "trained on no audited record of some class: c (class 1), e (class 2)",
    ]


def test_a_quarter_and_three_quarters_are_not_remarkable() -> None:
    member = np.zeros((2, 8), dtype=bool)
    member[0, [0, 3]] = True
    member[1] = ~member[0]
    assert membership.remarks(["a", "b"], member, LABEL * 0) == []


def test_of_many_models_three_are_named() -> None:
    names = [f"{i}.ckpt" for i in range(9)]
    (found,) = membership.remarks(names, np.zeros((9, 8), dtype=bool), LABEL)
    assert found.endswith("only: 0.ckpt, 1.ckpt, 2.ckpt and 6 more")


def test_records_without_references_on_a_side_are_counted() -> None:
    member = np.array([[True, True, False], [True, False, False]])
    assert membership.gaps(member) == [
        "1 of 3 records have no reference that they are OUT of: attacks go by the "
        "other side, or by what is usual",
        "1 of 3 records have no reference that they are IN of: online attacks go by "
        "the other side, or by what is usual",
    ]
    assert membership.gaps(np.array([[True, False], [False, True]])) == []


def lira_design(n_models: int, n_records: int, seed: int) -> np.ndarray:
    """Every record is given to just half of the models, without pairs."""
    rng = np.random.default_rng(seed)
    side = np.arange(n_models)[:, None] < n_models // 2
    return rng.permuted(side * np.ones((1, n_records), dtype=bool), axis=0)


@pytest.mark.parametrize("n_models", [4, 6, 16])
def test_a_target_among_the_models_that_share_the_records_is_told_by_counts(
    n_models: int,
) -> None:
    target, *references = lira_design(n_models, 200, 1)
    assert membership.tells(np.array(references), target)


def test_the_targets_complementary_twin_is_told_by_counts() -> None:
    rng = np.random.default_rng(0)
    target = rng.random(200) < 0.5
    pairs = selection.halves(200, 6, seed=1)
    assert not membership.tells(pairs, target)
    assert membership.tells(np.vstack((pairs, ~target)), target)


def test_independent_references_tell_nothing_by_counts() -> None:
    for seed in range(20):
        member = np.random.default_rng(seed).random((9, 300)) < 0.5
        assert not membership.tells(member[1:], member[0])


@pytest.mark.parametrize("n_models", [3, 8])
def test_levelled_references_are_as_many_in_as_out_and_drawn_from_the_larger_side(
    n_models: int,
) -> None:
    member = np.random.default_rng(0).random((n_models, 500)) < 0.6
    kept = membership.level(member, seed=1)
    n_in, n_out = member.sum(axis=0), (~member).sum(axis=0)
    fewest = np.minimum(n_in, n_out)
    assert np.array_equal((member & kept).sum(axis=0), fewest)
    assert np.array_equal((~member & kept).sum(axis=0), fewest)
    # Each model of the larger side is dropped about as often as any other.
    dropped = (~kept).mean(axis=1)
    assert dropped.max() - dropped.min() < 0.1
