from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.attacks import catalogue, learned, roster
from pipeline.attacks.evidence import evidence
from pipeline.audit import experiment, search
from pipeline.cache import store
from pipeline.config import Attack
from pipeline.data import selection
from pipeline.errors import AuditError
from pipeline.signals import margins, recalibration
from pipeline.statistics import metrics
from stages import attack

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
    given: roster.Given  # with memberships of attack-train alone
    member: NDArray[np.bool_]  # (n_records,) all of them


def audit(leak: float = 0.0, n_records: int = 400, seed: int = 0) -> Audit:
    """A target, and six references, that know their members by `leak` nats."""
    rng = np.random.default_rng(seed)
    inside = selection.halves(n_records, 6, seed)
    member = rng.permutation(n_records) % 2 == 0
    label = rng.integers(0, 4, n_records).astype(np.int32)
    own = np.arange(4) == label[:, None, None]
    learned = np.vstack((member[None], inside))[..., None, None]
    logits = rng.normal(size=(7, n_records, 1, 4)) + own * (1 + leak * learned)
    margin = np.stack([margins.margin(one[:, 0], label)[:, None] for one in logits])
    corrected = np.stack(
        [
            recalibration.margin(one, label, recalibration.fitted(one, label))
            for one in logits
        ]
    )
    known = rng.permutation(n_records) % 2 == 0
    given = roster.Given(
        logits=logits[0],
        margin=margin[0],
        recalibrated=corrected[0],
        label=label,
        audited=np.ones(n_records, dtype=bool),
        memberships=roster.Memberships(known, member & known),
        references=margin[1:],
        references_recalibrated=corrected[1:],
        inside=inside,
        kept=np.ones_like(inside),
        evidence=evidence(margin[1:], inside, ~inside),
        seed=1,
    )
    return Audit(given, member)


def settings(attacks: tuple[str, ...] = catalogue.ALL, **more: Any) -> Attack:
    return Attack.model_validate({"attacks": attacks, **more})


def null_control(
    one: Audit, how: Attack, memory: Path, seed: int = 1
) -> dict[str, Any]:
    """The stage's own null control, on memberships that come as the stage has them."""
    n = len(one.member)
    records = store.Records(
        id=np.arange(n),
        label=one.given.label,
        member=one.member,
        population=np.zeros(n, dtype=bool),
        canary=np.zeros(n, dtype=bool),
        content=np.zeros(n, dtype="S32"),
        duplicates_dropped=np.array(0),
        n_classes=np.array(4),
        n_source=np.array(n),
    )
    evaluation = ~one.given.known
    told = attack.memberships(records, evaluation)
    given = replace(one.given, memberships=told)
    outcome = experiment.run(how, given, memory)
    seeded = how.model_copy(update={"seed": seed})
    return attack.null_control(seeded, given, outcome, records, evaluation, memory)


def test_every_attack_tells_members_by_what_it_learned_on_attack_train(
    tmp_path: Path,
) -> None:
    one = audit(leak=2.0)
    found = experiment.run(settings(**LEARNED), one.given, tmp_path)
    assert [*found.scored] == [*catalogue.ALL, "knn", "stacked"]
    judged = ~one.given.known
    for name, scored in found.scored.items():
        if name.removesuffix(catalogue.PER_CLASS) != "entropy":
            assert metrics.auc(scored.score[judged], one.member[judged]) > 0.55, name
    assert found.auc["loss"] == metrics.auc(
        found.scored["loss"].score[~judged], one.member[~judged]
    )
    threshold = found.decided["loss"].threshold
    assert threshold is not None
    expected = found.scored["loss"].score > threshold
    assert np.array_equal(found.decided["loss"].decision, expected)
    assert found.decided["knn"].threshold is None


def test_memberships_of_attack_eval_change_nothing(tmp_path: Path) -> None:
    one = audit(leak=1.0)
    known = one.given.known
    full = roster.Memberships(known, one.member)
    how = settings(**LEARNED)
    found, other = (
        experiment.run(how, given, tmp_path / str(place))
        for place, given in enumerate((one.given, replace(one.given, memberships=full)))
    )
    for name, scored in found.scored.items():
        assert np.array_equal(scored.score, other.scored[name].score), name


INFORMED = {
    "attack_p",
    "qmia",
    "rmia_online",
    "rmia_offline",
    "knn",
    "stacked",
    *(name for name in catalogue.ALL if name.endswith(catalogue.PER_CLASS)),
}


def test_it_is_known_which_attacks_were_given_memberships(tmp_path: Path) -> None:
    found = experiment.run(settings(**LEARNED), audit().given, tmp_path)
    assert {name for name, one in found.scored.items() if one.informed} == INFORMED


def test_a_second_division_runs_only_the_attacks_that_were_given_memberships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = audit(leak=1.0)
    how = settings(**LEARNED)
    first = experiment.run(how, one.given, tmp_path)
    known = np.random.default_rng(7).permutation(one.given.known)
    given = replace(
        one.given, memberships=roster.Memberships(known, one.member & known)
    )
    anew = experiment.run(how, given, tmp_path / "anew")
    ran = spied(monkeypatch)
    again = experiment.run(how, given, tmp_path, first.scored)
    assert {*ran} == INFORMED - {"knn", "stacked"}
    for name, scored in anew.scored.items():
        assert np.array_equal(scored.score, again.scored[name].score), name
    assert again.strongest == anew.strongest


def spied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that fills with the names of the attacks that run."""
    ran: list[str] = []
    real = roster.score

    def score(name: str, given: roster.Given) -> roster.Scored:
        ran.append(name)
        return real(name, given)

    monkeypatch.setattr(roster, "score", score)
    return ran


@pytest.mark.parametrize("leak", [0.0, 2.0])
def test_the_null_control_passes_on_a_sound_audit(leak: float, tmp_path: Path) -> None:
    how = settings(**LEARNED)
    for seed in range(3):
        found = null_control(audit(leak, seed=seed), how, tmp_path, seed)
        assert found["passed"], found
        assert {*found["attacks"]} == {*catalogue.ALL, "knn", "stacked"}


def leaking(
    records: store.Records, evaluation: NDArray[np.bool_]
) -> roster.Memberships:
    """Broken on purpose: memberships of attack-eval are handed out as well."""
    return roster.Memberships(~evaluation, records.member)


def test_the_null_control_fails_where_eval_records_leak_into_fitting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, how = audit(), settings(("loss",), methods=LEARNED["methods"][:1])
    assert null_control(one, how, tmp_path / "sound")["passed"]

    # Broken on purpose: classifiers are fitted on the records that they judge, too.
    def fitted_on_all(digest: str, fit: search.Fit, setting: search.Setting) -> Any:
        found = real(digest, fit, setting)
        if fit.fold is None:
            member = np.load(setting.folder / "member.npy")
            judged = ~np.load(setting.folder / "known.npy")
            features = np.load(setting.folder / f"{fit.name}.npy")
            classifier = learned.estimator(fit.method, fit.params, setting.seed)
            said = learned.judge(classifier, features, member, features[judged])
            found[2]["score"] = said.score.tolist()
        return found

    real = search._fit
    monkeypatch.setattr(attack, "memberships", leaking)
    monkeypatch.setattr(search, "_fit", fitted_on_all)
    found = null_control(one, how, tmp_path / "broken")
    assert not found["passed"]
    assert found["attacks"]["knn"]["auc"] > 0.6 > found["attacks"]["loss"]["auc"]


def test_the_null_control_fails_where_an_attack_is_given_what_it_is_judged_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def peeking(given: roster.Given) -> roster.Scored:
        return roster.Scored(given.phi[:, 0] + given.member)

    # An attack that looks finds nothing, as long as there is nothing to be seen.
    monkeypatch.setitem(roster.ATTACKS, "loss", peeking)
    one, how = audit(), settings(("loss", "margin"))
    assert null_control(one, how, tmp_path)["passed"]
    monkeypatch.setattr(attack, "memberships", leaking)
    found = null_control(one, how, tmp_path)
    assert not found["passed"]
    assert found["attacks"]["margin"]["p_value"] > 0.01


def test_an_attack_is_described_by_what_was_chosen_for_it(tmp_path: Path) -> None:
    found = experiment.run(settings(**LEARNED), audit(1.0).given, tmp_path)
    loss, knn = (experiment.described(name, found) for name in ("loss", "knn"))
    assert loss == {
        "method": "loss",
        "family": "threshold",
        "params": {},
        "n_candidates": 1,
        "threshold": found.decided["loss"].threshold,
    }
    assert knn["family"] == "learned"
    assert knn["params"] in ({"n_neighbors": 1}, {"n_neighbors": 5})
    assert (knn["n_candidates"], knn["threshold"]) == (2, None)


def test_scores_that_are_not_finite_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nothing = roster.Scored(np.array([0.0, np.nan]))
    monkeypatch.setattr(roster, "score", lambda name, given: nothing)
    with pytest.raises(AuditError) as caught:
        experiment.run(Attack(attacks=("loss",)), audit().given, tmp_path)
    assert str(caught.value) == (
        "attack.attacks (loss): gives scores that are not finite. Fix: look for "
        "records or references that are all alike, or leave it out."
    )


def test_the_favourite_gives_way_only_to_what_is_better_beyond_accident() -> None:
    rng = np.random.default_rng(0)
    member = np.arange(2000) % 2 == 0
    known = np.arange(2000) < 1500
    favourite = member + rng.normal(size=2000)
    given = SimpleNamespace(known=known, member=member)

    def chosen(**scores: np.ndarray) -> str:
        scored = {name: roster.Scored(score) for name, score in scores.items()}
        auc = {
            name: metrics.auc(score[known], member[known])
            for name, score in scores.items()
        }
        return experiment.strongest(auc, scored, given)  # type: ignore[arg-type]

    # About as good, by chance better on attack-train.
    near = favourite + 0.3 * rng.normal(size=2000)
    near[known] += 0.05 * member[known]
    assert chosen(loss=near, amortised=favourite) == "amortised"
    assert chosen(loss=favourite + 0.5 * member, amortised=favourite) == "loss"
    assert chosen(loss=near, margin=favourite) == "loss"
