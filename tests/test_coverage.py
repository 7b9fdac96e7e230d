import numpy as np
import pytest

from pipeline import draws
from pipeline.attacks import coverage, evidence
from pipeline.attacks.division import withholding
from pipeline.data import selection

LABEL = np.array([0, 0, 0, 1, 1, 1, 2, 2], dtype=np.int32)
MEMBER = np.arange(8) % 2 == [[0], [1]]


def test_nothing_is_said_of_references_on_halves() -> None:
    assert coverage.remarks(["a", "b"], MEMBER, LABEL) == []


def test_each_way_to_differ_is_told_with_its_models() -> None:
    member = np.zeros((6, 8), dtype=bool)
    member[1] = True
    member[2, 0] = True
    member[3, 1:] = True
    member[4] = LABEL < 2
    member[5] = MEMBER[0]
    remarks = coverage.remarks(["a", "b", "c", "d", "e", "f"], member, LABEL)
    assert remarks == [
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
    assert coverage.remarks(["a", "b"], member, LABEL * 0) == []


def test_of_many_models_three_are_named() -> None:
    names = [f"{i}.ckpt" for i in range(9)]
    (remarks,) = coverage.remarks(names, np.zeros((9, 8), dtype=bool), LABEL)
    assert remarks.endswith("only: 0.ckpt, 1.ckpt, 2.ckpt and 6 more")


def test_records_without_references_on_a_side_are_counted() -> None:
    member = np.array([[True, True, False], [True, False, False]])
    assert coverage.gaps(member) == [
        "1 of 3 records have no reference that they are OUT of: attacks go by the "
        "other side, or by what is usual",
        "1 of 3 records have no reference that they are IN of: online attacks go by "
        "the other side, or by what is usual",
    ]
    assert coverage.gaps(np.array([[True, False], [False, True]])) == []


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
    assert coverage.reveals(np.array(references), target)


def test_the_targets_complementary_twin_is_told_by_counts() -> None:
    rng = np.random.default_rng(0)
    target = rng.random(200) < 0.5
    pairs = selection.halves(200, 6, seed=1)
    assert not coverage.reveals(pairs, target)
    assert coverage.reveals(np.vstack((pairs, ~target)), target)


def test_independent_references_tell_nothing_by_counts() -> None:
    for seed in range(20):
        member = np.random.default_rng(seed).random((9, 300)) < 0.5
        assert not coverage.reveals(member[1:], member[0])


@pytest.mark.parametrize("n_models", [3, 8])
def test_levelled_references_are_as_many_in_as_out_and_drawn_from_the_larger_side(
    n_models: int,
) -> None:
    member = np.random.default_rng(0).random((n_models, 500)) < 0.6
    kept = coverage.balanced(member, seed=1)
    n_in, n_out = member.sum(axis=0), (~member).sum(axis=0)
    fewest = np.minimum(n_in, n_out)
    assert np.array_equal((member & kept).sum(axis=0), fewest)
    assert np.array_equal((~member & kept).sum(axis=0), fewest)
    # Each model of the larger side is dropped about as often as any other.
    dropped = (~kept).mean(axis=1)
    assert dropped.max() - dropped.min() < 0.1


@pytest.mark.parametrize(("n_below", "revealed"), [(15, True), (16, False)])
@pytest.mark.parametrize("flipped", [False, True])
def test_counts_reveal_members_from_five_standard_deviations_on(
    n_below: int, revealed: bool, flipped: bool
) -> None:
    # Each of 40 records has a count of its own. All members have the highest, but for
    # one that lies below `n_below` others: so many of the 400 pairs are in wrong order.
    count = np.arange(40)
    in_models = np.arange(39)[:, None] < count
    assert np.array_equal(in_models.sum(axis=0), count)
    member = (count > 20) | (count == 20 - n_below)
    # Mann and Whitney: the AUC deviates by sqrt(41 / (12 · 400)) under independence.
    deviations = (0.5 - n_below / 400) / np.sqrt(41 / (12 * 400))
    assert (deviations > 5) == revealed
    assert coverage.reveals(in_models, ~member if flipped else member) == revealed


def test_units_that_show_one_side_alone_reveal_nothing() -> None:
    # The record that is looked at of either unit is a member.
    member, unit = np.array([True, False, False, True]), np.array([0, 0, 1, 1])
    assert not coverage.reveals(~member[None], member, unit)


def test_all_references_count_unless_their_number_reveals_memberships() -> None:
    rng = np.random.default_rng(0)
    member, audited = rng.random(300) < 0.5, np.arange(300) < 250
    division = withholding(audited, np.arange(250) % 2 == 0, member & audited)
    pairs = selection.halves(300, 6, seed=1)
    assert coverage.counting(pairs, division, 1).all()
    twin = np.vstack((pairs, ~member))
    kept = coverage.counting(twin, division, 1)
    expected = coverage.balanced(twin, 1)
    assert not expected.all()
    assert np.array_equal(kept[:, audited], expected[:, audited])
    assert kept[:, ~audited].all()


def test_a_few_units_of_many_records_reveal_nothing_by_their_number() -> None:
    # Of six units of either side the reference knows five of the target's.
    unit = np.arange(300) // 25
    member, in_models = unit < 6, (unit != 0) & (unit < 7)
    division = withholding(np.ones(300, dtype=bool), np.zeros(300, dtype=bool), member)
    assert not coverage.counting(in_models[None], division, 1).all()
    assert coverage.counting(in_models[None], division, 1, unit).all()


def test_references_are_kept_alike_in_blocks_of_any_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_models = np.random.default_rng(3).random((6, 50)) < 0.4
    whole = coverage.balanced(in_models, 1)
    # As they were drawn at once.
    draw = draws.rng(1, "attack.kept").random(in_models.shape)
    fewest = np.minimum(in_models.sum(axis=0), (~in_models).sum(axis=0))
    for record in range(50):
        for side in (in_models[:, record], ~in_models[:, record]):
            order = [m for m in np.argsort(draw[:, record]) if side[m]]
            kept = np.flatnonzero(whole[:, record] & side)
            assert set(kept) == set(order[: fewest[record]])
    monkeypatch.setattr(evidence, "BLOCK_VALUES", 6 * 7)
    assert np.array_equal(coverage.balanced(in_models, 1), whole)
