"""Contents of pages made by hand, for the tests of what shows them."""

from typing import Any

import numpy as np

from pipeline.findings.schema import AttackFigures
from pipeline.pages.content import Content, Exposed, ExposedUnit
from tests import reports
from tests.reports import attack

# What a name may hold: markup, quotes, Markdown, control characters, a direction that
# is never ended, and no place to break.
HOSTILE = (
    "<script>alert(1)</script>",
    "\"onload='alert(1)",
    "{{ 7 * 7 }} {% raw %}",
    "=1+1 | `x` [a](b) *c*",
    "\x1b[31mred\x07\x00",
    "\N{RIGHT-TO-LEFT OVERRIDE}dlrow olleh \N{ARABIC LETTER ALEF}",
    "w" * 400,
)


def exposed(**changed: Any) -> Exposed:
    fields: dict[str, Any] = {
        "id": 17,
        "label": 3,
        "group": None,
        "unit": None,
        "canary": False,
        "posterior": 0.98,
        "p_value": 0.0004,
        "picture": None,
        "values": None,
    }
    return Exposed(**{**fields, **changed})


def content(*attacks: AttackFigures, n_records: int = 200, **changed: Any) -> Content:
    """Return a page's content; what is changed of the report has its own names."""
    rng = np.random.default_rng(0)
    attacks = attacks or (attack("loss", family="threshold"), attack("lr"))
    member = np.arange(n_records) % 2 == 0
    fields: dict[str, Any] = {
        "report_sha256": 64 * "b",
        "threshold": 0.6,
        "member": member,
        "unit": None,
        "score": {each.method: rng.normal(size=n_records) + member for each in attacks},
        "loss": np.exp(rng.normal(size=n_records) - member),
        "exposed": (exposed(), exposed(id=18, p_value=None, canary=True)),
        "exposed_units": (),
        "unseen": "[report] thumbnails = false",
        "config": {
            "data": {"source": "digits", "members": 100, "mean": None},
            "target": {"network": "cnn", "training": {"epochs": 2}},
        },
        "keys": {"records": 64 * "c", "report": 64 * "d"},
        "seconds": {"loss": 0.5, "lr": 1.25},
        "machine": "Linux x86_64, 2 processors",
    }
    own = {name: changed.pop(name) for name in [*changed] if name in fields}
    report = reports.report(*attacks, **changed)
    return Content(report=report, **{**fields, **own})


def hostile() -> Content:
    """Return a content in which every text of a user's is hostile."""
    text = " ".join(HOSTILE)
    about = reports.report(attack()).about
    parts = tuple(reports.piece(value, 0.7) for value in HOSTILE)
    slices = reports.report(attack()).slices.model_copy(
        update={"kinds": {"group": parts}}
    )
    return content(
        audit=text,
        about=about.model_copy(update=dict.fromkeys(type(about).model_fields, text)),
        slices=slices,
        exposed=tuple(
            exposed(id=i, group=each, unit=each) for i, each in enumerate(HOSTILE)
        ),
        exposed_units=tuple(ExposedUnit(each, 1, None, False) for each in HOSTILE),
        unseen=text,
        config={"data": {"source": text}, "target": {"network": text}},
        machine=text,
    )
