import pytest

from pipeline.texts import cell, signed, visible


def test_control_characters_are_replaced_and_no_others() -> None:
    assert visible("\x1b[31mred\x00\x9b") == "\ufffd[31mred\ufffd\ufffd"
    kept = "a\tb\nc ä \N{ARABIC LETTER ALEF}"
    assert visible(kept) == kept
    shown = visible("".join(map(chr, range(0x110))))
    assert {*map(ord, shown)} == {9, 10, *range(32, 127), *range(160, 0x110), 0xFFFD}


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-1\n", "-a", "@SUM(1)", "\t=1", "\r=1"]
)
def test_a_formula_is_a_text(text: str) -> None:
    assert cell(text)[0] == "'"
    assert cell(text)[1:] == visible(text)


def test_other_text_stays_as_it_is() -> None:
    for text in ("a=1", "-17", "+1"):
        assert cell(text) == text
    assert cell("") == ""


@pytest.mark.parametrize(
    ("value", "shown"),
    [(-0.0004, "+0.000"), (-0.0006, "-0.001"), (0.0004, "+0.000"), (1.25, "+1.250")],
)
def test_a_sign_is_shown_and_zero_is_not_below_itself(value: float, shown: str) -> None:
    assert signed(value, 3) == shown
