import h5py
import numpy as np
import pytest

from pipeline import selection
from pipeline.attacks import names
from pipeline.errors import AuditError
from stages import references
from tests.conftest import Checkout


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


def test_seeds_of_references_differ_from_each_other_and_by_the_seed() -> None:
    seeds = {selection.model_seed(seed, model) for seed in (1, 2) for model in range(9)}
    assert len(seeds) == 18
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_a_half_without_a_class_is_refused_before_any_training() -> None:
    member = np.array([[True, True, False, False], [False, False, True, True]])
    label = np.array([0, 1, 0, 2], dtype=np.int32)
    with pytest.raises(AuditError) as caught:
        references.check(member, label)
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
    text = (finished.run / "report" / "report.txt").read_text()
    assert "References: 2, accuracy " in text
    assert "chosen on attack-train" in text
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
    checkout.config.write_text('[data]\nsource = "arrays"\npath = "a.npz"\n')
    done = checkout.make("audit")
    assert done.returncode == 0, done.stderr
    with h5py.File(checkout.run / "attack" / "scores.h5") as file:
        assert len(file["method"]) == len(names.ALL)
        assert np.isfinite(file["score"][()]).all()
        reading = file["reading"][()]
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
    done = checkout.make("audit")
    assert done.returncode != 0
    expected = "attack.attacks (lira_online): needs references, and there are none"
    assert expected in done.stderr
