import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.attacks import amortised, catalogue, learned, roster
from pipeline.attacks.catalogue import Entry, Needs
from pipeline.attacks.division import Division, withholding
from pipeline.attacks.view import Scored, View
from pipeline.audit import experiment, search
from pipeline.config import Attack
from pipeline.errors import AuditError
from pipeline.findings.schema import Null
from pipeline.statistics import metrics
from stages import attack
from tests import views

ALL = catalogue.names()
LEARNED = {
    "methods": (
        {"method": "knn", "params": {"n_neighbors": [1, 5]}},
        {
            "method": "lr",
            "name": "stacked",
            "features": ("margin", "qmia", "loss_per_class"),
            "params": {"C": [0.1, 1.0]},
        },
    )
}


class Audit(NamedTuple):
    view: View  # with memberships of attack-train alone
    member: NDArray[np.bool_]  # (n_records,) all of them

    @property
    def division(self) -> Division:
        assert self.view.division is not None
        return self.view.division


def audit(leak: float = 0.0, n_records: int = 300, seed: int = 0) -> Audit:
    """A target, and six references, that know their members by `leak` nats."""
    view = views.drawn(6, n_records, n_views=1, leak=leak, seed=seed)
    member = view.member
    # A stream of its own: that of the same seed has drawn the members.
    rng = np.random.default_rng((seed, 1))
    evaluation = rng.permutation(n_records) % 2 == 0
    return Audit(
        replace(view, division=withholding(view.audited, evaluation, member)), member
    )


def settings(attacks: tuple[str, ...] | str = ALL, **more: Any) -> Attack:
    return Attack.model_validate({"attacks": attacks, "methods": (), **more})


class Run(NamedTuple):
    audit: Audit
    settings: Attack
    outcome: experiment.Outcome
    memory: Path


@pytest.fixture(scope="module", autouse=True)
def one_network() -> Iterator[None]:
    """A single network shows here what three do, in a third of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(amortised, "NETWORKS", 1)
        yield


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], Run]:
    """Return a run of all attacks on a target that leaks so much, made once."""
    runs: dict[float, Run] = {}

    def run(leak: float) -> Run:
        if leak not in runs:
            drawn, how = audit(leak), settings(**LEARNED)
            memory = tmp_path_factory.mktemp("fits")
            outcome = experiment.run(how, drawn.view, memory)
            runs[leak] = Run(drawn, how, outcome, memory)
        return runs[leak]

    return run


def null_control(run: Run, seed: int = 1) -> Null:
    """The stage's own null control, on memberships that come as the stage has them."""
    seeded = run.settings.model_copy(update={"seed": seed})
    view, division = run.audit.view, run.audit.division
    return attack.null_control(
        *(seeded, view, run.outcome, run.audit.member, division, run.memory),
        roster.score,
    )


def newly_ran(drawn: Audit, how: Attack, memory: Path) -> Run:
    return Run(drawn, how, experiment.run(how, drawn.view, memory), memory)


def test_every_attack_tells_members_by_what_it_learned_on_attack_train(
    ran: Callable[[float], Run],
) -> None:
    drawn, _, outcome, _ = ran(2.0)
    assert [*outcome.scored] == [*ALL, "knn", "stacked"]
    train, judged = drawn.division.attack_train, drawn.division.attack_eval
    for name, scored in outcome.scored.items():
        if name.removesuffix("_per_class") != "entropy":
            assert metrics.auc(scored.score[judged], drawn.member[judged]) > 0.55, name
    assert outcome.auc["loss"] == metrics.auc(
        outcome.scored["loss"].score[train], drawn.member[train]
    )
    threshold = outcome.decided["loss"].threshold
    assert threshold is not None
    expected = outcome.scored["loss"].score > threshold
    assert np.array_equal(outcome.decided["loss"].decision, expected)
    assert outcome.decided["knn"].threshold is None


def test_memberships_of_attack_eval_change_nothing(
    ran: Callable[[float], Run], tmp_path: Path
) -> None:
    drawn, how, outcome, _ = ran(2.0)
    full = replace(drawn.division, member=drawn.member)
    other = experiment.run(how, replace(drawn.view, division=full), tmp_path)
    for name, scored in outcome.scored.items():
        assert np.array_equal(scored.score, other.scored[name].score), name


INFORMED = {
    "attack_p",
    "qmia",
    "rmia_online",
    "rmia_offline",
    "knn",
    "stacked",
    *(name for name in ALL if name.endswith("_per_class")),
}


def test_it_is_known_which_attacks_saw_memberships(ran: Callable[[float], Run]) -> None:
    scored = ran(2.0).outcome.scored
    assert {name for name, scored in scored.items() if scored.informed} == INFORMED


def test_a_second_division_runs_only_the_attacks_that_saw_memberships(
    ran: Callable[[float], Run], tmp_path: Path
) -> None:
    drawn, how, first, memory = ran(2.0)
    evaluation = np.random.default_rng(7).permutation(drawn.division.attack_eval)
    other = withholding(drawn.view.audited, evaluation, drawn.member)
    view = replace(drawn.view, division=other)
    anew = experiment.run(how, view, tmp_path / "anew")
    names: list[str] = []

    def runner(name: str, view: View) -> Scored:
        names.append(name)
        return roster.score(name, view)

    again = experiment.run(how, view, memory, first.scored, runner)
    assert {*names} == INFORMED - {"knn", "stacked"}
    for name, scored in anew.scored.items():
        assert np.array_equal(scored.score, again.scored[name].score), name
    assert again.strongest == anew.strongest


def test_records_beyond_max_fit_are_scored_by_fits_without_them(
    ran: Callable[[float], Run], tmp_path: Path
) -> None:
    drawn, _, first, _ = ran(2.0)
    few = replace(drawn.view, max_fit=100)
    # Of either side the share that is due, rounded down.
    assert (few.attack_train.sum(), few.fitted.sum()) == (150, 99)
    how = settings(("margin", "qmia", "loss_per_class"), **LEARNED)
    outcome = {
        name: experiment.run(how, replace(few, seed=seed), tmp_path / name)
        for name, seed in (("one", 1), ("again", 1), ("other", 9))
    }
    for method in ("knn", "stacked"):
        score = outcome["one"].scored[method].score
        assert np.array_equal(score, outcome["again"].scored[method].score)
        assert not np.array_equal(score, outcome["other"].scored[method].score)
        assert not np.array_equal(score, first.scored[method].score)
    judged = drawn.division.attack_eval
    score = outcome["one"].scored["knn"].score[judged]
    assert metrics.auc(score, drawn.member[judged]) > 0.55
    decisions = experiment.decisions(how, few, outcome["one"], tmp_path / "one")
    assert {len(decision) for decision in decisions.values()} == {150}


def test_max_fit_changes_nothing_where_there_are_no_more_records(
    ran: Callable[[float], Run],
) -> None:
    drawn, how, first, memory = ran(2.0)
    before = {*memory.rglob("*.json")}
    again = experiment.run(how, replace(drawn.view, max_fit=300), memory)
    assert {*memory.rglob("*.json")} == before
    for name, scored in first.scored.items():
        assert np.array_equal(again.scored[name].score, scored.score), name


@pytest.mark.parametrize("leak", [0.0, 2.0])
def test_the_null_control_passes_on_a_sound_audit(
    leak: float, ran: Callable[[float], Run]
) -> None:
    for seed in range(3):
        null = null_control(ran(leak), seed)
        assert null.passed, null
        assert {*null.attacks} == {*ALL, "knn", "stacked"}


def leaking(
    audited: NDArray[np.bool_], evaluation: NDArray[np.bool_], member: NDArray[np.bool_]
) -> Division:
    """Broken on purpose: memberships of attack-eval are handed out as well."""
    return replace(withholding(audited, evaluation, member), member=member)


def test_the_null_control_fails_where_eval_records_leak_into_fitting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, how = audit(), settings(("loss",), methods=LEARNED["methods"][:1])
    assert null_control(newly_ran(drawn, how, tmp_path / "sound")).passed

    # Broken on purpose: classifiers are fitted on the records that they judge, too.
    def fitted_on_all(
        task: Sequence[search.Fit], setting: search.Setting
    ) -> dict[str, search.Result]:
        results = real(task, setting)
        for fit in task:
            if fit.fold is None:
                member = np.load(setting.folder / "member.npy")
                judged = ~np.load(setting.folder / "attack_train.npy")
                features = np.load(search.features_path(setting.folder, fit.name))
                classifier = learned.estimator(fit.method, fit.params, setting.seed)
                leaked = learned.judge(classifier, features, member, [features[judged]])
                text = search._text(leaked.score)
                key = search._key(fit, setting)
                results[key] = results[key].model_copy(update={"score": text})
        return results

    real = search._fit
    monkeypatch.setattr(attack, "withholding", leaking)
    monkeypatch.setattr(search, "_fit", fitted_on_all)
    null = null_control(newly_ran(drawn, how, tmp_path / "broken"))
    assert not null.passed
    assert null.attacks["knn"].auc > 0.6 > null.attacks["loss"].auc


def test_the_null_control_fails_where_an_attack_is_given_what_it_is_judged_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def peeking(view: View) -> Scored:
        return Scored(view.phi[:, 0] + view.member)

    # An attack that looks gains nothing, as long as there is nothing to be seen.
    register(
        monkeypatch, "loss", Entry("threshold", "toy:score", informed=True), peeking
    )
    run = newly_ran(audit(), settings(("loss", "margin")), tmp_path)
    assert null_control(run).passed
    monkeypatch.setattr(attack, "withholding", leaking)
    null = null_control(run)
    assert not null.passed
    assert null.attacks["margin"].p_value > 0.01


def register(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    entry: Entry,
    score: Callable[[View], Scored],
) -> None:
    """Add an attack as its author would: a module, and an entry in the table."""
    module = ModuleType("pipeline.attacks.toy")
    module.score = score  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(catalogue.ATTACKS, name, entry)


TOY = Entry("toys", "toy:score", Needs("OUT"))


def toy(view: View) -> Scored:
    return Scored(view.phi[:, 0] - view.evidence.out_side.margin.mean[:, 0])


def test_an_attack_is_its_module_and_an_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, "toy", TOY, toy)
    method = {"method": "lr", "features": ("margin", "toy"), "params": {"C": [1.0]}}
    drawn, how = audit(2.0), settings(("toy",), methods=(method,))
    outcome = experiment.run(how, drawn.view, tmp_path)
    assert [*outcome.scored] == ["toy", "lr"]
    assert np.array_equal(outcome.scored["toy"].score, toy(drawn.view).score)
    assert not outcome.scored["toy"].informed
    assert experiment.described("toy", outcome).family == "toys"
    judged = drawn.division.attack_eval
    for scored in outcome.scored.values():
        assert metrics.auc(scored.score[judged], drawn.member[judged]) > 0.55


def test_a_learned_attack_may_have_any_name(tmp_path: Path) -> None:
    grid = {"method": "knn", "params": {"n_neighbors": [5]}}
    names = ("plain", "member", "attack_train")
    methods = tuple({**grid, "name": name} for name in names)
    drawn, how = audit(2.0), settings(("loss",), methods=methods)
    scored = experiment.run(how, drawn.view, tmp_path).scored
    for name in names[1:]:
        assert np.array_equal(scored[name].score, scored["plain"].score), name


def test_an_attack_that_looks_at_memberships_undeclared_is_a_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, "toy", TOY, lambda view: Scored(view.member * 1.0))
    with pytest.raises(RuntimeError, match="memberships are withheld"):
        experiment.run(settings(("toy",)), audit().view, tmp_path)


LACK = "needs 1 reference that a record is OUT of, and no record has more than 0"


def test_an_attack_whose_references_are_lacking_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, "toy", TOY, toy)
    view = audit().view
    lacking = replace(view, in_models=np.ones_like(view.in_models))
    method = {"method": "lr", "features": ("margin", "toy"), "params": {"C": [1.0]}}
    line = f"attack.attacks (toy): {LACK}. Fix: {experiment.LACKING}."
    for refuse in (
        lambda how: experiment.check(how, lacking.in_models),
        lambda how: experiment.run(how, lacking, tmp_path),
    ):
        with pytest.raises(AuditError) as caught:
            refuse(settings(("toy",), methods=(method,)))
        assert str(caught.value) == line
    # Named only as a feature, it is refused there.
    monkeypatch.setattr(catalogue, "ATTACKS", {"loss": LOSS, "toy": TOY})
    with pytest.raises(AuditError) as caught:
        experiment.check(settings("all", methods=(method,)), lacking.in_models)
    where = "attack.methods.lr.features"
    line = f"{where}: names 'toy', which {LACK}. Fix: {experiment.LACKING}."
    assert str(caught.value) == line


LOSS = catalogue.ATTACKS["loss"]


def by_margins() -> Audit:
    drawn = audit(2.0)
    return drawn._replace(view=replace(drawn.view, logits=drawn.view.logits[:, :, :0]))


NO_LOGITS = "needs logits, and there are margins alone"
TUTORIAL_LR = {"method": "lr", "params": {"C": [1.0]}}


def test_of_margins_alone_all_attacks_run_that_need_no_logits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    entropy = catalogue.ATTACKS["entropy"]
    monkeypatch.setattr(catalogue, "ATTACKS", {"loss": LOSS, "entropy": entropy})
    drawn = by_margins()
    own = {**TUTORIAL_LR, "name": "own", "features": ("loss", "margin")}
    how = settings("all", methods=(TUTORIAL_LR, own))
    experiment.check(how, drawn.view.in_models, drawn.view.unknown)
    outcome = experiment.run(how, drawn.view, tmp_path)
    assert [*outcome.scored] == ["loss", "own"]
    learned = 'with features = ["loss", "margin"] they can learn from margins'
    assert capsys.readouterr().err.splitlines() == [
        f"note: left out ({NO_LOGITS}): lr; {learned}",
        f"note: left out ({NO_LOGITS}): entropy",
    ]
    again = experiment.rerun(how, drawn.view, outcome, tmp_path)
    assert [*again] == ["loss", "own"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("attacks", "more", "message"),
    [
        (("entropy",), {}, f"attack.attacks (entropy): {NO_LOGITS}"),
        (
            ("loss", "lr"),
            {},
            f"attack.methods.lr.features: names 'logits', which {NO_LOGITS}",
        ),
        (
            "all",
            {"methods": ({**TUTORIAL_LR, "features": ("margin", "sorted")},)},
            f"attack.methods.lr.features: names 'sorted', which {NO_LOGITS}",
        ),
    ],
)
def test_what_is_named_and_needs_logits_is_refused_of_margins(
    attacks: Any, more: dict[str, Any], message: str
) -> None:
    drawn = by_margins()
    with pytest.raises(AuditError) as caught:
        experiment.check(
            settings(attacks, **more), drawn.view.in_models, drawn.view.unknown
        )
    fix = "leave it out, or give what it needs"
    assert str(caught.value) == f"{message}. Fix: {fix}."


def test_a_clipped_loss_of_margins_alone_is_refused() -> None:
    drawn = by_margins()
    with pytest.raises(AuditError) as caught:
        experiment.check(
            settings(("loss",), loss="clipped"),
            drawn.view.in_models,
            drawn.view.unknown,
        )
    assert str(caught.value) == (
        "attack.loss: is 'clipped', which is computed from logits, and there are none. "
        "Fix: use 'exact'."
    )


def test_among_all_attacks_what_lacks_references_is_left_out_with_a_note(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    register(monkeypatch, "toy", TOY, toy)
    monkeypatch.setattr(catalogue, "ATTACKS", {"loss": LOSS, "toy": TOY})
    view = audit().view
    lacking = replace(view, in_models=np.ones_like(view.in_models))
    assert [*experiment.run(settings("all"), lacking, tmp_path).scored] == ["loss"]
    shown = capsys.readouterr()
    assert f"left out ({LACK}): toy" in " ".join((shown.out + shown.err).split())
    # A user without any references is not reminded of it.
    none = replace(view, references=view.references[:0], in_models=view.in_models[:0])
    assert [*experiment.run(settings("all"), none, tmp_path).scored] == ["loss"]
    shown = capsys.readouterr()
    assert "left out" not in shown.out + shown.err


def test_an_attack_is_described_by_what_was_chosen_for_it(
    ran: Callable[[float], Run],
) -> None:
    outcome = ran(2.0).outcome
    loss, knn = (experiment.described(name, outcome) for name in ("loss", "knn"))
    assert loss.model_dump() == {
        "method": "loss",
        "family": "threshold",
        "params": {},
        "n_candidates": 1,
        "threshold": outcome.decided["loss"].threshold,
    }
    assert knn.family == "learned"
    assert knn.params in ({"n_neighbors": 1}, {"n_neighbors": 5})
    assert (knn.n_candidates, knn.threshold) == (2, None)


def test_scores_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    nothing = Scored(np.array([0.0, np.nan]))
    how = Attack(attacks=("loss",))
    with pytest.raises(AuditError) as caught:
        experiment.run(how, audit().view, tmp_path, runner=lambda name, view: nothing)
    assert str(caught.value) == (
        "attack.attacks (loss): gives scores that are not finite. Fix: look for "
        "records or references that are all alike, or leave it out."
    )


def test_the_favourite_gives_way_only_to_what_is_better_beyond_accident() -> None:
    rng = np.random.default_rng(0)
    member = np.arange(2000) % 2 == 0
    train = np.arange(2000) < 1500
    favourite = member + rng.normal(size=2000)
    view = SimpleNamespace(attack_train=train, member=member, unit=None)

    def chosen(**scores: np.ndarray) -> str:
        scored = {name: Scored(score) for name, score in scores.items()}
        auc = {
            name: metrics.auc(score[train], member[train])
            for name, score in scores.items()
        }
        return experiment.strongest(auc, scored, view)  # type: ignore[arg-type]

    # About as good, by chance better on attack-train.
    near = favourite + 0.3 * rng.normal(size=2000)
    near[train] += 0.05 * member[train]
    assert chosen(loss=near, amortised=favourite) == "amortised"
    assert chosen(loss=favourite + 0.5 * member, amortised=favourite) == "loss"
    assert chosen(loss=near, margin=favourite) == "loss"
