"""What is claimed of intervals and tests, by simulation: many draws in a soak."""

from collections.abc import Callable

import pytest

from tests import simulations, simulations_units
from tests.simulations import Cell, Counted, Task, TiedCell
from tests.simulations_units import Crowd

pytestmark = pytest.mark.simulation

# Standard errors of a share of draws that are put down to the draws.
ERRORS = 3.0

Tell = Callable[[str, Counted], None]


def assert_covers(found: Counted, tell: Tell, name: str) -> None:
    tell(name, found)
    assert found.share >= 0.95 - ERRORS * found.error(0.95)


@pytest.mark.parametrize(
    "cell",
    [
        Cell(440, 440, 0.0),
        Cell(440, 440, 1.75),
        Cell(1000, 1000, 3.1),
        Cell(100, 400, 0.75),
        Cell(30, 20, 1.0),
        Cell(12, 12, 0.5),
        Cell(8, 200, 2.5),
        Cell(1000, 20, 3.5),
        Cell(300, 50, 2.9),
    ],
    ids=str,
)
def test_the_aucs_interval_covers(cell: Cell, n_draws: int, tell: Tell) -> None:
    found = simulations.auc_covered(cell, n_draws, seed=1)
    assert_covers(found, tell, f"AUC {cell.auc:.2f} of {cell[0]} + {cell[1]}")


@pytest.mark.parametrize(
    "cell", [Cell(15, 1000, 2.5), Cell(25, 1000, 3.2), Cell(300, 50, 2.9)], ids=str
)
def test_the_aucs_interval_covers_where_few_records_depart(
    cell: Cell, tell: Tell
) -> None:
    # DeLong's variance of some twenty such records covers 91 % here: too little to see
    # in a few draws.
    found = simulations.auc_covered(cell, 1000, seed=8)
    assert_covers(found, tell, f"AUC {cell.auc:.2f} of {cell[0]} + {cell[1]}, few")


TIED = [
    TiedCell(2, 1000, 0.99),
    TiedCell(6, 200, 0.03),
    TiedCell(100, 100, 0.5),
    TiedCell(440, 440, 0.99),
    TiedCell(900, 100, 0.005),
]


@pytest.mark.parametrize("cell", TIED, ids=str)
def test_the_aucs_interval_covers_where_nearly_all_scores_tie(
    cell: TiedCell, n_draws: int, tell: Tell
) -> None:
    found = simulations.tied_auc_covered(cell, n_draws, seed=7)
    assert_covers(found, tell, f"AUC .5 of {cell[0]} + {cell[1]}, two values {cell[2]}")


@pytest.mark.parametrize(
    ("cell", "rate"),
    [
        (Cell(440, 440, 0.0), 0.1),
        (Cell(440, 440, 1.0), 0.1),
        (Cell(440, 440, 2.0), 0.01),
        (Cell(1000, 200, 1.0), 0.01),
        (Cell(200, 1000, 1.0), 0.01),
        (Cell(1000, 1000, 2.5), 0.001),
        (Cell(5000, 5000, 2.5), 0.001),
    ],
    ids=str,
)
def test_the_tprs_interval_covers(
    cell: Cell, rate: float, n_draws: int, tell: Tell
) -> None:
    found = simulations.tpr_covered(cell, rate, n_draws, seed=2)
    name = f"TPR {cell.tpr(rate):.2f} at FPR {rate} of {cell[0]} + {cell[1]}"
    assert_covers(found, tell, name)


def test_the_bootstrap_falls_short_where_few_non_members_lie_above(
    n_draws: int, tell: Tell
) -> None:
    cell = Cell(1000, 1000, 2.5)
    found = simulations.tpr_covered_by_bootstrap(cell, 0.001, n_draws, seed=3)
    tell("the same by bootstrap: TPR 0.28 at FPR 0.001 of 1000 + 1000", found)
    assert found.share < 0.95 - ERRORS * found.error(0.95)


@pytest.mark.parametrize("cell", [Cell(440, 440, 1.0), Cell(60, 240, 1.5)], ids=str)
def test_the_intervals_of_decisions_cover(cell: Cell, n_draws: int, tell: Tell) -> None:
    found = simulations.decisions_covered(cell, 0.7, n_draws, seed=4)
    for name, one in found.items():
        assert_covers(one, tell, f"{name} of {cell[0]} + {cell[1]}")


@pytest.mark.parametrize(
    "cell", [Cell(440, 440, 0.0), Cell(30, 90, 0.0), Cell(4, 400, 0.0), *TIED], ids=str
)
def test_noise_is_hardly_ever_significant(
    cell: Cell | TiedCell, n_draws: int, tell: Tell
) -> None:
    found = simulations.false_p_values(cell, 0.05, n_draws, seed=5)
    tied = f", two values {cell.share}" if isinstance(cell, TiedCell) else ""
    tell(f"p <= .05 of noise, {cell[0]} + {cell[1]}{tied}", found)
    assert found.share <= 0.05 + ERRORS * found.error(0.05)


@pytest.mark.parametrize("likeness", [0.0, 0.9])
def test_a_sound_audit_hardly_ever_fails_the_null_control(
    likeness: float, n_draws: int, tell: Tell
) -> None:
    found = simulations.failed_null_controls(33, 400, likeness, n_draws, seed=6)
    tell(f"null control of 33 attacks, correlation {likeness}, failed", found)
    assert found.share <= 0.01 + ERRORS * found.error(0.01)


@pytest.mark.parametrize("n_attacks", [3, 40])
def test_audits_of_nothing_hardly_ever_show_a_leak(
    n_attacks: int, n_draws: int, tell: Tell
) -> None:
    claims = simulations.leaks_shown(n_attacks, 0.0, 400, n_draws, seed=9)
    tell(f"{n_attacks} attacks that know nothing, one beats chance", claims[0])
    tell("the same by Holm's rule", claims[1])
    assert claims[0].share <= 0.05 + ERRORS * claims[0].error(0.05)


@pytest.mark.parametrize("n_attacks", [3, 40])
def test_a_chosen_attack_shows_a_leak_at_least_as_often_as_all_by_holm(
    n_attacks: int, n_draws: int, tell: Tell
) -> None:
    claims = simulations.leaks_shown(n_attacks, 0.3, 400, n_draws, seed=10)
    tell(f"{n_attacks} attacks on a small leak, one beats chance", claims[0])
    tell("the same by Holm's rule", claims[1])
    # Both on the same audits; what differs is drawn.
    assert claims[0].share >= claims[1].share - claims[1].error(claims[1].share)


TASKS = [Task(10, 0.95, 0.6), Task(100, 0.45, 0.29), Task(2, 0.8, 0.75)]


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_sound_inputs_hardly_ever_fail_and_wrong_ones_mostly_do(
    task: Task, n_draws: int, tell: Tell
) -> None:
    def noticed(**changed: float) -> simulations.Noticed:
        return simulations.corruptions_noticed(task, 1000, n_draws, seed=11, **changed)

    name = f"of {task.n_classes} classes, right {task.on_members}, {task.on_others}"
    sound = noticed()
    tell(f"labels of sound audits {name}", sound.labels)
    tell(f"sides of sound audits {name}", sound.sides)
    for shares in sound:
        assert shares.share <= 0.001 + ERRORS * shares.error(0.001)
    # In a soak the smaller shares too, for their figures.
    for share in (0.5, 0.75, 0.9, 1.0) if n_draws >= 500 else (1.0,):
        labels, sides = noticed(shuffled=share), noticed(exchanged=share)
        tell(f"labels, {share} shuffled, {name}", labels.labels)
        tell(f"sides, {share} exchanged, {name}", sides.sides)
    # The last shares are whole.
    assert labels.labels.share >= 0.99 - ERRORS * labels.labels.error(0.99)
    assert sides.sides.share >= 0.85


CROWDS = [
    Crowd(80, 80, 1.0, 0.5),
    Crowd(80, 80, 0.0, 0.95),
    Crowd(25, 60, 1.0, 0.8),
    Crowd(80, 80, 1.0, 0.5, both=20),
    Crowd(200, 200, 2.0, 0.5, more=5),
]


@pytest.mark.parametrize("crowd", CROWDS, ids=str)
def test_intervals_over_units_cover(crowd: Crowd, n_draws: int, tell: Tell) -> None:
    found = simulations_units.covered(crowd, n_draws, seed=21)
    for name, one in found.items():
        assert_covers(one, tell, f"{name} of {crowd}")


def test_intervals_that_are_not_given_the_units_fall_short(
    n_draws: int, tell: Tell
) -> None:
    found = simulations_units.covered(
        Crowd(80, 80, 1.0, 0.95), n_draws, seed=22, known=False
    )
    for name, one in found.items():
        tell(f"{name}, units not given", one)
        assert one.share < 0.95 - ERRORS * one.error(0.95)


@pytest.mark.parametrize(
    "crowd",
    [
        Crowd(80, 80, 0.0, 0.5),
        Crowd(80, 80, 0.0, 1.0, more=5),
        Crowd(25, 25, 0.0, 0.9),
        Crowd(20, 200, 0.0, 0.9),
        Crowd(80, 80, 0.0, 0.5, both=20),
    ],
    ids=str,
)
def test_noise_of_units_is_hardly_ever_significant(
    crowd: Crowd, n_draws: int, tell: Tell
) -> None:
    found = simulations_units.false_p_values(crowd, 0.05, n_draws, seed=23)
    tell(f"p <= .05 of noise, {crowd}", found)
    assert found.share <= 0.05 + ERRORS * found.error(0.05)


def test_without_units_noise_of_persons_is_often_significant(
    n_draws: int, tell: Tell
) -> None:
    crowd = Crowd(80, 80, 0.0, 0.9)
    found = simulations_units.false_p_values(crowd, 0.05, n_draws, 24, known=False)
    tell("p <= .05 of noise, units not given", found)
    assert found.share > 0.05 + ERRORS * found.error(0.05)


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
def test_the_p_value_of_a_unit_is_hardly_ever_small(
    alike: float, n_draws: int, tell: Tell
) -> None:
    crowd = Crowd(0, 100, 0.0, alike)
    found = simulations_units.false_units(crowd, 0.05, n_draws, seed=25)
    tell(f"p <= .05 of a unit, {alike:g} alike", found)
    assert found.share <= 0.05 + ERRORS * found.error(0.05)


@pytest.mark.parametrize(
    "crowd",
    [
        Crowd(80, 80, 3.0, 0.5),
        Crowd(80, 80, 0.0, 0.5),
        Crowd(80, 80, 2.5, 0.9, more=5),
    ],
    ids=str,
)
def test_of_flagged_units_few_are_flagged_wrongly(
    crowd: Crowd, n_draws: int, tell: Callable[[str, str], None]
) -> None:
    share = simulations_units.false_flags(crowd, 0.1, n_draws, seed=26)
    tell(f"flagged wrongly at .1, {crowd}", f"{share.mean():.3f}")
    assert share.mean() <= 0.1 + ERRORS * share.std() / len(share) ** 0.5
