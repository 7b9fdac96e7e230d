import numpy as np
import pytest
from scipy.stats import beta

from pipeline.findings.inference import Inferences, Known, Signs, conclusion, inference

NONMEMBERS = np.arange(400.0)


def signs(score: float, known: Known | None = None, p: float | None = 0.002) -> Signs:
    return Signs("a.png", 3, known, score, p)


@pytest.mark.parametrize("alarms", [0, 3, 400])
def test_the_false_positive_rate_is_the_share_that_scores_as_high(alarms: int) -> None:
    made = inference(signs(400.0 - alarms), NONMEMBERS, 0.95)
    assert made.false_positives == alarms
    assert made.rate == alarms / 400
    # Clopper and Pearson's limits as quantiles of the beta distribution.
    low = beta.ppf(0.025, alarms, 401 - alarms) if alarms else 0.0
    high = beta.ppf(0.975, alarms + 1, 400 - alarms) if alarms < 400 else 1.0
    assert made.interval == pytest.approx((low, high))


def test_a_paragraph_says_what_was_measured_and_what_it_means() -> None:
    made = inference(signs(399.5), NONMEMBERS, 0.95)
    assert made.text == (
        "a.png is none of the audit's records. Of 400 non-members of the audit, 0 "
        "score as high (0.0%, 95% interval 0.0% to 0.9%). A model that never saw it "
        "knows it as well with probability 0.002. That is a strong sign that it was "
        "used in training: of records like the audit's non-members, at most 0.9% score "
        "so high without having been used."
    )


@pytest.mark.parametrize(
    ("highest", "p", "words"),
    [
        (0.01, 0.01, "That is a strong sign"),
        (0.0101, 0.001, "That is a sign"),
        (0.001, 0.0101, "That is a sign"),
        (0.05, 0.05, "That is a sign"),
        (0.0501, 0.001, "That is no sign"),
        (0.001, 0.0501, "That is no sign"),
        (0.01, None, "That is a strong sign"),
    ],
)
def test_both_signs_must_be_clear(highest: float, p: float | None, words: str) -> None:
    assert conclusion(highest, p).startswith(words)


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ("member", "and the model was trained on it"),
        ("nonmember", "and the model was not trained on it"),
        ("population", "one of the audit's population, and the model was not"),
    ],
)
def test_of_the_audits_own_records_the_truth_is_said(known: Known, words: str) -> None:
    text = inference(signs(399.5, known), NONMEMBERS, 0.95).text
    assert words in text
    assert "sign" not in text


def test_without_references_there_is_no_p_value() -> None:
    text = inference(signs(399.5, p=None), NONMEMBERS, 0.95).text
    assert "never saw it" not in text


def test_inferences_survive_json() -> None:
    made = Inferences(
        audit="digits",
        grade="high",
        attack="rmia_offline",
        nonmembers=400,
        confidence=0.95,
        records=(inference(signs(7.0), NONMEMBERS, 0.95),),
    )
    assert Inferences.model_validate_json(made.model_dump_json(by_alias=True)) == made
