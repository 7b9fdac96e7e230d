import numpy as np

from pipeline.attacks.division import withholding

AUDITED = np.array([True, True, False, True, True])
EVALUATION = np.array([True, False, False, True])
MEMBER = np.array([True, True, False, False, True])


def test_attack_train_and_attack_eval_are_the_audited_records() -> None:
    division = withholding(AUDITED, EVALUATION, MEMBER)
    assert division.attack_train.tolist() == [False, True, False, True, False]
    assert division.attack_eval.tolist() == [True, False, False, False, True]


def test_memberships_of_attack_eval_are_withheld() -> None:
    division = withholding(AUDITED, EVALUATION, MEMBER)
    assert division.member.tolist() == [False, True, False, False, False]
    flipped = np.where(division.attack_eval, ~MEMBER, MEMBER)
    other = withholding(AUDITED, EVALUATION, flipped)
    assert np.array_equal(other.member, division.member)
