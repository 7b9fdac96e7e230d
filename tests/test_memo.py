"""Scores of costly attacks outlast edits that do not touch them."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.attacks import catalogue, roster
from pipeline.attacks.division import Division
from pipeline.attacks.view import Scored, View
from pipeline.audit import memo
from pipeline.audit.memo import Memo
from pipeline.cache.stamps import Job
from pipeline.errors import AuditError
from tests import jobs, views
from tests.conftest import Checkout

COSTLY = ("amortised", "qmia")


def files(audit: Checkout) -> dict[Path, int]:
    """Return the files of scores, with the times at which they were written."""
    folder = audit.run / "attack" / "scores"
    return {path: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_value_added_to_a_grid_runs_no_costly_attack_again(audited: Checkout) -> None:
    before = files(audited)
    # Of the amortised attack: with two references it sees memberships, and so runs
    # in the null control as well.
    assert len(before) == 2
    audited.edit("C = [0.1, 1.0]", "C = [0.1, 1.0, 7.0]")
    assert "attack" in audited.ran("audit")
    assert files(audited) == before


def test_another_seed_runs_them_again(audited: Checkout) -> None:
    before = files(audited)
    audited.edit("folds = 3\nseed = 1", "folds = 3\nseed = 2")
    audited.ran("audit")
    assert len(files(audited)) == 2 * len(before)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The attacks that were run, in their order."""
    names: list[str] = []
    score = roster.score

    def counted(name: str, view: View) -> Scored:
        names.append(name)
        return score(name, view)

    monkeypatch.setattr(roster, "score", counted)
    return names


def job_of(folder: Path) -> Job:
    return jobs.job("attack", folder)


def test_what_is_remembered_is_what_was_said(tmp_path: Path, played: list[str]) -> None:
    view = views.drawn(4, 120)
    for name in catalogue.names():
        first, again = (Memo(job_of(tmp_path)).score(name, view) for _ in range(2))
        assert np.array_equal(first.score, again.score)
        assert first.informed == again.informed
        assert (first.reading is None) == (again.reading is None)
        if first.reading is not None:
            assert np.array_equal(first.reading, again.reading)
    assert sorted({name for name in played if played.count(name) == 1}) == [*COSTLY]


def test_scores_of_other_memberships_references_or_limits_are_others(
    tmp_path: Path, played: list[str]
) -> None:
    view = views.drawn(4, 120)
    division = view.disclosed
    member = division.member.copy()
    member[np.flatnonzero(division.attack_train)[0]] ^= True
    others = [
        view.divided(replace(division, member=member)),
        view.divided(Division(view.audited, ~division.attack_train, member)),
        replace(view, in_models=view.in_models[::-1]),
        replace(view, kept=view.kept & view.in_models),
        replace(view, seed=view.seed + 1),
        replace(view, max_fit=50),
    ]
    digests = {memo.digest(other) for other in (view, *others[:4])}
    assert len(digests) == 5
    for other in (view, *others, view):
        Memo(job_of(tmp_path)).score("qmia", other)
    assert len(played) == 1 + len(others)


def test_scores_that_were_changed_on_disk_are_refused(tmp_path: Path) -> None:
    view = views.drawn(2, 120)
    remembered = Memo(job_of(tmp_path))
    remembered.score("qmia", view)
    (path,) = (tmp_path / "attack" / "scores").iterdir()
    with h5py.File(path, "r+") as file:
        file["score"][7] += 1e-9
    with pytest.raises(AuditError) as caught:
        remembered.score("qmia", view)
    assert str(caught.value) == f"{path}: is corrupt. Fix: run `rm {path}`."
