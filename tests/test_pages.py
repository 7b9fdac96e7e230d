import re
import sys
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pytest

from pipeline.findings.schema import Report, Sizes, Units
from pipeline.pages import html
from pipeline.pages.card import card, plain
from pipeline.pages.content import Content, ExposedUnit, most_exposed, recipe, toml
from tests import reports
from tests.pages import HOSTILE, content, exposed, hostile
from tests.reports import NONE, attack, controls

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BLOCKS = {"p", "dt", "dd", "th", "td", "tr", "li", "br", "h1", "h2", "h3", "caption"}
VOID = {"meta", "link", "br", "img", "path", "use"}


class Tree(HTMLParser):
    """The elements of a page, checked for being closed in order, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text += " " if tag in BLOCKS else ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


@cache
def usual() -> str:
    return html.page(content())


def words(made: Content | None = None) -> str:
    page = usual() if made is None else html.page(made)
    return " ".join(Tree(page).text.split())


def test_every_element_is_closed_in_order() -> None:
    assert len(Tree(usual()).tags) > 300


def test_the_page_forbids_scripts_and_requests_and_has_none() -> None:
    tree = Tree(usual())
    (policy,) = [a["content"] for _, a in tree.tags if "http-equiv" in a]
    assert policy is not None
    assert policy.startswith(
        "default-src 'none'; style-src 'unsafe-inline'; img-src da"
    )
    assert not [tag for tag, _ in tree.tags if tag in ("script", "iframe", "object")]
    links = [a.get("href") or a.get("src") for _, a in tree.tags]
    assert {link[:5] for link in links if link and link[0] != "#"} == {"data:"}


def test_a_name_that_looks_like_markup_stays_text() -> None:
    page = html.page(hostile())
    tree = Tree(page)
    assert not [tag for tag, _ in tree.tags if tag == "script"]
    handlers = [name for _, attributes in tree.tags for name in attributes]
    assert not [name for name in handlers if name.startswith("on")]
    for text in (HOSTILE[0], HOSTILE[1], HOSTILE[2], HOSTILE[3], HOSTILE[6]):
        assert tree.text.count(text) > 10, text
    assert "49" not in re.findall(r"\d+", tree.text.partition("What do")[0])


def test_control_characters_are_shown_as_a_sign_and_reach_nobody() -> None:
    for made in (html.page(hostile()), card(hostile())):
        assert not set(made) & {*map(chr, range(32))} - {"\n"}
        assert "\N{REPLACEMENT CHARACTER}[31mred" in made.replace("\\", "")


def test_the_card_keeps_markup_and_markdown_as_text() -> None:
    made = card(hostile())
    assert "<script>" not in made.replace("\\<", "")
    assert re.search(r"(?<!\\)\|", plain(HOSTILE[3])) is None
    assert plain("a\n# b") == "a \\# b"
    assert plain("[a](b) *c*") == "\\[a\\](b) \\*c\\*"


def test_the_first_screen_answers_the_questions() -> None:
    text = words().partition("What to do How sure")[0]
    for question in (
        "What do I do now? Hold the release back",
        "How bad is that? Of 5,000 training records, about 1,250",
        "How near was the threshold? Grade high needs 10%",
        "Would more references change it? From 8 to 16 references the AUC of",
        "Which model, from which data? A model. The network cnn, checkpoint aaaaaaaaa",
        "Who ran it, and when? Not stated: set auditor and date in [about]",
    ):
        assert question in text


def test_who_ran_it_and_when_is_what_the_config_says() -> None:
    about = reports.report(attack()).about
    said = about.model_copy(update={"auditor": "A. Uditor", "date": "2026-11-25"})
    text = words(content(about=said))
    assert "Who ran it, and when? A. Uditor, 2026-11-25." in text
    assert "audited by A. Uditor date 2026-11-25" in text
    left = text.partition("To be filled in")[2].partition("How it was made")[0]
    assert "audited by" not in left
    assert "type of personal data" in left
    assert "to be tested again when" in left


def test_persons_are_shown_where_records_have_them() -> None:
    units = Units(
        units=440,
        members=230,
        nonmembers=210,
        both=5,
        records_per_unit=Sizes(lowest=1, highest=6, median=3.5),
        flagged=31,
        flagged_nonmembers=2,
    )
    made = content(
        units=units,
        unit=np.arange(200) // 2,
        exposed=(exposed(unit="person 7"),),
        exposed_units=(
            ExposedUnit("person 7", 3, 0.0004, flagged=True),
            ExposedUnit("person 9", 1, None, flagged=False),
        ),
    )
    assert "non-members of 440 units were audited" in card(made)
    text = words(made)
    assert "Of 440 units, which are persons or others" in text
    assert "31 are claimed to be known to the model" in text
    assert "person 7 3 < 0.001 yes" in text
    assert f"person 9 1 {html.NOTHING} no" in text
    assert "class 3 unit person 7" in text
    assert "95% confidence, and count units, not records." in text
    assert "440 persons or other units with 1 to 6 of these records each" in text
    assert "unit" not in words().partition("Words used here")[0].lower()


def test_margins_alone_have_a_page_without_calibration_or_classes() -> None:
    made = reports.report(attack())
    margins = content(
        target=made.target.model_copy(update={"accuracy_by": "margins"}),
        drivers=made.drivers.model_copy(update={"calibration": None}),
        exposed=(exposed(label=None),),
    )
    text = words(margins)
    assert "a record counts as right if its class has more than half" in text
    assert "calibration was not measured" in text
    assert "non-members, by margins alone: its class has more than" in card(margins)
    driven = text.partition("What drives it How differently")[2]
    driven = driven.partition("Compliance annex")[0]
    assert "mean loss of the target" in driven
    assert "confidence" not in driven
    assert "calibration error" not in driven
    members = text.partition("The most exposed members")[2].partition("Words")[0]
    assert "class" not in members


def graded(grade: str, made: Report) -> dict[str, object]:
    verdict = made.verdict.model_copy(
        update={"grade": grade, "sentence": f"It is {grade}.", "reasons": ("so",)}
    )
    return {"verdict": verdict}


@pytest.mark.parametrize("grade", ["cannot tell", "none found", "low", "high"])
def test_every_grade_has_its_page_and_card(grade: str) -> None:
    made = content(**graded(grade, reports.report(attack())))
    tree = Tree(html.page(made))
    assert f"grade {grade}" in tree.text
    assert f"Grade: **{grade}**" in card(made)
    current = [tag for tag, a in tree.tags if a.get("aria-current")]
    assert current == ([] if grade == "cannot tell" else ["li"])


def test_an_audit_of_the_least_that_is_possible_has_a_page() -> None:
    lone = attack(
        "lr",
        precision=None,
        precision_interval=None,
        precision_at_base_rate=dict.fromkeys(("0.5", "0.1", "0.01")),
        tpr_at_fpr=dict.fromkeys(("0.1", "0.01", "0.001", "0.0001"), NONE),
    )
    made = reports.report(lone)
    least = content(
        lone,
        controls=controls(references=None, independence=None),
        references=made.references.model_copy(update={"count": 0, "models": ()}),
        target=made.target.model_copy(update={"checkpoint_sha256": None}),
        growth=(),
        outlook=None,
        tail=None,
        exposed=(),
        seconds={},
        config={"data": {"source": "arrays"}},
    )
    text = words(least)
    assert "Outputs of a model that ran elsewhere" in text
    assert "checkpoint (SHA-256) not known" in text
    assert "By 2, 4" not in text
    assert f"precision where 50% of all records are members {html.NOTHING}" in text
    assert "not known" in card(least)


def test_the_card_has_the_figures_of_the_page() -> None:
    made = content()
    text = card(made)
    for figure in (
        "0.751 (0.400 to 0.900)",
        "25% (12.5% to 37.5%)",
        "71.3% (40% to 90%)",
    ):
        assert figure in text
        assert figure.replace("(", "").rstrip(")") in words()
    assert "Controls that failed: none." in text
    assert "units" not in text
    assert "margins" not in text
    failed = content(controls=controls(null=reports.null(passed=False)))
    assert "Controls that failed: null." in card(failed)


def test_an_audit_of_ten_thousand_records_has_a_page_of_less_than_two_megabytes() -> (
    None
):
    methods = ("loss", "lira_online", "amortised", "lr")
    families = ("threshold", "reference", "amortised", "learned")
    attacks = [attack(m, family=f) for m, f in zip(methods, families, strict=True)]
    picture = "data:image/png;base64," + "A" * 12_000
    large = content(
        *attacks, n_records=10_000, exposed=12 * (exposed(picture=picture),)
    )
    assert 200_000 < len(html.page(large).encode()) < 2_000_000


def test_equal_contents_give_equal_bytes() -> None:
    assert html.page(content()) == usual()


def test_the_most_exposed_are_known_ones_by_rank_and_then_in_order() -> None:
    rank, known = np.array([4, 2, 2, 1]), np.array([True, True, True, False])
    assert most_exposed(rank, known) == [1, 2, 0]
    assert most_exposed(rank, known, 1) == [1]


def test_the_config_is_shown_as_toml_that_says_the_same() -> None:
    config = {
        "data": {"source": 'a "b" \\c', "members": 3, "path": None, "mean": [0.1, 2]},
        "target": {"network": "cnn", "training": {"epochs": 2, "device": "CPU"}},
        "attack": {"methods": [{"method": "lr", "params": {"C": [0.1, True]}}]},
    }
    parsed = tomllib.loads(toml(config))
    assert parsed["data"] == {"source": 'a "b" \\c', "members": 3, "mean": [0.1, 2]}
    assert parsed["target"] == config["target"]
    assert parsed["attack"] == config["attack"]
    assert recipe(config) == 'epochs = 2, device = "CPU"'
    training = {"recipe": "my.py:train", "start_allow_missing": []}
    assert recipe({"target": {"training": training}}) == 'recipe = "my.py:train"'
    assert recipe({"data": {}}) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, html.NOTHING),
        (0, "0%"),
        (1, "100%"),
        (0.1, "10%"),
        (0.352, "35.2%"),
        (0.00227, "0.23%"),
        (0.0001, "0.01%"),
        (0.01, "1%"),
    ],
)
def test_a_share_has_the_digits_that_say_something(
    value: float | None, expected: str
) -> None:
    assert html.percent(value) == expected


def test_a_slice_without_a_figure_says_why() -> None:
    text = words()
    assert f"wrong {html.NOTHING} 31 29 has records of one side only" in text
    assert html.bar(None, None) == ""


def test_the_picture_of_the_growth_has_the_aucs_themselves() -> None:
    points = [
        reports.growth(references, auc).model_copy(update={"auc_interval": ends})
        for references, auc, ends in ((8, 0.71, (0.6, 0.73)), (16, 0.75, (0.7, 0.78)))
    ]
    curve, band = html._grown(points)
    assert curve.x.tolist() == band.x.tolist() == [8, 16]
    assert curve.y.tolist() == [0.71, 0.75]
    ends = [point.auc_interval for point in points]
    assert [*zip(band.low, band.high, strict=True)] == ends
