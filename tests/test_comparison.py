"""What two audits of the same records come to, in numbers and on their page."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from pipeline.errors import AuditError
from pipeline.findings import comparison as compared
from pipeline.findings.comparison import Audit, Comparison, comparison
from pipeline.pages.comparison import label, page
from pipeline.statistics import metrics, paired
from tests import reports
from tests.browser import browser
from tests.pages import HOSTILE
from tests.test_browser import CONTRASTS, NORMAL, everything, overflowing
from tests.test_pages import Tree

METHODS = ("loss", "lr")


def audit(shift: float = 1.0, *, seed: int = 0, n: int = 240, **changed: Any) -> Audit:
    """An audit whose attacks find members by so many standard deviations."""
    rng = np.random.default_rng(seed)
    member = np.arange(n) % 2 == 0
    # What all audits find easy or hard.
    common = np.random.default_rng(99).normal(size=n)
    score = common + 0.7 * rng.normal(size=(2, n)) + shift * member
    each = [reports.attack(method) for method in METHODS]
    fields: dict[str, Any] = {
        "name": "before",
        "report": reports.report(*each),
        "report_sha256": 64 * "a",
        "settings": {"target": {"training": {"epochs": 80}}},
        "id": np.arange(n) * 3,
        "label": (np.arange(n) // 2 % 4).astype(np.int32),
        "member": member,
        "content": np.arange(n).astype("S8"),
        "unit": None,
        "evaluation": np.arange(n) % 4 < 3,
        "correct": common + shift * member > -0.5,
        "loss": np.exp(-score[0]),
        "method": METHODS,
        "score": score,
        "decision": score > shift / 2,
    }
    return Audit(**{**fields, **changed})


def after(shift: float = 0.2, **changed: Any) -> Audit:
    settings = {"target": {"training": {"epochs": 10, "start": None}}}
    return audit(
        shift,
        seed=1,
        **{"name": "after", "report_sha256": 64 * "b", "settings": settings, **changed},
    )


def test_an_audit_with_itself_gives_zeros() -> None:
    own = audit()
    made = comparison(own, own)
    changes = [
        made.utility.members,
        made.utility.nonmembers,
        *(
            change
            for attack in (made.strongest, *made.attacks)
            for change in (
                attack.auc,
                attack.accuracy,
                *(rate.change for rate in attack.tpr_at_fpr.values() if rate.change),
            )
        ),
    ]
    assert len(changes) > 8
    for change in changes:
        assert (change.difference, change.interval, change.p_value) == (0, (0, 0), 1)
    assert made.same_outputs
    assert (made.fallen, made.risen, made.settings) == ((), (), ())
    assert made.sentence.startswith("A and B are audits of the same model outputs.")


def test_an_audit_that_finds_less_is_better_with_an_interval_without_zero() -> None:
    made = comparison(audit(), after())
    change = made.strongest.auc
    assert change.difference < 0
    assert change.interval[1] < 0
    assert change.p_value < 0.001
    assert made.sentence.startswith("B leaks less than A. The AUC of the strongest")
    assert f"{change.first:.3f} in A and {change.second:.3f} in B" in made.sentence
    back = comparison(after(), audit())
    assert back.strongest.auc.difference == -change.difference
    assert back.sentence.startswith("B leaks more than A.")


def test_what_may_be_chance_is_not_called_a_change() -> None:
    made = comparison(audit(1.0), after(1.0))
    assert made.strongest.auc.p_value > 0.05
    assert made.sentence.startswith("No change of the leak is shown.")


def test_figures_are_those_of_the_records_that_both_judge() -> None:
    first, second = audit(), after(evaluation=np.arange(240) % 4 > 0)
    made = comparison(first, second)
    rows = np.isin(np.arange(240) % 4, (1, 2))
    member = first.member[rows]
    assert (made.members, made.nonmembers) == (member.sum(), (~member).sum())
    assert made.members < 120 * 0.6
    for attack in made.attacks:
        row = METHODS.index(attack.method)
        assert attack.auc.first == metrics.auc(first.score[row][rows], member)
        assert attack.auc.second == metrics.auc(second.score[row][rows], member)
        right = [(each.decision[row] == each.member)[rows] for each in (first, second)]
        assert attack.accuracy.p_value == paired.share(*right, 0.95).p_value
    assert made.strongest.auc == made.attacks[1].auc
    assert any("so only the 120 that both judge" in text for text in made.caveats)
    # The targets' accuracy is that on all audited records.
    outside = ~first.member
    assert made.utility.nonmembers.first == first.correct[outside].mean()
    assert made.utility.members.second == second.correct[~outside].mean()


def test_p_values_of_several_attacks_are_corrected_and_the_strongests_is_not() -> None:
    made = comparison(audit(), after(0.8))
    p = [attack.auc.p_value for attack in made.attacks]
    assert [attack.p_value_corrected for attack in made.attacks] == pytest.approx(
        [max(2 * min(p), p[i]) if p[i] > min(p) else 2 * p[i] for i in range(2)]
    )
    assert made.strongest.p_value_corrected == made.strongest.auc.p_value


def test_attacks_that_one_audit_has_not_run_are_left_out() -> None:
    second = after(method=("entropy", "lr"))
    assert [each.method for each in comparison(audit(), second).attacks] == ["lr"]
    # The strongest may be another in either.
    each = [reports.attack(method) for method in METHODS]
    other = after(report=reports.report(*each[::-1]))
    made = comparison(audit(), other)
    assert (made.strongest.first, made.strongest.second) == ("lr", "loss")
    rows = other.evaluation
    score, member = other.score[0][rows], other.member[rows]
    assert made.strongest.auc.second == metrics.auc(score, member)


def test_a_rate_that_cannot_be_measured_has_a_reason() -> None:
    made = comparison(audit(), after())
    rate = made.strongest.tpr_at_fpr["0.001"]
    assert rate.change is None
    assert rate.reason == "needs 1000 non-members, and there are 60"
    assert made.strongest.tpr_at_fpr["0.1"].change is not None


def test_who_moved_is_told_by_the_non_members_below() -> None:
    first, second = audit(), after()
    made = comparison(first, second)
    rows = first.evaluation
    member = first.member[rows]
    ids, labels = first.id[rows][member], first.label[rows][member]
    shares = []
    for each in (first, second):
        score = each.score[1][rows]
        shares.append((score[member][:, None] > score[~member]).mean(axis=1))
    change = dict(zip(ids.tolist(), (shares[1] - shares[0]).tolist(), strict=True))
    fallen = sorted(change, key=lambda record: change[record])[:10]
    assert [move.id for move in made.fallen] == fallen
    for move in (*made.fallen, *made.risen):
        assert move.change == pytest.approx(change[move.id])
        assert move.label == first.label[first.id == move.id][0]
    assert made.risen[0].change == pytest.approx(max(change.values()))
    # By class, and the mean over all members is the change of the AUC.
    assert {each.label for each in made.classes} == {0, 1, 2, 3}
    for each in made.classes:
        mean = (shares[1] - shares[0])[labels == each.label].mean()
        assert each.change == pytest.approx(mean)
        assert each.members == (labels == each.label).sum()
    total = sum(each.change * each.members for each in made.classes)
    assert total / made.members == pytest.approx(made.strongest.auc.difference)


def test_without_classes_records_have_none() -> None:
    none = np.full(240, -1, dtype=np.int32)
    made = comparison(audit(label=none), after(label=none))
    assert made.classes == ()
    assert made.fallen[0].label is None
    assert "Members by class" not in html(audit(label=none), after(label=none))


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"label": np.zeros(240, dtype=np.int32)}, "the labels of 180 shared records"),
        ({"member": np.arange(240) % 2 == 1}, "the memberships of 240 shared records"),
        ({"content": np.full(240, b"x")}, "the inputs of 240 shared records differ"),
        ({"id": np.arange(240) * 3 + (np.arange(240) > 237)}, "2 of 240 records of b"),
    ],
)
def test_audits_of_other_records_are_refused_by_what_differs(
    changed: dict[str, Any], problem: str
) -> None:
    with pytest.raises(AuditError, match=r"before and after.*same \[data\]") as error:
        comparison(audit(), after(**changed))
    assert problem in str(error.value)


def test_all_that_differs_is_said_at_once() -> None:
    units = np.repeat(np.arange(120), 2).astype("S4")
    second = after(
        unit=units[::-1], id=np.arange(240) * 3 + 3, label=audit().label[::-1]
    )
    with pytest.raises(AuditError) as error:
        comparison(audit(unit=units), second)
    text = str(error.value)
    assert "1 of 240 records of before are not in after" in text
    assert "1 of 240 records of after are not in before" in text
    assert "the labels of" in text
    assert "the units of" in text


def test_outputs_in_place_of_inputs_are_not_compared() -> None:
    assert comparison(audit(content=None), after(content=np.full(240, b"x"))).members


def test_divisions_without_records_in_common_are_refused() -> None:
    second = after(evaluation=~audit().evaluation)
    with pytest.raises(
        AuditError, match=r"judge 0 records of a side in common.*\[split\]"
    ):
        comparison(audit(), second)


def test_units_of_one_audit_are_those_of_both() -> None:
    rows = np.arange(240)
    unit = (rows // 8 * 2 + rows % 2).astype("S4")  # four members, or four others, each
    alone = comparison(audit(), after())
    made = comparison(audit(unit=unit), after())
    assert made.strongest.auc.difference == alone.strongest.auc.difference
    assert made.strongest.auc.interval != alone.strongest.auc.interval
    assert comparison(audit(), after(unit=unit)).strongest == made.strongest


def test_settings_and_files_that_differ_are_named() -> None:
    made = comparison(audit(), after())
    assert [tuple(setting.model_dump().values()) for setting in made.settings] == [
        ("target.training.epochs", "80", "10")
    ]


def failed(own: Audit) -> Audit:
    tested = reports.controls(blind=reports.blind("mean", passed=False))
    report = own.report.model_copy(update={"controls": tested})
    return dataclasses.replace(own, report=report)


def fewer(own: Audit) -> Audit:
    references = own.report.references.model_copy(update={"count": 7})
    report = own.report.model_copy(update={"references": references})
    return dataclasses.replace(own, report=report)


def searched(own: Audit) -> Audit:
    return dataclasses.replace(own, settings={"attack": {"folds": 3}})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (failed, "The control of blind failed in after"),
        (fewer, "The attacker differs too, in the number of references"),
        (searched, r"The attacker differs too, in \[attack\]"),
    ],
)
def test_what_casts_doubt_on_the_figures_is_said(
    change: Callable[[Audit], Audit], text: str
) -> None:
    usual = comparison(audit(), after()).caveats
    assert len(usual) == 1
    assert usual[0].startswith("Two models are compared, and not two recipes")
    first, last = comparison(audit(), change(after())).caveats
    assert re.match(text, first)
    assert last == usual[0]


def test_a_comparison_survives_json() -> None:
    made = comparison(audit(), after())
    assert Comparison.model_validate_json(made.model_dump_json(by_alias=True)) == made


def trained(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a network's losses on digits it has learned and on others, with hits.

    Three labels in ten are wrong, which are learned by heart in many steps.
    """
    inputs, label = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    wrong = rng.random(len(label)) < 0.3
    label = np.where(wrong, rng.integers(10, size=len(label)), label)[:1600]
    inputs = inputs[:1600] / 16
    model = MLPClassifier((64,), learning_rate_init=0.01, random_state=0)
    for _ in range(steps):
        model.partial_fit(inputs[::2], label[::2], classes=np.arange(10))
    chance = model.predict_proba(inputs)
    likely = np.maximum(chance[np.arange(len(label)), label], 1e-12)
    return -np.log(likely), chance.argmax(axis=1) == label


def test_an_early_stopped_network_leaks_less_than_an_overfitted_one() -> None:
    networks = [trained(300), trained(15)]
    overfitted, early = (
        audit(
            n=1600,
            loss=loss,
            correct=correct,
            score=np.stack([-loss, -loss]),
            decision=np.stack([loss < np.median(loss)] * 2),
        )
        for loss, correct in networks
    )
    made = comparison(overfitted, early)
    assert made.strongest.auc.interval[1] < 0
    at_ten = made.strongest.tpr_at_fpr["0.1"].change
    assert at_ten is not None
    assert made.strongest.accuracy.interval[1] < 0
    # It is no worse on records that it has not seen.
    assert made.utility.nonmembers.interval[0] > -0.02
    assert made.utility.members.interval[1] < 0
    assert made.sentence.startswith("B leaks less than A.")


# The page


def html(first: Audit, second: Audit) -> str:
    made = comparison(first, second)
    return page(made, first, second, compared.judged_by_both(first, second))


def test_the_page_shows_privacy_beside_utility_and_who_moved() -> None:
    first, second = audit(), after()
    made = comparison(first, second)
    tree = Tree(html(first, second))
    text = " ".join(tree.text.split())
    assert "B leaks less than A." in text
    assert f"{made.strongest.auc.difference:+.3f}" in text
    assert f"{100 * made.utility.nonmembers.difference:+.1f}" in text
    assert "accuracy of the model on non-members" in text
    assert "target.training.epochs 80 10" in text
    assert made.caveats[0] in text
    assert 64 * "a" in text
    assert 64 * "b" in text
    for move in (made.fallen[0], made.risen[0]):
        assert f" {move.id} " in text
    assert html(first, second) == html(first, second)


def test_names_on_the_page_stay_text() -> None:
    text = " ".join(HOSTILE)
    settings = {"target": {text: text}}
    first, second = audit(name=text), after(name=HOSTILE[0], settings=settings)
    tree = Tree(html(first, second))
    assert not [tag for tag, _ in tree.tags if tag == "script"]
    assert HOSTILE[0] in tree.text
    assert "\x1b" not in tree.text
    assert len(label("A", text)) <= len("A, ") + 24


def test_the_page_fits_a_telephone_and_asks_for_nothing(tmp_path: Path) -> None:
    names = " ".join(HOSTILE)
    settings = {"target": {names: names}}
    pages = {
        "usual": html(audit(), after()),
        "hostile": html(audit(name=names), after(name=names, settings=settings)),
    }
    with browser() as tab:
        for name, made in pages.items():
            path = tmp_path / f"{name}.html"
            path.write_text(made, encoding="utf-8")
            for dark in (False, True):
                tab.open(path, width=390, dark=dark)
                everything(tab)
                assert tab.evaluate(
                    "document.documentElement.scrollWidth <= innerWidth"
                )
                assert overflowing(tab) == []
                assert (tab.complaints, tab.requests) == ([], [])
                contrasts = tab.evaluate(CONTRASTS)
                assert len(contrasts) > 50
                assert [each for each in contrasts if each[0] < NORMAL] == []
