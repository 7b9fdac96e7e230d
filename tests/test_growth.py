import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import special

from pipeline.attacks import amortised, catalogue, coverage, evidence, growth, roster
from pipeline.attacks.growth import Point
from pipeline.attacks.view import Scored, View
from pipeline.data import selection
from pipeline.findings import growth as findings
from pipeline.signals import margins
from pipeline.statistics import intervals, metrics
from tests import views
from tests.conftest import Checkout

CHEAP = ("lira_online_fixed", "rmia_online")


def judged(points: list[Point], view: View) -> dict[str, list[float]]:
    """Return the AUC of each attack on the judged records, by ever more references."""
    chosen = ~view.attack_train
    aucs: dict[str, list[float]] = {}
    for point in points:
        auc = metrics.auc(point.score[chosen], view.member[chosen])
        aucs.setdefault(point.attack, []).append(auc)
    return aucs


@pytest.mark.parametrize(
    ("n_models", "expected"),
    [
        (0, ()),
        (1, ()),
        (2, ()),
        (3, (2,)),
        (4, (2,)),
        (6, (2, 4)),
        (8, (2, 4)),
        (9, (2, 4, 8)),
        (16, (2, 4, 8)),
    ],
)
def test_the_parts_double_up_to_all_references(
    n_models: int, expected: tuple[int, ...]
) -> None:
    assert growth.sizes(n_models) == expected


def test_references_join_with_their_complementary_twins() -> None:
    in_models = selection.halves(200, 8, seed=1)
    # Twins do not stand side by side.
    shuffled = in_models[np.random.default_rng(0).permutation(8)]
    order = growth.order(shuffled, seed=1)
    assert sorted(order.tolist()) == [*range(8)]
    for size in (2, 4, 6, 8):
        assert (shuffled[order[:size]].sum(axis=0) == size // 2).all()


def test_without_twins_references_join_with_those_most_unlike_them() -> None:
    rng = np.random.default_rng(3)
    in_models = rng.random((7, 300)) < 0.5
    order = growth.order(in_models, seed=2).tolist()
    assert sorted(order) == [*range(7)]
    for place in (0, 2, 4):
        first, second, *rest = order[place:]
        agreement = [(in_models[first] == in_models[i]).mean() for i in (second, *rest)]
        assert agreement[0] == min(agreement)


def test_the_seed_decides_the_order() -> None:
    in_models = selection.halves(100, 16, seed=1)
    once, again, other = (growth.order(in_models, s).tolist() for s in (1, 1, 2))
    assert once == again != other


def test_a_narrowed_view_has_all_that_follows_from_its_references(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evidence, "BLOCK_VALUES", 20)
    view = views.drawn(6, 60, population=15)
    models = np.array([1, 4])
    kept = np.arange(150).reshape(2, 75) % 7 > 0
    part = growth.narrowed(view, models, kept)
    member, margin = view.in_models[models], view.references[models]
    whole = evidence.evidence(margin, member & kept, ~member & kept)
    for side, expected in (
        (part.evidence.in_side, whole.in_side),
        (part.evidence.out_side, whole.out_side),
    ):
        assert np.array_equal(side.margin.count, expected.margin.count)
        assert np.array_equal(side.margin.mean, expected.margin.mean)
        assert np.array_equal(side.log_confidence, expected.log_confidence)
    assert np.array_equal(part.out_models, ~member & kept)
    assert np.array_equal(
        part.references_recalibrated, view.references_recalibrated[models]
    )
    # What attacks share is computed anew.
    assert view.shared(lambda each: len(each.references)) == 6
    assert part.shared(lambda each: len(each.references)) == 2


def test_attacks_do_better_by_more_references() -> None:
    plain = views.drawn(16, 1500, n_views=1, leak=1.5)
    # Records differ in how hard they are, which references show.
    hard = np.random.default_rng(0).normal(0, 3, (1500, 1))
    view = replace(
        plain, margin=plain.margin + hard, references=plain.references + hard
    )
    points = [*growth.points(view, CHEAP)]
    assert [(point.references, point.attack) for point in points] == [
        (size, name) for size in (2, 4, 8) for name in CHEAP
    ]
    for aucs in judged(points, view).values():
        assert aucs[0] > 0.55
        assert aucs[-1] > aucs[0] + 0.01


def test_a_point_is_the_attack_by_these_references_alone() -> None:
    view = views.drawn(6, 100, n_views=1)
    models = np.sort(growth.order(view.in_models, view.seed)[:4])
    rest = np.setdiff1d(np.arange(6), models)
    spoiled = view.references.copy()
    spoiled[rest] = 1e6
    points, others = (
        {(p.attack, p.references): p.score for p in growth.points(each, CHEAP)}
        for each in (view, replace(view, references=spoiled))
    )
    for name in CHEAP:
        assert np.array_equal(points[name, 4], others[name, 4])


def test_memberships_of_attack_eval_change_no_point(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(amortised, "NETWORKS", 1)
    monkeypatch.setattr(amortised, "EPOCHS", 2)
    view = views.drawn(4, 120, n_views=1)
    assert view.division is not None
    hidden = replace(view.division, member=view.member & view.attack_train)
    # Of one pair, the amortised attack learns from attack-train's memberships.
    names = (*CHEAP, "amortised")
    pairs = zip(
        growth.points(view, names),
        growth.points(view.divided(hidden), names),
        strict=True,
    )
    seen = []
    for shown, withheld in pairs:
        assert np.array_equal(shown.score, withheld.score)
        seen.append(shown.attack)
    assert seen == [*names]


def test_points_that_attacks_lack_references_for_are_left_out() -> None:
    view = views.drawn(6, 100, n_views=1)
    points = [*growth.points(view, ("lira_online_bayes",))]
    # It needs two on either side.
    assert [point.references for point in points] == [4]
    assert [*growth.points(view, ())] == []
    few = growth.narrowed(view, np.arange(2), np.ones((2, 100), dtype=bool))
    assert [*growth.points(few, CHEAP)] == []


def test_scores_that_are_not_finite_make_no_point() -> None:
    view = views.drawn(6, 100, n_views=1)

    def score(name: str, part: View) -> Scored:
        value = np.nan if len(part.references) == 2 else 0.5
        return Scored(np.full(100, value))

    points = growth.points(view, ("rmia_online",), score)
    assert [point.references for point in points] == [4]


def test_parts_that_give_the_memberships_away_are_levelled_or_left_out() -> None:
    view = views.drawn(8, 200, n_views=1)
    # The first is the target's own twin, whose membership counts would show.
    in_models = np.vstack((~view.member, view.in_models[1:]))
    assert view.division is not None
    seen = set()
    for seed in range(12):
        revealing = replace(view, in_models=in_models, seed=seed)
        made = {p.references: p.score for p in growth.points(revealing, CHEAP[:1])}
        for size in (2, 4):
            models = np.sort(growth.order(in_models, seed)[:size])
            kept = coverage.counting(in_models[models], view.division, seed)
            is_covered = bool(kept.any(axis=0).all())
            seen.add((bool(kept.all()), is_covered))
            assert (size in made) == is_covered
            if is_covered:
                part = growth.narrowed(revealing, models, kept)
                expected = roster.score(CHEAP[0], part).score
                assert np.array_equal(made[size], expected)
    assert seen == {(True, True), (False, True), (False, False)}


def test_whether_a_part_gives_memberships_away_is_judged_by_units() -> None:
    view = views.drawn(8, 200, n_views=1)
    in_models = np.vstack((~view.member, view.in_models[1:]))
    # A few units of many records show nothing by the counts.
    of_side = np.where(view.member, np.cumsum(view.member), np.cumsum(~view.member))
    unit = of_side // 25 + 100 * view.member
    sizes: dict[bool, list[list[int]]] = {True: [], False: []}
    for seed in range(12):
        few = replace(view, in_models=in_models, seed=seed, unit=unit)
        for has_units, part in ((True, few), (False, replace(few, unit=None))):
            made = growth.points(part, CHEAP[:1])
            sizes[has_units].append([point.references for point in made])
    assert sizes[True] == 12 * [[2, 4]]
    assert sizes[False] != sizes[True]


def test_a_few_attacks_that_need_references_grow() -> None:
    ran = (*catalogue.names(), "stacked")
    usual = ("lira_online_fixed", "rmia_online", "amortised")
    assert growth.attacks(ran, "amortised") == usual
    assert growth.attacks(ran, "attack_r") == (*usual[:2], "attack_r", "amortised")
    # Without references, or learned by a search.
    for chosen in ("loss", "stacked"):
        assert growth.attacks(ran, chosen) == usual
    assert growth.attacks(("loss", "rmia_online"), "loss") == ("rmia_online",)


# What the report makes of it.


def points_of(*strengths: float, attack: str = "rmia_online") -> list[Point]:
    """Return points of 2, 4, 8 … references, each as strong as is said."""
    noise = np.random.default_rng(5).normal(size=len(MEMBER))
    return [
        Point(attack, 2 ** (place + 1), noise + strength * MEMBER)
        for place, strength in enumerate(strengths)
    ]


MEMBER = np.arange(2000) < 1000


def test_the_growth_has_the_figures_of_each_point() -> None:
    points = points_of(0.5, 1.5)
    small, large = findings.growth(points, MEMBER, 0.95)
    assert (small.attack, small.references, large.references) == ("rmia_online", 2, 4)
    for record, point in zip((small, large), points, strict=True):
        assert record.auc == metrics.auc(point.score, MEMBER)
        assert record.auc_interval == intervals.auc(point.score, MEMBER, 0.95)
        rate = record.tpr_at_fpr["0.01"]
        assert rate.value == metrics.tpr_at_fpr(point.score, MEMBER, 0.01)


def test_growth_and_outlook_count_units() -> None:
    points, unit = points_of(0.5, 1.0), np.arange(2000) // 4
    of_units = findings.growth(points, MEMBER, 0.95, unit)
    for record, point in zip(of_units, points, strict=True):
        one_by_one = intervals.auc(point.score, MEMBER, 0.95)
        by_unit = intervals.auc(point.score, MEMBER, 0.95, unit)
        assert record.auc_interval == by_unit != one_by_one
        rate = record.tpr_at_fpr["0.1"].interval
        assert rate == intervals.tpr_at_fpr(point.score, MEMBER, 0.1, 0.95, unit)
    outlook = findings.outlook(points, MEMBER, ["rmia_online"], 0.95, unit)
    assert outlook is not None
    assert outlook.gain_interval == intervals.auc_difference(
        points[1].score, points[0].score, MEMBER, 0.95, unit
    )


@pytest.mark.parametrize(
    ("strengths", "sentence"),
    [
        (
            (0.2, 1.0, 1.001),
            r"From 4 to 8 references the AUC of rmia_online rose by 0\.000 \(gain "
            r"between [+-]0\.00\d and \+0\.00\d\): more would hardly change it\.",
        ),
        (
            (0.2, 0.5, 1.0),
            r"From 4 to 8 references the AUC of rmia_online rose by 0\.1\d\d \(gain "
            r"between \+0\.\d{3} and \+0\.\d{3}\): more would probably raise it "
            r"further\.",
        ),
        (
            (1.0, 0.9),
            r"From 2 to 4 references the AUC of rmia_online fell by 0\.0\d\d \(gain "
            r"between -0\.\d{3} and -0\.\d{3}\): more would hardly change it\.",
        ),
    ],
)
def test_the_outlook_says_what_the_last_doubling_gave(
    strengths: tuple[float, ...], sentence: str
) -> None:
    points = points_of(*strengths)
    outlook = findings.outlook(points[::-1], MEMBER, ["loss", "rmia_online"], 0.95)
    assert outlook is not None
    assert re.fullmatch(sentence, outlook.sentence), outlook.sentence
    aucs = [metrics.auc(point.score, MEMBER) for point in points]
    assert outlook.gain == pytest.approx(aucs[-1] - aucs[-2])
    assert outlook.gain_interval == intervals.auc_difference(
        points[-1].score, points[-2].score, MEMBER, 0.95
    )


def test_few_records_cannot_tell_what_more_references_would_change() -> None:
    rng = np.random.default_rng(0)
    member = np.arange(60) < 30
    points = [Point("amortised", size, rng.normal(size=60) + member) for size in (2, 4)]
    outlook = findings.outlook(points, member, ["amortised"], 0.95)
    assert outlook is not None
    assert outlook.sentence.endswith(
        ": these records cannot tell whether more would raise it."
    )


def test_the_outlook_speaks_of_the_preferred_attack_that_has_two_points() -> None:
    points = [*points_of(0.5, 1.0), *points_of(1.0, attack="amortised")]
    preferred = ["amortised", "rmia_online"]
    outlook = findings.outlook(points, MEMBER, preferred, 0.95)
    assert outlook is not None
    assert outlook.attack == "rmia_online"
    assert findings.outlook(points[2:], MEMBER, preferred, 0.95) is None


# Through make.

ARRAYS = """
[data]
source = "arrays"
path = "signals.npz"

[split]
eval_fraction = 0.5

[attack]
attacks = ["loss", "lira_online_fixed", "rmia_online"]

[about]
name = "A model"
"""


def report_of(checkout: Checkout) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        (checkout.run / "report" / "report.json").read_text(encoding="utf-8")
    )
    return content


def test_an_audit_reports_its_growth_and_what_is_said_of_it(
    checkout: Checkout,
) -> None:
    rng = np.random.default_rng(0)
    half = rng.permuted(np.arange(240) % 2 == 0)
    pairs = selection.halves(240, 4, seed=3)
    member = np.vstack((half, pairs))
    label = rng.integers(0, 3, 240).astype(np.int32)
    own = np.arange(3) == label[:, None]
    logits = rng.normal(size=(5, 240, 3)) + own * (1 + 2 * member[..., None])
    np.savez(checkout.folder / "signals.npz", logits=logits, label=label, member=member)
    checkout.config.write_text(ARRAYS, encoding="utf-8")
    checkout.ran("audit")
    made = report_of(checkout)
    assert [(each["attack"], each["references"]) for each in made["growth"]] == [
        (name, size) for name in CHEAP for size in (2, 4)
    ]
    by_all = {attack["method"]: attack["auc"] for attack in made["attacks"]}
    for each in made["growth"]:
        assert (each["auc"] == by_all[each["attack"]]) == (each["references"] == 4)
    outlook = made["outlook"]
    assert (outlook["fewer"], outlook["references"]) == (2, 4)
    margin = margins.margin(logits[0], label)
    loss = margins.loss(margin)
    gap = loss[~half].mean() - loss[half].mean()
    assert made["drivers"]["loss"]["difference"] == pytest.approx(gap)
    sure = special.softmax(logits[0], axis=1).max(axis=1)
    calibrated = made["drivers"]["calibration"]["members"]
    assert calibrated["confidence"] == pytest.approx(sure[half].mean())
    assert made["about"]["name"] == "A model"

    checkout.edit('name = "A model"', 'owner = "Me"')
    assert checkout.ran("audit") == ["report", "page"]
    assert report_of(checkout)["about"] == {
        **dict.fromkeys(made["about"]),
        "owner": "Me",
    }
    checkout.edit("[attack]", "[attack]\ngrowth = false")
    assert checkout.ran("audit") == ["attack", "report", "page"]
    without = report_of(checkout)
    assert (without["growth"], without["outlook"]) == ([], None)
    assert without["attacks"] == made["attacks"]
