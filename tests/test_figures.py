import numpy as np
import pytest

from pipeline.findings import figures
from pipeline.findings.schema import DivisionFigures, Rate
from pipeline.statistics import intervals, metrics


def audit(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    member = rng.random(n) < 0.4
    score = rng.normal(size=(2, n)) + member
    decision = score > 0.5
    for array in (score, decision, member):
        array.flags.writeable = False
    return score, decision, member


POINTS = {
    "accuracy": metrics.accuracy,
    "balanced_accuracy": metrics.balanced_accuracy,
    "advantage": metrics.advantage,
    "precision": metrics.precision,
    "recall": metrics.recall,
}


def test_every_figure_has_its_value_and_the_interval_that_is_said() -> None:
    scores, decisions, member = audit()
    score, decision = scores[0], decisions[0]
    found = figures.figures(score, decision, member, 0.95, 0.99)
    n, n_others = member.sum(), (~member).sum()
    hits, alarms = (decision & member).sum(), (decision & ~member).sum()
    for name, metric in POINTS.items():
        assert getattr(found, name) == metric(decision, member)
    assert found.auc == metrics.auc(score, member)
    rate = intervals.clopper_pearson
    # What the scores show has one confidence, what the decisions show another.
    advantage = intervals.advantage(decision, member, 0.99)
    expected = {
        "auc": intervals.auc(score, member, 0.95),
        "accuracy": rate(hits + n_others - alarms, 300, 0.99),
        "balanced_accuracy": tuple((1 + end) / 2 for end in advantage),
        "advantage": advantage,
        "precision": rate(hits, hits + alarms, 0.99),
        "recall": rate(hits, n, 0.99),
    }
    assert {*expected, "tpr_at_fpr"} == {*figures.INTERVALS}
    for name, interval in expected.items():
        assert getattr(found, f"{name}_interval") == pytest.approx(interval)
    assert found.tpr_at_fpr == figures.tpr_at_fpr(score, member, 0.95)
    tpr, fpr = hits / n, alarms / n_others
    assert found.precision_at_base_rate == pytest.approx(
        {str(b): b * tpr / (b * tpr + (1 - b) * fpr) for b in (0.5, 0.1, 0.01)}
    )


def test_a_precision_of_nobody_taken_has_no_interval() -> None:
    member = np.arange(20) < 10
    found = figures.figures(np.arange(20.0), np.zeros(20, bool), member, 0.95, 0.95)
    assert found.precision is None
    assert found.precision_interval is None
    assert found.precision_at_base_rate == {"0.5": None, "0.1": None, "0.01": None}


def test_a_rate_that_so_few_cannot_measure_is_null_with_the_reason() -> None:
    score, _, member = audit()
    found = figures.tpr_at_fpr(score[0], member, 0.95)
    assert {*found} == {"0.1", "0.01", "0.001", "0.0001"}
    for name, rate in (("0.1", 0.1), ("0.01", 0.01)):
        interval = intervals.tpr_at_fpr(score[0], member, rate, 0.95)
        assert interval is not None
        value = metrics.tpr_at_fpr(score[0], member, rate)
        assert found[name] == Rate(value=value, interval=interval, reason=None)
    n_others = (~member).sum()
    assert found["0.001"] == Rate(
        value=None,
        interval=None,
        reason=f"needs 1000 records of the other side, and there are {n_others}",
    )


def test_the_figures_of_a_division_are_those_of_the_metrics() -> None:
    scores, decisions, member = audit(2000)
    found = figures.on_division(scores[0], decisions[0], member)
    for name in ("accuracy", "precision", "recall"):
        assert getattr(found, name) == POINTS[name](decisions[0], member)
    assert found.auc == metrics.auc(scores[0], member)
    assert found.tpr_at_fpr == {
        str(rate): metrics.tpr_at_fpr(scores[0], member, rate)
        for rate in (0.1, 0.01, 0.001)
    }
    assert None not in found.tpr_at_fpr.values()


def test_the_spread_sums_up_each_figure_over_the_draws() -> None:
    divisions = [
        DivisionFigures(
            auc=auc, accuracy=0.5, precision=p, recall=0.0, tpr_at_fpr={"0.1": auc / 2}
        )
        for auc, p in ((0.5, 0.4), (0.7, None), (0.6, 0.5))
    ]
    found = figures.spreads(divisions)
    assert dict(found.auc or ()) == pytest.approx(
        {"mean": 0.6, "deviation": 0.1, "lowest": 0.5, "highest": 0.7}
    )
    assert found.precision is None
    assert found.tpr_at_fpr["0.1"] is not None
    assert found.tpr_at_fpr["0.1"].highest == pytest.approx(0.35)


def taken(hits: int, alarms: int, n: int = 500, n_others: int = 500) -> tuple:
    """Decisions that take so many members and so many non-members."""
    member = np.arange(n + n_others) < n
    place = np.where(member, np.arange(n + n_others), np.arange(n + n_others) - n)
    return place < np.where(member, hits, alarms), member


@pytest.mark.parametrize(
    ("hits", "alarms", "exceeds"),
    [
        (400, 100, True),
        (400, 400, False),  # accuracy of a half
        (499, 320, False),  # precision of .61, but not for certain
        (310, 10, False),  # recall of .62, but not for certain
        (0, 0, False),
    ],
)
def test_rates_exceed_the_threshold_by_their_lower_ends(
    hits: int, alarms: int, exceeds: bool
) -> None:
    assert figures.exceeds(*taken(hits, alarms), 0.6, 0.95) is exceeds


def test_whoever_takes_all_for_members_exceeds_nothing() -> None:
    # Right for nine in ten, as a guess is.
    assert not figures.exceeds(*taken(4500, 500, 4500, 500), 0.6, 0.95)
    assert not figures.exceeds(*taken(4500, 490, 4500, 500), 0.6, 0.95)
    assert figures.exceeds(*taken(4450, 100, 4500, 500), 0.6, 0.95)


def test_more_attacks_must_exceed_the_threshold_by_more() -> None:
    decision, member = taken(350, 150)
    assert figures.exceeds(decision, member, 0.65, 0.95)
    assert not figures.exceeds(decision, member, 0.65, 1 - 0.05 / 40)
