from typing import Any

import numpy as np
import pytest

from pipeline.findings import slices
from pipeline.findings.schema import Slice
from pipeline.statistics import corrections, intervals, metrics


def sliced(
    values: list[Any], score: list[float], member: list[int]
) -> tuple[Slice, ...]:
    kinds = {"kind": np.array(values)}
    return slices.slices(kinds, np.array(score), np.array(member) > 0, 0.95)["kind"]


def test_each_slice_has_its_count_its_auc_and_a_corrected_interval() -> None:
    rng = np.random.default_rng(0)
    member, kind = rng.random(300) < 0.5, rng.integers(0, 3, 300)
    score = rng.normal(size=300) + member * kind
    group = np.where(rng.random(300) < 0.5, "a", "b")
    found = slices.slices({"class": kind, "group": group}, score, member, 0.95)
    assert [part.value for part in found["class"]] == [0, 1, 2]
    assert [part.value for part in found["group"]] == ["a", "b"]
    parts = [kind == i for i in range(3)] + [group == name for name in "ab"]
    p = np.array([metrics.p_value(score[own], member[own]) for own in parts])
    for own, adjusted, part in zip(
        parts, corrections.holm(p), found["class"] + found["group"], strict=True
    ):
        assert (part.members, part.nonmembers) == (
            member[own].sum(),
            (own & ~member).sum(),
        )
        assert part.auc == metrics.auc(score[own], member[own])
        # Five slices share the five per cent.
        expected = intervals.auc(score[own], member[own], 0.99)
        assert part.auc_interval == pytest.approx(expected)
        assert part.p_value == adjusted


def test_a_slice_of_one_side_has_no_auc_and_says_why() -> None:
    one_sided, other = sliced([1, 1, 2, 2], [1.0, 2.0, 3.0, 4.0], [1, 1, 0, 1])
    assert one_sided == Slice(
        value=1,
        members=2,
        nonmembers=0,
        auc=None,
        auc_interval=None,
        p_value=None,
        reason="has records of one side only",
    )
    assert other.auc == 1


def test_a_slice_of_one_record_has_no_auc() -> None:
    (part,) = sliced(["x"], [1.0], [0])
    assert (part.members, part.nonmembers, part.auc) == (0, 1, None)


def test_no_records_are_no_slices() -> None:
    assert sliced([], [], []) == ()


def test_a_slice_of_few_records_has_a_wide_interval() -> None:
    (part,) = sliced([7, 7, 7], [1.0, 2.0, 3.0], [1, 0, 0])
    # One member of one: Clopper and Pearson's interval of no hit in one trial.
    assert (part.auc, part.auc_interval) == (0, (0, pytest.approx(0.975)))
    assert part.reason is None


def test_of_many_slices_of_noise_hardly_ever_one_is_called_a_leak() -> None:
    rng = np.random.default_rng(1)
    false = 0
    for _ in range(100):
        member, kind = rng.random(600) < 0.5, rng.integers(0, 20, 600)
        found = slices.slices({"kind": kind}, rng.normal(size=600), member, 0.95)
        false += any((part.p_value or 0.0) < 0.05 for part in found["kind"])
    # At most 5 % of 100, and three standard deviations.
    assert false <= 11


def test_slices_of_few_records_and_many_ties_are_hardly_ever_called_a_leak() -> None:
    # Wrong predictions of a target that knows its members: few members, few scores
    # that differ, and as many false calls as the level allows at most.
    rng = np.random.default_rng(2)
    member, kind = np.arange(412) % 206 < 6, np.arange(412) < 206
    calls, covered = 0, 0
    for _ in range(200):
        score = (rng.random(412) < 0.03).astype(float)
        found = slices.slices({"kind": kind}, score, member, 0.95)["kind"]
        calls += any((part.p_value or 0.0) < 0.05 for part in found)
        ends = [part.auc_interval or (1.0, 0.0) for part in found]
        covered += all(low <= 0.5 <= high for low, high in ends)
    assert calls <= 19  # three standard deviations above 5 %
    assert covered >= 181
