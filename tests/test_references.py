import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline import config
from pipeline.attacks import catalogue
from pipeline.cache import documents, files, kinds, summaries
from pipeline.cache.stages import REFERENCES
from pipeline.cache.stamps import Job
from pipeline.data import selection, sources
from pipeline.errors import AuditError
from stages import features, references
from tests import jobs
from tests.conftest import Checkout
from tests.test_make import would_run


def test_every_record_is_in_for_exactly_half_of_the_references() -> None:
    member = selection.halves(101, 6, seed=3)
    assert (member.sum(axis=0) == 3).all()
    assert sorted(set(member.sum(axis=1))) == [50, 51]
    assert np.array_equal(member[::2], ~member[1::2])


def test_more_references_leave_the_first_as_they_are() -> None:
    few, many = (selection.halves(50, count, seed=3) for count in (4, 8))
    assert np.array_equal(many[:4], few)
    assert not np.array_equal(many[4], many[0])


def test_no_references_are_no_rows() -> None:
    assert selection.halves(50, 0, seed=3).shape == (0, 50)


def many_records(member: NDArray[np.bool_]) -> kinds.Records:
    n = len(member)
    return told_records(
        id=np.arange(n),
        label=(np.arange(n) % 2).astype(np.int32),
        member=member,
        population=np.zeros(n, dtype=bool),
        canary=np.zeros(n, dtype=bool),
        content=np.full(n, b""),
        n_source=np.array(n),
    )


@pytest.mark.parametrize(("turned", "share"), [(False, "89%"), (True, "11%")])
def test_halves_that_depend_on_the_targets_memberships_are_refused(
    turned: bool, share: str
) -> None:
    """What two draws from one random stream look like."""
    rng = np.random.default_rng(0)
    member = rng.permutation(400) < 200
    half = np.where(np.arange(400) < 44, ~member, member) ^ turned
    others = selection.halves(400, 2, 1)
    with pytest.raises(AuditError) as caught:
        references.check(np.vstack((others, half)), many_records(member))
    assert str(caught.value) == (
        f"references (reference-002): would agree with the target on {share} of the "
        "memberships, where independent draws agree on about half. Fix: change "
        "references.seed or data.seed."
    )
    references.check(others, many_records(member))


def test_dependence_of_own_references_on_the_target_gets_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    member = np.random.default_rng(0).permutation(60) < 30
    independent = selection.halves(60, 2, 1)[0]
    np.save(tmp_path / "membership.npy", np.vstack((independent, member)))
    settings = config.References(folder=str(tmp_path))
    data = config.Data(source="digits")
    names = ["a.ckpt", "b.ckpt"]
    references.own_member(settings, data, many_records(member), names)
    assert capsys.readouterr().err.splitlines() == [
        "note: references: the memberships of b.ckpt agree with the target's for 100% "
        "of the records, which is no accident"
    ]


def test_a_half_without_a_class_is_refused_before_any_training() -> None:
    member = np.array([[True, True, False, False], [False, False, True, True]])
    records = told_records(label=np.array([0, 1, 0, 2], dtype=np.int32))
    with pytest.raises(AuditError) as caught:
        references.check(member, records)
    assert str(caught.value) == (
        "references (reference-000): would be trained without class 2. Fix: audit more "
        "records (data.members), or change references.seed."
    )


def test_more_references_train_and_extract_only_the_new_ones(audited: Checkout) -> None:
    kept = {
        path: path.read_bytes()
        for name in ("references/reference-*", "features/target/*", "features/ref*/*")
        for path in audited.run.glob(name)
    }
    assert len(kept) == 4 + 3 + 2 * 3
    audited.edit("count = 2", "count = 4")
    done = audited.make("audit")
    assert "2 of 4 trained" in done.stdout
    assert "6 of 15 shards of 5 models extracted" in done.stdout
    assert all(path.read_bytes() == content for path, content in kept.items())


def test_a_reference_is_the_same_whichever_others_are_trained(
    audited: Checkout,
) -> None:
    folder = audited.run / "references"
    before = (folder / "reference-001.ckpt").read_bytes()
    (folder / "reference-001.ckpt").unlink()
    (folder / "references.h5").unlink()
    done = audited.make("references")
    assert "1 of 2 trained" in done.stdout, done.stderr
    assert (folder / "reference-001.ckpt").read_bytes() == before


def test_a_changed_checkpoint_of_a_reference_is_refused(audited: Checkout) -> None:
    path = audited.run / "references" / "reference-000.ckpt"
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    (audited.run / "features" / "complete.json").unlink()
    (audited.run / "features" / "reference-000" / "00000.h5").unlink()
    done = audited.make("features")
    assert done.returncode != 0
    wanted = "reference-000.ckpt: is not the checkpoint that references.json names"
    assert wanted in done.stderr


def test_scores_hold_every_record_and_the_report_tells_of_the_references(
    finished: Checkout,
) -> None:
    with h5py.File(finished.run / "attack" / "scores.h5") as file:
        score, evaluation = file["score"][()], file["evaluation"][()]
        methods = [name.decode() for name in file["method"][()]]
    assert methods == ["loss", "lira_online", "rmia_online", "amortised", "lr", "rf"]
    assert np.isfinite(score).all()
    assert evaluation.sum() == 30
    text = (finished.run / "report" / "full.txt").read_text()
    assert "References: 2, accuracy " in text
    assert "was chosen beforehand" in text.replace("\n", " ")
    assert (finished.run / "report" / "timings.json").exists()


def test_arrays_of_many_models_run_every_attack(checkout: Checkout) -> None:
    rng = np.random.default_rng(0)
    member = np.zeros((7, 200), dtype=bool)
    member[0, rng.permutation(200)[:100]] = True
    member[1:] = selection.halves(200, 6, seed=1)
    logits = rng.normal(size=(7, 200, 2, 4))
    label = rng.integers(0, 4, 200)
    own = np.arange(4) == label[:, None, None]
    logits += own * (1 + 2 * member[:, :, None, None])
    np.savez(checkout.folder / "a.npz", logits=logits, label=label, member=member)
    checkout.config.write_text(
        '[data]\nsource = "arrays"\npath = "a.npz"\n[attack]\nmethods = []\n'
    )
    done = checkout.make("attack")
    assert done.returncode == 0, done.stderr
    with h5py.File(checkout.run / "attack" / "scores.h5") as file:
        assert len(file["method"]) == len(catalogue.names())
        assert np.isfinite(file["score"][()]).all()
        p_value, is_member = file["p_value"][()], file["member"][()]
        reading = file["reading"][()]
    # Three references on a side: members stand out from those not trained on them.
    assert ((p_value > 0) & (p_value <= 1)).all()
    assert np.median(p_value[is_member]) < 0.2 < np.median(p_value[~is_member])
    told = np.isfinite(reading).all(axis=1)
    assert told.sum() == 4  # attack_p, both RMIA, attack_r
    assert (reading[told] >= 0).all()
    assert (reading[told] <= 1).all()


def test_an_attack_that_wants_references_says_so(checkout: Checkout) -> None:
    checkout.edit("count = 2", "count = 0")
    done = checkout.make("audit")
    assert done.returncode != 0
    assert (
        "error: tiny.toml: attack.attacks (lira_online): needs references, and there "
        "are none. Fix: raise references.count, or leave this attack out."
    ) in done.stderr
    assert not checkout.run.exists()


def test_a_population_is_learned_by_references_but_never_audited(
    checkout: Checkout,
) -> None:
    checkout.edit("nonmembers = 60", "nonmembers = 60\npopulation = 30")
    checkout.edit(', "rmia_online", "amortised"', "")
    done = checkout.make("audit")
    assert done.returncode == 0, done.stderr
    assert "60 members, 60 non-members, 30 of a population" in done.stdout
    run = checkout.run
    with h5py.File(run / "records" / "records.h5") as file:
        ids, population = file["id"][()], file["population"][()]
        member = file["member"][()]
    assert population.sum() == 30
    assert not (population & member).any()
    with h5py.File(run / "references" / "references.h5") as file:
        assert np.array_equal(file["id"][()], ids)
        inside = file["member"][()]
    assert (inside.sum(axis=1) == 75).all()
    assert inside[:, population].any(axis=1).all()
    with h5py.File(run / "attack" / "scores.h5") as file:
        assert np.array_equal(file["id"][()], ids[~population])
        assert np.isfinite(file["score"][()]).all()
    text = (run / "report" / "report.txt").read_text()
    assert "beside a population of 30" in text


def test_signals_of_a_target_alone_allow_no_attack_by_references(
    checkout: Checkout,
) -> None:
    # How many models there are stands in the file, which the config does not read.
    rng = np.random.default_rng(0)
    signals = {"logits": rng.normal(size=(60, 3)), "label": np.arange(60) % 3}
    np.savez(checkout.folder / "a.npz", member=np.arange(60) % 2 > 0, **signals)
    attack = '[attack]\nattacks = ["lira_online"]\n'
    data = '[data]\nsource = "arrays"\npath = "a.npz"\n'
    checkout.config.write_text(data + attack)
    done = checkout.make("attack")
    assert done.returncode != 0
    expected = "attack.attacks (lira_online): needs references, and there are none"
    assert expected in done.stderr


# A user's own references, and a recipe for those of a checkpoint

FROM_REFERENCES = ["references", "features", "attack", "report", "page"]


def scores(audit: Checkout) -> NDArray[np.float64]:
    with h5py.File(audit.run / "attack" / "scores.h5") as file:
        return np.asarray(file["score"][()])


def saved(audit: Checkout, folder: Path) -> Path:
    """Save the references of an audit as a user would have his own."""
    import mindspore as ms

    folder.mkdir()
    trained = audit.run / "references"
    shutil.copy(trained / "reference-000.ckpt", folder / "a.ckpt")
    other = ms.load_checkpoint(str(trained / "reference-001.ckpt"))
    told = [{"name": name, "data": tensor} for name, tensor in other.items()]
    ms.save_checkpoint(told, str(folder / "b.safetensors"), format="safetensors")
    with h5py.File(trained / "references.h5") as file:
        member = np.zeros((2, 1797), dtype=bool)
        member[:, file["id"][()]] = file["member"][()]
    np.save(folder / "membership.npy", member)
    return folder


def test_references_of_ones_own_give_the_scores_of_those_trained_here(
    audited: Checkout, finished: Checkout
) -> None:
    mine = saved(audited, audited.folder / "mine")
    audited.edit("count = 2", 'folder = "mine"')
    done = audited.make("attack")
    assert done.returncode == 0, done.stderr
    assert "note: " not in done.stderr
    assert "2 of your own fit cnn_digits" in done.stdout
    assert np.array_equal(scores(audited), scores(finished))
    record = json.loads((audited.run / "references" / "references.json").read_text())
    assert record["file"] == ["a.ckpt", "b.safetensors"]
    mine.rename(audited.folder / "moved")
    audited.edit('"mine"', '"moved"')
    assert would_run(audited, "attack") == []
    path = audited.folder / "moved" / "membership.npy"
    np.save(path, ~np.load(path))
    planned = audited.make("plan").stdout.splitlines()
    runs = [line.split() for line in planned if " runs " in line]
    assert [words[0] for words in runs] == FROM_REFERENCES
    assert runs[0][-2:] == ["membership.npy", "changed"]


def test_references_of_a_checkpoint_are_trained_by_a_recipe_of_their_own(
    audited: Checkout, finished: Checkout
) -> None:
    trained = audited.run / "target" / "checkpoint.ckpt"
    shutil.copy(trained, audited.folder / "mine.ckpt")
    audited.edit('"cnn_digits"', '"cnn_digits"\ncheckpoint = "mine.ckpt"')
    audited.edit("[target.training]", "[references.training]")
    assert audited.ran("attack") == ["target", "references", "features", "attack"]
    assert np.array_equal(scores(audited), scores(finished))
    shards = sorted((audited.run / "features" / "target").glob("*.h5"))
    times = [path.stat().st_mtime_ns for path in shards]
    audited.edit("epochs = 2", "epochs = 1")
    done = audited.make("features")
    assert "2 of 2 trained" in done.stdout, done.stderr
    assert [path.stat().st_mtime_ns for path in shards] == times


def own_job(run: Path, folder: Path, target: str = "0") -> Job:
    """Return the job of a stage that finds own references, and a target."""
    settings = {"target": {"network": "cnn_digits"}, "data": {"source": "digits"}}
    job = jobs.job("features", run, settings, {"folder": str(folder)})
    with_target(job, target)
    return job


def with_target(job: Job, digest: str) -> None:
    target = summaries.Target(checkpoint_sha256=digest, accuracies=None)
    documents.write(job.artifact("target"), target, key=job.key_of("target"))


def cnn_digits(path: Path) -> Path:
    from pipeline.models import checkpoints, networks

    checkpoints.save(networks.build("cnn_digits", 10), path)
    return path


def told_records(**more: Any) -> kinds.Records:
    n = 4
    given = kinds.Records(
        id=np.arange(n),
        label=np.array([0, 0, 1, 1], dtype=np.int32),
        member=np.arange(n) < 2,
        population=np.zeros(n, dtype=bool),
        canary=np.zeros(n, dtype=bool),
        content=np.full(n, b""),
        duplicates_dropped=np.array(0),
        copies_dropped=np.array(0),
        copies=np.empty((0, 2), dtype=np.int64),
        n_classes=np.array(10),
        n_source=np.array(n),
    )
    return replace(given, **more)


def test_a_reference_of_another_network_is_refused_by_its_file(tmp_path: Path) -> None:
    import mindspore as ms

    path = tmp_path / "a.ckpt"
    job = own_job(tmp_path / "run", tmp_path)
    ms.save_checkpoint([{"name": "w", "data": ms.Tensor([1.0])}], str(path))
    with pytest.raises(AuditError, match=r"a\.ckpt: lacks .*; has besides w. Fix: "):
        references.own_digests(job, [path], told_records())
    path.chmod(0o600)
    path.write_bytes(b"junk")
    with pytest.raises(AuditError, match=r"a\.ckpt: is truncated or not a checkpoint"):
        references.own_digests(job, [path], told_records())


def test_a_prefix_holds_for_the_models_of_ones_own(tmp_path: Path) -> None:
    import mindspore as ms

    from pipeline.models import networks

    weights = networks.build("cnn_digits", 10).parameters_dict().items()
    path = tmp_path / "a.ckpt"
    ms.save_checkpoint(
        [{"name": f"ema.{name}", "data": tensor} for name, tensor in weights], str(path)
    )
    job = own_job(tmp_path / "run", tmp_path)
    with pytest.raises(AuditError, match=r'set target\.prefix = "ema\."'):
        references.own_digests(job, [path], told_records())
    for stamp in job.stamps.values():
        if "target" in stamp["settings"]:
            stamp["settings"]["target"]["prefix"] = "ema."
    with_target(job, "0")
    assert references.own_digests(job, [path], told_records()) == [files.sha256(path)]


@pytest.mark.parametrize(
    ("paths", "prefixes"),
    [
        ({}, [None, None]),
        ({"checkpoint": "a.ckpt"}, ["ema.", None]),
        ({"checkpoint": "a.ckpt", "folder": "mine"}, ["ema.", "ema."]),
    ],
)
def test_what_is_trained_here_has_no_prefix(
    paths: dict[str, str], prefixes: list[str | None]
) -> None:
    from pipeline.models import ensemble

    job = jobs.job("features", Path("run"), {}, paths)
    target = config.Target(network="cnn_digits", checkpoint="a.ckpt", prefix="ema.")
    assert [ensemble.prefix_of(job, target, model) for model in (0, 1)] == prefixes


def test_the_target_among_the_references_is_refused(tmp_path: Path) -> None:
    job = own_job(tmp_path / "run", tmp_path)
    path = cnn_digits(tmp_path / "a.ckpt")
    digest = files.sha256(path)
    assert references.own_digests(job, [path], told_records()) == [digest]
    with_target(job, digest)
    with pytest.raises(AuditError) as caught:
        references.own_digests(job, [path], told_records())
    assert str(caught.value) == (
        f"{path}: is the target itself. Fix: take it out, and its row out of "
        "membership.npy."
    )


def test_features_refuse_an_own_checkpoint_that_has_changed(tmp_path: Path) -> None:
    from pipeline.models import ensemble

    path = cnn_digits(tmp_path / "a.ckpt")
    job = own_job(tmp_path / "run", tmp_path)
    table = summaries.Checkpoints(
        file=("a.ckpt",), checkpoint_sha256=(files.sha256(path),)
    )
    documents.write(
        job.folder("references") / REFERENCES, table, key=job.key_of("references")
    )
    target = job.section(config.Target)
    assert ensemble.checkpoint(job, target, 1) == path
    path.chmod(0o600)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(AuditError, match=r"a\.ckpt: is not the checkpoint that ref"):
        ensemble.checkpoint(job, target, 1)
    path.unlink()
    with pytest.raises(AuditError, match=r"a\.ckpt: is gone, a checkpoint that ref"):
        ensemble.checkpoint(job, target, 1)


def with_table(job: Job, names: tuple[str, ...]) -> None:
    table = summaries.Checkpoints(file=names, checkpoint_sha256=names)
    path = job.folder("references") / REFERENCES
    documents.write(path, table, key=job.key_of("references"))


def knowing(member: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return on which records models are right that know theirs."""
    rng = np.random.default_rng(1)
    right: NDArray[np.bool_] = rng.random(member.shape) < np.where(member, 0.9, 0.4)
    return right


def test_references_with_one_anothers_rows_are_refused(tmp_path: Path) -> None:
    """Of a user's own and of arrays; those trained here have the right rows."""
    member = selection.halves(600, 4, 1)
    correct = list(knowing(member))
    exchanged = member[[0, 3, 2, 1]]
    own = {"data": {"source": "digits"}}, {"folder": "mine"}
    arrays = {"data": {"source": "arrays"}}, {"path": "a.npz"}
    names = ("a.ckpt", "b.ckpt", "c.ckpt", "d.ckpt")
    for files_of, (settings, paths), pair in (
        (names, own, ("b.ckpt", "d.ckpt")),
        ((), arrays, ("model 2", "model 4")),
    ):
        job = jobs.job("features", tmp_path, settings, paths)
        with_table(job, files_of)
        features.check_pairing(job, correct, member)
        with pytest.raises(AuditError) as caught:
            features.check_pairing(job, correct, exchanged)
        where, problem, fix = caught.value.args
        named = [where.removeprefix("references (").removesuffix(")")]
        named += [name for name in pair if f"only {name} is said to be" in problem]
        assert sorted(named) == sorted(pair)
        assert fix.startswith("pair the rows of memberships with the models, see ")
        assert fix.endswith("docs/own-models.md")
    job = jobs.job("features", tmp_path, own[0], {})
    features.check_pairing(job, correct, exchanged)
    features.check_pairing(job, [], member[:0])


def test_a_reference_that_knows_other_records_than_its_own_is_refused(
    tmp_path: Path,
) -> None:
    member = selection.halves(600, 8, 1)
    correct = knowing(member)
    correct[5] = knowing(selection.halves(600, 2, 99))[0]
    settings = {"data": {"source": "arrays"}}
    job = jobs.job("features", tmp_path, settings, {"path": "a.npz"})
    with_table(job, ())
    with pytest.raises(AuditError) as caught:
        features.check_pairing(job, list(correct), member)
    inside, outside = correct[5][member[5]].mean(), correct[5][~member[5]].mean()
    assert str(caught.value) == (
        f"references (model 6): is right on {inside:.0%} of the records that it is "
        f"said to be trained on and on {outside:.0%} of the rest, while the other "
        "references clearly know theirs. Fix: give the records that it was trained "
        "on, or take it out."
    )


def test_a_reference_that_learned_little_is_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    member = selection.halves(600, 8, 1)
    correct = knowing(member)
    correct[5] = np.random.default_rng(7).random(600) < 0.4
    job = jobs.job(
        "features", tmp_path, {"data": {"source": "arrays"}}, {"path": "a.npz"}
    )
    with_table(job, ())
    features.check_pairing(job, list(correct), member)
    inside, outside = correct[5][member[5]].mean(), correct[5][~member[5]].mean()
    assert capsys.readouterr().err == (
        f"note: references: model 6 is right on {inside:.0%} of the records that it is "
        f"said to be trained on and on {outside:.0%} of the rest, while the other "
        "references clearly know theirs: it learned little, or was trained on records "
        "of another audit\n"
    )


def test_a_model_that_numbers_its_classes_otherwise_is_refused_by_name() -> None:
    label = (np.arange(400) % 4).astype(np.int32)
    features.check_numbering("references (b.ckpt)", label.astype(np.int64), label)
    exchanged = np.array([0, 2, 1, 3])[label]
    with pytest.raises(AuditError) as caught:
        features.check_numbering("references (b.ckpt)", exchanged, label)
    assert str(caught.value) == (
        "references (b.ckpt): numbers the classes otherwise than the labels: it is "
        "right on 50% of a class in the mean, but on 100% with output 2 for class 1, "
        "output 1 for class 2. Fix: number outputs and labels alike."
    )


def test_of_members_only_those_within_their_classes_are_counted() -> None:
    label = np.array([0, 0, 3, 3], dtype=np.int32)
    predicted = np.array([3, 1, 0, 2])
    everyone, nobody = np.full(4, True), np.full(4, False)
    assert features.within_classes(predicted, label, everyone) == 0.5
    first = np.arange(4) < 1
    assert features.within_classes(predicted, label, first) == 0
    assert features.within_classes(predicted, label, nobody) is None
    assert features.within_classes(None, label, everyone) is None


def test_what_own_references_learned_of_the_population_is_not_remarkable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "membership.npy", np.array([[True, False, True, True]]))
    records = told_records(
        label=np.array([0, 0, 1, 2], dtype=np.int32),
        population=np.array([False, False, True, True]),
    )
    settings = config.References(folder=str(tmp_path))
    data = config.Data(source="digits")
    found = references.own_member(settings, data, records, ["a.ckpt"])
    assert found.tolist() == [[True, False, True, True]]
    assert capsys.readouterr().err == ""


def key_by(
    model: int = 1,
    target: dict[str, Any] | None = None,
    half: str = "1010",
    **more: Any,
) -> str:
    recipe = {"learning_rate": 0.1, "epochs": 1, **more}
    settings = config.References.model_validate({"count": 2, "training": recipe})
    section = {"target": {"network": "cnn_digits", **(target or {})}}
    job = jobs.job("references", Path(), section)
    return references.key_of(
        job, settings, model, np.array([letter == "1" for letter in half])
    )


def test_the_recipe_but_not_its_seed_decides_a_reference() -> None:
    assert key_by(epochs=2) != key_by() != key_by(batch_size=8)
    assert key_by(seed=2) == key_by()


def test_records_network_place_and_device_decide_a_reference() -> None:
    keys = [
        key_by(),
        key_by(model=0),
        key_by(half="1001"),
        key_by(target={"network": "cnn"}),
        key_by(target={"n_classes": 3}),
        key_by(device="Ascend"),
    ]
    assert len({*keys}) == len(keys)


def test_every_reference_starts_and_goes_by_draws_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.models import checkpoints, recipes

    given: list[tuple[int, int, float]] = []

    class Trainer:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def train(self, records: Any, *, weights: int, seed: int) -> None:
            given.append((weights, seed, float(records.rng.random())))

    monkeypatch.setattr(recipes, "Trainer", Trainer)
    monkeypatch.setattr(checkpoints, "save", lambda _, path: files.write(path, b""))
    recipe = {"learning_rate": 0.1, "epochs": 1, "device": "CPU"}
    settings = config.References.model_validate({"count": 4, "training": recipe})
    sections = {"target": {"network": "cnn_digits"}, "data": {"source": "digits"}}
    job = jobs.job("references", tmp_path, sections)
    content = sources.catalogue(config.Data(source="digits")).content[:4]
    half = np.array([[True, True, False, False]] * 4)
    records = told_records(content=content)
    done: list[int] = []
    references.train(job, settings, records, half, [0, 1, 2, 3], done.append)
    assert done == [0, 1, 2, 3]
    weights, seeds, orders = zip(*given, strict=True)
    assert len({*weights, *seeds}) == 8
    assert len({*orders}) == 4
    # Whatever others are trained, a reference is the same.
    before = given[2]
    given.clear()
    references.train(job, settings, records, half, [2])
    assert given == [before]


def test_references_trained_on_a_copy_of_a_record_know_the_record() -> None:
    member = np.random.default_rng(0).random((5, 9)) < 0.4
    copies = np.array([[0, 2], [5, 2], [6, 7], [8, 2]])
    records = told_records(id=np.array([1, 2, 4, 7]), copies=copies)
    found = references.trained_on(member, records)
    for row in range(5):
        expected = [
            any(
                member[row, other] for other in (each, *copies[copies[:, 1] == each, 0])
            )
            for each in records.id
        ]
        assert found[row].tolist() == expected


def test_own_references_and_canaries_get_a_note_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "membership.npy", np.eye(2, 9, dtype=bool))
    settings = config.References(folder=str(tmp_path))
    found = references.own_member(
        settings,
        config.Data(source="digits"),
        told_records(id=np.arange(1, 5), n_source=np.array(9), canary=np.arange(4) > 1),
        ["a.ckpt", "b.ckpt"],
    )
    assert found.tolist() == [[False] * 4, [True, False, False, False]]
    assert capsys.readouterr().err.splitlines() == [
        "note: references trained on no audited record, so of use to offline attacks "
        "only: a.ckpt",
        "note: references trained on no audited record of some class: b.ckpt (class 1)",
        "note: canaries have wrong labels, by which references of your own must have "
        "been trained too",
    ]


def test_arrays_without_the_references_an_attack_needs_are_refused_at_once(
    checkout: Checkout,
) -> None:
    member = np.random.default_rng(1).random((2, 200)) < 0.5
    label = np.arange(200) % 4
    logits = np.random.default_rng(0).normal(size=(2, 200, 4))
    np.savez(checkout.folder / "a.npz", logits=logits, label=label, member=member)
    text = '[data]\nsource = "arrays"\npath = "a.npz"\n[attack]\nattacks = ["loss", '
    checkout.config.write_text(f'{text}"lira_online_bayes"]\n')
    done = checkout.make("attack")
    assert done.returncode != 0
    lacks = "2 references that a record is IN of, and no record"
    assert f"error: attack.attacks (lira_online_bayes): needs {lacks}" in done.stderr
    assert not (checkout.run / "attack" / "scores.h5").exists()
    checkout.config.write_text(f'{text}"amortised"]\n')
    done = checkout.make("attack")
    assert done.returncode == 0, done.stderr
    assert (
        f"note: {member[1].sum()} of 200 records have no reference that they are OUT "
        "of: attacks go by the other side, or by what is usual"
    ) in done.stderr


def save_arrays(
    checkout: Checkout, member: np.ndarray, logits: np.ndarray, attacks: str
) -> None:
    label = np.arange(member.shape[1]) % 4
    np.savez(checkout.folder / "a.npz", logits=logits, label=label, member=member)
    data = '[data]\nsource = "arrays"\npath = "a.npz"\n'
    checkout.config.write_text(f"{data}[attack]\nattacks = {attacks}\n")


def test_a_target_that_shared_out_the_records_with_its_references_is_noticed(
    checkout: Checkout,
) -> None:
    rng = np.random.default_rng(0)
    side = np.arange(6)[:, None] < 3
    member = rng.permuted(side * np.ones((1, 200), dtype=bool), axis=0)
    logits = rng.normal(size=(6, 200, 4))
    save_arrays(checkout, member, logits, '["lira_online", "amortised"]')
    done = checkout.make("attack")
    assert done.returncode == 0, done.stderr
    assert (
        "note: the number of references trained on a record tells whether the target "
        "is: some are left out at random, as many IN as OUT are kept of every record"
    ) in done.stderr
    twin = np.vstack((member[:1], ~member[:1]))
    save_arrays(checkout, twin, logits[:2], '["amortised"]')
    done = checkout.make("attack")
    assert done.returncode != 0
    assert (
        "error: references: are trained on just what the target is not, or just what "
        "it is. Fix: give references trained on random halves of their own."
    ) in done.stderr


def test_a_reference_that_is_the_target_itself_is_refused_in_arrays(
    checkout: Checkout,
) -> None:
    member = selection.halves(200, 4, seed=1)
    logits = np.random.default_rng(0).normal(size=(4, 200, 4))
    logits[2] = logits[0]
    save_arrays(checkout, member, logits, '["loss"]')
    done = checkout.make("references")
    assert done.returncode != 0
    assert (
        "error: a.npz: has the target's own logits as model 2. "
        "Fix: take that model out."
    ) in done.stderr


def test_models_that_say_the_same_of_every_record_give_finite_scores(
    checkout: Checkout,
) -> None:
    pairs = selection.halves(200, 4, seed=1)
    member = np.vstack((np.random.default_rng(1).random((1, 200)) < 0.5, pairs))
    logits = np.random.default_rng(0).normal(size=(5, 200, 4))
    logits[1:] = logits[1]
    save_arrays(checkout, member, logits, '"all"')
    done = checkout.make("attack")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert (
        "note: left out (no record has two references on this side that differ): "
        "lira_online_bayes\n"
    ) in done.stderr
    with h5py.File(checkout.run / "attack" / "scores.h5") as file:
        assert np.isfinite(file["score"][()]).all()
