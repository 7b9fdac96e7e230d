"""Texts: what users wrote, made safe to show."""

import re

# Control characters but the tab and the line feed: nobody sees them, terminals obey
# some of them.
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# What a spreadsheet takes for the start of a formula; whole numbers are harmless.
FORMULA = re.compile(r"[=@\t\r\n]|[+-](?![0-9]+\Z)")


def signed(value: float, digits: int) -> str:
    """Return a number with its sign; what rounds to zero is never below it."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def visible(text: str) -> str:
    """Return a text with its control characters replaced by a sign that is seen."""
    return CONTROLS.sub(REPLACEMENT, text)


def cell(text: str) -> str:
    """Return a text that no spreadsheet computes.

    An apostrophe before it makes it a text there, as OWASP advises against CSV
    injection.
    """
    return f"'{visible(text)}" if FORMULA.match(text) else visible(text)
