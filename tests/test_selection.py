import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.data import selection

TEN_CLASSES = (np.arange(200) % 10).astype(np.int32)


def content(text: str) -> NDArray[np.bytes_]:
    """Return one hash for each letter."""
    return np.array(list(text), dtype="S1")


@settings(derandomize=True, deadline=None)
@given(
    n=st.integers(0, 40),
    n_classes=st.integers(2, 5),
    share=st.floats(0, 1),
    seed=st.integers(0, 100),
)
def test_canaries_are_exactly_the_share_asked_for(
    n: int, n_classes: int, share: float, seed: int
) -> None:
    label = (np.arange(n) % n_classes).astype(np.int32)
    _, canary = selection.canary_labels(label, n_classes, share, seed)
    assert canary.sum() == round(share * n)


@settings(derandomize=True, deadline=None)
@given(n_classes=st.integers(2, 5), share=st.floats(0, 1), seed=st.integers(0, 100))
def test_canaries_and_no_others_have_another_label_than_their_own(
    n_classes: int, share: float, seed: int
) -> None:
    label = (np.arange(40) % n_classes).astype(np.int32)
    changed, canary = selection.canary_labels(label, n_classes, share, seed)
    assert np.array_equal(changed != label, canary)


@settings(derandomize=True, deadline=None)
@given(n_classes=st.integers(2, 5), seed=st.integers(0, 100))
def test_canary_labels_are_labels_of_some_class(n_classes: int, seed: int) -> None:
    label = (np.arange(40) % n_classes).astype(np.int32)
    changed, _ = selection.canary_labels(label, n_classes, 1.0, seed)
    assert set(changed.tolist()) <= set(range(n_classes))


def test_canaries_get_every_other_label_about_equally_often() -> None:
    changed, _ = selection.canary_labels(np.zeros(9000, np.int32), 10, 1.0, 3)
    counts = np.bincount(changed, minlength=10)
    # Nine labels of 1000 on average; five standard deviations are 5 * sqrt(889) = 149.
    assert counts[0] == 0
    assert np.abs(counts[1:] - 1000).max() < 149


def test_canaries_are_the_same_for_the_same_seed() -> None:
    one = selection.canary_labels(TEN_CLASSES, 10, 0.3, 5)
    other = selection.canary_labels(TEN_CLASSES, 10, 0.3, 5)
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])


def test_canaries_are_others_for_another_seed() -> None:
    _, one = selection.canary_labels(TEN_CLASSES, 10, 0.3, 5)
    _, other = selection.canary_labels(TEN_CLASSES, 10, 0.3, 6)
    assert not np.array_equal(one, other)


def test_no_canaries_change_nothing() -> None:
    changed, canary = selection.canary_labels(TEN_CLASSES, 10, 0.0, 5)
    assert np.array_equal(changed, TEN_CLASSES)
    assert not canary.any()


def test_canaries_leave_a_read_only_input_as_it_is() -> None:
    label = TEN_CLASSES.copy()
    label.flags.writeable = False
    changed, _ = selection.canary_labels(label, 10, 0.5, 1)
    assert changed.dtype == np.int32
    assert np.array_equal(label, np.arange(200) % 10)


@pytest.mark.parametrize(
    ("of_candidates", "taken", "count", "ids", "n_duplicates"),
    [
        ("abcd", "", 2, [10, 11], 0),
        ("abcd", "b", 2, [10, 12], 1),
        ("abcd", "bd", 2, [10, 12], 1),  # d comes after the last one taken
        ("abcd", "ab", 2, [12, 13], 2),
        ("abcd", "abc", 2, [13], 3),  # too few are left
        ("abcd", "abcd", 2, [], 4),
        ("abcd", "bd", None, [10, 12], 2),
        ("abcd", "", None, [10, 11, 12, 13], 0),
        ("aabb", "a", 2, [12], 2),
    ],
)
def test_distinct_takes_what_is_new_in_order(
    of_candidates: str,
    taken: str,
    count: int | None,
    ids: list[int],
    n_duplicates: int,
) -> None:
    candidates = np.arange(10, 10 + len(of_candidates))
    found = selection.distinct(
        candidates, content(of_candidates), content(taken), count
    )
    assert (found.ids.tolist(), len(found.duplicates)) == (ids, n_duplicates)


@settings(derandomize=True, deadline=None)
@given(
    of_candidates=st.text("abcdef", min_size=1, max_size=12),
    taken=st.text("abcdef", max_size=4),
    count=st.one_of(st.none(), st.integers(1, 12)),
)
def test_distinct_is_what_a_loop_takes(
    of_candidates: str, taken: str, count: int | None
) -> None:
    ids: list[int] = []
    duplicates: list[int] = []
    copies: list[int] = []
    for place, letter in enumerate(of_candidates):
        if len(ids) == count:
            break
        if letter in taken:
            duplicates.append(place)
        elif letter in of_candidates[:place]:
            copies.append(place)
        else:
            ids.append(place)
    found = selection.distinct(
        np.arange(len(of_candidates)), content(of_candidates), content(taken), count
    )
    assert found.ids.tolist() == ids
    assert found.duplicates.tolist() == duplicates
    assert found.copies.tolist() == copies


def test_records_of_unknown_content_equal_no_other() -> None:
    unknown = np.array([b"", b"a", b"", b"a"], dtype="S1")
    found = selection.distinct(np.arange(4), unknown, unknown[:1], None)
    assert found.ids.tolist() == [0, 1, 2]
    assert found.copies.tolist() == [3]
    assert selection.copies(unknown, np.array([0, 1])).tolist() == [[3, 1]]


@settings(derandomize=True, deadline=None)
@given(letters=st.text("abcdef", min_size=1, max_size=12), seed=st.integers(0, 50))
def test_copies_are_what_a_loop_finds(letters: str, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(letters))
    of_source = content(letters)
    chosen = selection.distinct(order, of_source[order], of_source[:0], 3).ids
    expected = [
        [copy, int(original)]
        for copy in range(len(letters))
        for original in chosen
        if copy not in chosen and letters[copy] == letters[original]
    ]
    assert selection.copies(of_source, chosen).tolist() == expected


def test_the_first_records_are_chosen_in_their_order() -> None:
    ids = np.array([3, 1, 2])
    found = selection.ordered(ids, "first", 1, "data.members")
    assert found.tolist() == [3, 1, 2]


def test_a_sample_is_a_seeded_permutation() -> None:
    ids = np.arange(100, 200)
    found = selection.ordered(ids, "sample", 1, "data.members")
    again = selection.ordered(ids, "sample", 1, "data.members")
    other = selection.ordered(ids, "sample", 1, "data.nonmembers")
    assert sorted(found) == ids.tolist()
    assert np.array_equal(found, again)
    assert not np.array_equal(found, ids)
    assert not np.array_equal(found, other)


@st.composite
def audits(draw: st.DrawFn) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    rows = draw(
        st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=60)
    )
    member, label = zip(*rows, strict=True)
    return np.array(member), np.array(label, dtype=np.int32)


@settings(derandomize=True, deadline=None)
@given(audits(), st.floats(0.01, 0.99), st.integers(0, 50))
def test_eval_side_holds_out_exactly_the_fraction_of_each_side(
    audit: tuple[NDArray[np.bool_], NDArray[np.int32]], fraction: float, seed: int
) -> None:
    member, label = audit
    held_out = selection.eval_side(member, label, fraction, seed)
    for side in (True, False):
        n = int((member == side).sum())
        assert held_out[member == side].sum() == round(fraction * n)


@settings(derandomize=True, deadline=None)
@given(audits(), st.floats(0.01, 0.99), st.integers(0, 50))
def test_eval_side_holds_out_each_label_within_a_record_of_its_share(
    audit: tuple[NDArray[np.bool_], NDArray[np.int32]], fraction: float, seed: int
) -> None:
    member, label = audit
    held_out = selection.eval_side(member, label, fraction, seed)
    for side in (True, False):
        n, n_eval = int((member == side).sum()), int(held_out[member == side].sum())
        for name in set(label[member == side].tolist()):
            rows = (member == side) & (label == name)
            # |found - n_eval / n * of the label| < 1, in whole numbers.
            excess = int(held_out[rows].sum()) * n - n_eval * int(rows.sum())
            assert abs(excess) < n


def test_eval_side_is_the_same_for_the_same_seed() -> None:
    member = np.arange(200) % 3 == 0
    one = selection.eval_side(member, TEN_CLASSES, 0.25, 7)
    other = selection.eval_side(member, TEN_CLASSES, 0.25, 7)
    assert np.array_equal(one, other)


def test_eval_side_is_another_for_another_seed() -> None:
    member = np.arange(200) % 3 == 0
    one = selection.eval_side(member, TEN_CLASSES, 0.25, 7)
    other = selection.eval_side(member, TEN_CLASSES, 0.25, 8)
    assert not np.array_equal(one, other)


def test_eval_side_holds_out_every_record_about_equally_often() -> None:
    member = np.arange(30) < 17
    label = (np.arange(30) % 4).astype(np.int32)
    n_seeds = 2000
    times = np.sum(
        [selection.eval_side(member, label, 0.3, seed) for seed in range(n_seeds)],
        axis=0,
    )
    # Five standard deviations of a binomial count.
    for side in (True, False):
        share = round(0.3 * (member == side).sum()) / (member == side).sum()
        spread = 5 * np.sqrt(n_seeds * share * (1 - share))
        assert np.abs(times[member == side] - n_seeds * share).max() < spread


def test_eval_side_leaves_read_only_inputs_as_they_are() -> None:
    member, label = np.arange(20) < 9, (np.arange(20) % 2).astype(np.int32)
    member.flags.writeable = label.flags.writeable = False
    selection.eval_side(member, label, 0.2, 1)
    assert member.tolist() == [True] * 9 + [False] * 11
    assert label.tolist() == [0, 1] * 10


def test_unknown_contents_are_all_distinct() -> None:
    contents = np.array([b"a", b"", b"b", b"a", b""])
    assert selection.count_distinct(contents) == 4
    assert selection.count_distinct(contents[:0]) == 0
