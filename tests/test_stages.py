from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import Data
from pipeline.data import sources
from pipeline.errors import AuditError
from stages import records
from tests import jobs


def catalogue(
    content: str, member: str | None = None, n_classes: int = 3
) -> sources.Catalogue:
    """Return records with one letter each as content, members marked by "m"."""
    n = len(content)
    return sources.Catalogue(
        label=(np.arange(n) % n_classes).astype(np.int32),
        member=None if member is None else np.array([side == "m" for side in member]),
        content=np.array(list(content), dtype="S32"),
        n_classes=n_classes,
    )


def data(**more: object) -> Data:
    return Data.model_validate({"source": "digits", **more})


TWO_SIDES = catalogue("abcdefghij", "mmmmmmoooo")


def test_the_sides_are_equal_unless_configured() -> None:
    found = records.choose(data(), TWO_SIDES)
    assert found.id[~found.member].tolist() == [6, 7, 8, 9]
    assert found.member.sum() == 4
    assert (found.id == np.sort(found.id)).all()
    assert set(found.id[found.member]) < set(range(6))


def test_one_number_holds_for_both_sides() -> None:
    for name in ("members", "nonmembers"):
        found = records.choose(data(**{name: 3}), TWO_SIDES)
        assert (found.member.sum(), (~found.member).sum()) == (3, 3)


def test_records_tell_how_many_the_source_has() -> None:
    assert records.choose(data(members=2), TWO_SIDES).n_source == 10


def test_two_numbers_may_differ() -> None:
    found = records.choose(data(members=5, nonmembers=2), TWO_SIDES)
    assert (found.member.sum(), (~found.member).sum()) == (5, 2)


def test_the_first_records_are_taken_in_order() -> None:
    found = records.choose(data(choose="first", members=3), TWO_SIDES)
    assert found.id.tolist() == [0, 1, 2, 6, 7, 8]


def test_the_seed_decides_a_sample() -> None:
    long = catalogue("".join(map(chr, range(65, 115))), "m" * 25 + "o" * 25)
    one, again, other = (
        records.choose(data(members=10, seed=seed), long).id for seed in (1, 1, 2)
    )
    assert one.tolist() == again.tolist() != other.tolist()


def test_one_pool_is_divided_without_overlap() -> None:
    found = records.choose(data(), catalogue("abcdefghijk"))
    assert (found.member.sum(), (~found.member).sum()) == (5, 5)
    assert len(set(found.id.tolist())) == 10


def test_a_non_member_that_equals_any_training_record_is_dropped() -> None:
    # Record 5 is not audited, but the target knows it: record 6 is its twin.
    twins = catalogue("abcdefaxfyzw", "mmmmmmoooooo")
    found = records.choose(data(choose="first", members=2, nonmembers=3), twins)
    assert found.id.tolist() == [0, 1, 7, 9, 10]
    assert found.duplicates_dropped == 2


def test_in_one_pool_only_audited_members_count_as_known() -> None:
    found = records.choose(
        data(choose="first", members=2, nonmembers=2), catalogue("abacdef")
    )
    assert found.id.tolist() == [0, 1, 3, 4]
    assert found.duplicates_dropped == 1


def test_the_sides_stay_equal_when_duplicates_leave_too_few() -> None:
    found = records.choose(data(), catalogue("abcdeaxy", "mmmmmooo"))
    assert (found.member.sum(), (~found.member).sum()) == (2, 2)


def test_copies_within_a_side_are_dropped_and_counted() -> None:
    thrice = catalogue("abcabcabcxyzxyzxyz", 9 * "m" + 9 * "o")
    found = records.choose(data(choose="first"), thrice)
    assert found.id.tolist() == [0, 1, 2, 9, 10, 11]
    assert found.member.tolist() == 3 * [True] + 3 * [False]
    assert (found.duplicates_dropped, found.copies_dropped) == (0, 12)
    assert found.copies[:, 0].tolist() == [*range(3, 9), *range(12, 18)]
    assert found.copies[:, 1].tolist() == 2 * [0, 1, 2] + 2 * [9, 10, 11]


def test_other_records_take_the_place_of_copies() -> None:
    found = records.choose(
        data(choose="first", members=2, nonmembers=3),
        catalogue("aabcxxyzw", "mmmmooooo"),
    )
    assert found.id.tolist() == [0, 2, 4, 6, 7]
    assert found.copies_dropped == 2


@pytest.mark.parametrize("counts", [{}, {"members": 6, "nonmembers": 3}])
def test_where_copies_leave_fewer_records_than_configured_fewer_are_audited(
    counts: dict[str, int],
) -> None:
    found = records.choose(data(**counts), catalogue("aabbccxyz", "mmmmmmooo"))
    assert (found.member.sum(), found.nonmember.sum()) == (3, 3)


def test_the_sides_stay_equal_where_one_has_copies() -> None:
    found = records.choose(data(), catalogue("abcdefxxxxyy", "mmmmmmoooooo"))
    assert (found.member.sum(), found.nonmember.sum()) == (2, 2)


def test_in_one_pool_a_copy_of_a_member_is_counted_once() -> None:
    found = records.choose(
        data(choose="first", members=2, nonmembers=2), catalogue("aabcdeb")
    )
    assert found.id.tolist() == [0, 2, 3, 4]
    assert (found.duplicates_dropped, found.copies_dropped) == (0, 1)


def test_a_copy_with_another_label_is_a_copy() -> None:
    # Of one input a model's outputs are the same, whatever label stands beside it.
    mislabelled = catalogue("abcaxyzx", "mmmmoooo")
    mislabelled.label[3] = 2
    found = records.choose(data(choose="first"), mislabelled)
    assert found.id.tolist() == [0, 1, 2, 4, 5, 6]


def test_a_population_has_no_copies() -> None:
    drawn = records.choose(
        data(choose="first", members=1, population=2), catalogue("abxyyz", "mmoooo")
    )
    assert drawn.id[drawn.population].tolist() == [3, 5]
    assert drawn.copies_dropped == 1
    of_file = replace(catalogue("abxyyxzaz", "mmooooooo"), population=np.arange(9) >= 4)
    found = records.choose(data(choose="first"), of_file)
    assert found.id[found.population].tolist() == [6]
    assert found.copies_dropped == 4


def test_the_line_tells_of_copies_only_where_there_are_some(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    logits, member = rng.normal(size=(40, 5)), np.arange(40) < 20
    label = np.arange(40) % 5
    path = tmp_path / "a.npz"
    settings = {"data": {"source": "arrays"}}
    for n, more in ((1, ""), (3, ", 80 copies within a side dropped")):
        arrays = {"logits": logits, "label": label, "member": member}
        np.savez(path, **{name: np.repeat(a, n, axis=0) for name, a in arrays.items()})
        job = jobs.job("records", tmp_path / "run", settings, {"path": str(path)})
        line = records.compute(job)
        assert line == f"20 members, 20 non-members, 0 duplicates dropped{more}"


def test_records_without_content_are_no_duplicates() -> None:
    unknown = catalogue("aaaaaa", "mmmooo")
    unknown.content[:] = b""
    found = records.choose(data(), unknown)
    assert (len(found.id), int(found.duplicates_dropped)) == (6, 0)


def test_canaries_are_drawn_on_both_sides_before_members_are_chosen() -> None:
    long = catalogue("".join(map(chr, range(33, 113))), "m" * 40 + "o" * 40)
    few = records.choose(data(members=20, canaries=0.25), long)
    more = records.choose(data(members=40, canaries=0.25), long)
    assert more.canary.sum() == 20
    assert more.canary[more.member].any()
    assert more.canary[~more.member].any()
    assert (more.label != long.label[more.id]).tolist() == more.canary.tolist()
    at = np.searchsorted(more.id, few.id)
    assert few.label.tolist() == more.label[at].tolist()


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"members": 7, "nonmembers": 1},
            "data.members: is 7, but digits has 6 left for it. "
            "Fix: lower it, or give more data.",
        ),
        (
            {"members": 7},
            "data.members: is 7, but digits has 6 left for it. "
            "Fix: lower it, or give more data.",
        ),
        (
            {"nonmembers": 5},
            "data.nonmembers: is 5, but digits has 4 left for it. "
            "Fix: lower it, or give more data.",
        ),
    ],
)
def test_more_records_than_there_are_are_refused(
    settings: dict[str, int], line: str
) -> None:
    with pytest.raises(AuditError) as caught:
        records.choose(data(**settings), TWO_SIDES)
    assert str(caught.value) == line


def line(settings: Data, source: sources.Catalogue) -> str:
    """Return what the stage says of the number of records, and what was chosen."""
    found = records.choose(settings, source)
    said = ", ".join(records.remarks(settings, source, found))
    return f"{found.member.sum()} + {found.nonmember.sum()}: {said}"


MANY_MEMBERS = catalogue("a" * 1620, "m" * 1500 + "o" * 120)
MANY_MEMBERS.content[:] = [f"{i}" for i in range(1620)]
NO_MORE = "fewer non-members than members as there are no more"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "120 + 120: 1,380 members left out to make the sides equal"),
        ({"members": 1300}, f"1300 + 120: {NO_MORE}"),
        ({"members": 100}, "100 + 100: "),
        ({"nonmembers": 100}, "100 + 100: "),
        ({"members": 1300, "nonmembers": 120}, "1300 + 120: "),
        # The population has its share of what there is.
        ({"members": 1300, "population": 20}, f"1300 + 100: {NO_MORE}"),
        (
            {"population": 20},
            "100 + 100: 1,400 members left out to make the sides equal",
        ),
    ],
    ids=str,
)
def test_a_side_takes_all_records_where_there_are_no_more_and_says_so(
    settings: dict[str, int], said: str
) -> None:
    assert line(data(**settings), MANY_MEMBERS) == said


def test_non_members_that_are_left_out_are_counted() -> None:
    few = catalogue("abcdefghij", "mmmooooooo")
    said = "4 non-members left out to make the sides equal"
    assert line(data(), few) == f"3 + 3: {said}"
    said = "fewer members than non-members as there are no more"
    assert line(data(nonmembers=5), few) == f"3 + 5: {said}"


def test_one_pool_leaves_no_side_out() -> None:
    assert line(data(), catalogue("abcdefghijk")) == "5 + 5: "
    said = "fewer non-members than members as there are no more"
    assert line(data(members=8), catalogue("abcdefghijk")) == f"8 + 3: {said}"


def test_more_non_members_than_differ_from_members_are_refused() -> None:
    with pytest.raises(AuditError, match="is 3, but 2 differ from every member"):
        records.choose(data(nonmembers=3), catalogue("abcaxy", "mmmooo"))


def test_a_number_of_members_takes_the_non_members_that_differ() -> None:
    said = "fewer non-members than members as there are no more"
    twins = catalogue("abcaxy", "mmmooo")
    assert line(data(members=3), twins) == f"3 + 2: {said}"


def test_a_source_whose_non_members_all_equal_members_is_refused() -> None:
    with pytest.raises(AuditError) as caught:
        records.choose(data(), catalogue("abcab", "mmmoo"))
    assert str(caught.value) == (
        "data (digits): has no non-member that differs from every member. "
        "Fix: add records that the target was not trained on."
    )


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (
            "mmm",
            "data (digits): has no non-members: all of its 3 records are members. "
            "Fix: add records that the target was not trained on.",
        ),
        (
            "ooo",
            "data (digits): has no members: none of its 3 records is marked as one. "
            "Fix: add records that the target was trained on.",
        ),
    ],
)
@pytest.mark.parametrize("settings", [{}, {"members": 2}], ids=["no number", "number"])
def test_a_source_with_one_side_only_is_refused(
    settings: dict[str, int], member: str, message: str
) -> None:
    with pytest.raises(AuditError) as caught:
        records.choose(data(**settings), catalogue("abc", member))
    assert str(caught.value) == message


def test_non_members_that_are_all_of_the_population_are_refused() -> None:
    given = replace(TWO_SIDES, population=np.arange(10) >= 6)
    with pytest.raises(AuditError) as caught:
        records.choose(data(), given)
    assert str(caught.value) == (
        "data (digits): has no non-members: all of its 10 records are members or of "
        "the population. Fix: add records that the target was not trained on."
    )


@pytest.mark.parametrize("population", [4, 9])
def test_a_population_that_leaves_no_non_member_is_refused(population: int) -> None:
    with pytest.raises(AuditError) as caught:
        records.choose(data(population=population), TWO_SIDES)
    assert str(caught.value) == (
        f"data.population: is {population}, but there are 4 non-members. "
        "Fix: lower it, or give more data."
    )


def test_a_side_that_takes_the_whole_pool_is_refused() -> None:
    with pytest.raises(AuditError) as caught:
        records.choose(data(members=11), catalogue("abcdefghijk"))
    assert str(caught.value) == (
        "data.members: leaves no non-members to audit of digits. "
        "Fix: lower it, or give more data."
    )


def test_records_of_one_class_are_refused() -> None:
    with pytest.raises(AuditError, match="has records of one class only"):
        records.choose(data(), catalogue("abcd", "mmoo", n_classes=1))


def test_a_population_is_drawn_from_non_members_that_are_not_audited() -> None:
    found = records.choose(data(members=2, population=2), TWO_SIDES)
    assert found.population.sum() == 2
    assert not (found.population & found.member).any()
    assert set(found.id[found.population]) < {6, 7, 8, 9}
    assert found.nonmember.sum() == 2
    first = records.choose(data(members=2, choose="first", population=1), TWO_SIDES)
    assert first.id[first.population].tolist() == [8]


def test_without_numbers_the_sides_leave_room_for_the_population() -> None:
    found = records.choose(data(population=3), TWO_SIDES)
    assert (found.member.sum(), found.nonmember.sum()) == (1, 1)
    found = records.choose(data(population=3), catalogue("abcdefghijk"))
    assert (found.member.sum(), found.nonmember.sum()) == (4, 4)


def test_a_population_has_no_twin_of_an_audited_record() -> None:
    twins = catalogue("abcdxaxyyz", "mmmmoooooo")
    found = records.choose(
        data(choose="first", members=2, nonmembers=2, population=1), twins
    )
    assert found.id[found.nonmember].tolist() == [4, 7]
    assert found.id[found.population].tolist() == [9]


def test_records_with_a_population_of_the_file_are_not_audited() -> None:
    given = replace(TWO_SIDES, population=np.arange(10) >= 8)
    found = records.choose(data(), given)
    assert found.id[found.population].tolist() == [8, 9]
    assert found.id[found.nonmember].tolist() == [6, 7]


def test_a_larger_population_than_there_is_is_refused() -> None:
    line = (
        "data.population: is 2, but 1 records are left for it. "
        "Fix: lower it, or give more data."
    )
    with pytest.raises(AuditError) as caught:
        records.choose(data(members=3, population=2), TWO_SIDES)
    assert str(caught.value) == line


def test_copies_and_duplicates_are_not_said_to_be_left_out_for_equal_sides() -> None:
    # Members a to f, b twice more; non-members a again, g, g, h.
    source = catalogue("abcdefbbaggh", "mmmmmmmmoooo")
    chosen = records.choose(data(), source)
    assert (chosen.member.sum(), chosen.nonmember.sum()) == (2, 2)
    assert records.remarks(data(), source, chosen) == [
        "4 members left out to make the sides equal"
    ]
