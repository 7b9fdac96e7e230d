"""HTML: the page of an audit, one file that needs no other.

No script, no request: the page forbids both to the browser, so that no text of an
audit can bring one in. All text is escaped on its way into the template.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline import texts
from pipeline.attacks import catalogue
from pipeline.config import About
from pipeline.findings.advice import Source, advice
from pipeline.findings.curves import Band, Curve, band, histogram, roc
from pipeline.findings.schema import Ends, Growth, Slice
from pipeline.pages import answers, plots
from pipeline.pages.content import Content, recipe, toml

HERE = Path(__file__).parent
TEMPLATE, STYLE = "report.html.j2", "style.css"
# How the fields of [about] are called in the annex.
ABOUT = {
    "name": "model",
    "owner": "who answers for it",
    "purpose": "purpose",
    "personal_data": "type of personal data",
    "data": "origin of the data",
    "release": "who will have access",
    "recipe": "how it was trained",
    "auditor": "audited by",
    "date": "date",
    "notes": "notes",
}
# What is left to those who decide.
DECISION = ("decision and reasons", "decided by, on", "to be tested again when")
BAND_POINTS = 24
BINS = 40
MOST_SLICES = 30  # of a kind that are shown; of more, the most exposed
ROUND_TENTHS = 0.0095  # shares from here on have one digit of a percent, others two
TINIEST_LOSS = 1e-12  # nats; what is smaller is drawn as that
NOTHING = "\N{EN DASH}"
HARD_SPACE = "\N{NO-BREAK SPACE}"


def rendered(template: str, **values: Any) -> str:
    """Return a page as HTML, with the style that all pages share.

    Args:
        template: name of its file.
        values: that it shows, by their names there.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = {
        "three": three,
        "percent": percent,
        "figure": figure,
        "rate": rate,
        "signed": signed,
        "points": points,
        "p": p_value,
        "bar": bar,
        "cite": cite,
    }
    environment.filters.update(filters)
    style = Markup((HERE / STYLE).read_text(encoding="utf-8"))
    return environment.get_template(template).render(style=style, **values)


def page(content: Content) -> str:
    """Return the page of an audit as HTML."""
    report = content.report
    return rendered(
        TEMPLATE,
        content=content,
        report=report,
        headline=answers.headline(report),
        answers=answers.answers(report, content.threshold),
        advice=advice(report),
        grades=answers.GRADES,
        meanings=answers.MEANINGS,
        families=answers.families(report),
        assumptions=answers.ASSUMPTIONS,
        bounds=answers.BOUNDS,
        not_run=answers.not_run(report),
        other_attacks=answers.NOT_RUN,
        strongest_name=catalogue.STRONGEST,
        slices=dict(shown_slices(report.slices.kinds)),
        counts_units=content.unit is not None,
        config=toml(content.config),
        network=content.config.get("target", {}).get("network"),
        recipe=recipe(content.config),
        about=report.about.model_dump(),
        about_labels=ABOUT,
        blanks=blanks(report.about),
        **pictures(content),
    )


def blanks(about: About) -> list[str]:
    """Return what the config does not say, to be filled in by hand."""
    said = about.model_dump(exclude_none=True)
    missing = [label for name, label in ABOUT.items() if name not in (*said, "notes")]
    return [*missing, *DECISION]


def visible(value: Any) -> Any:
    """Return a value as the template shows it; see `texts.visible`."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return texts.visible(value)
    return value


def pictures(content: Content) -> dict[str, Markup | None]:
    """Return the pictures of the page by name; None of what was not measured."""
    report, member = content.report, content.member
    chosen = report.strongest.chosen or ""
    score = content.score[chosen]
    n_others = int((~member).sum())
    shown = list(drawn_attacks(content))
    curves = {name: roc(content.score[name], member) for name in shown}
    strongest = report.strongest
    at_one = strongest.tpr_at_fpr["0.01"].value
    low_end = "" if at_one is None else f" It finds {at_one:.1%} at 1% false positives."
    return {
        "roc": plots.roc(
            curves,
            [band(score, member, report.confidence, BAND_POINTS, content.unit)],
            leak=plots.Rule(content.threshold, float(member.mean())),
            smallest=1 / n_others,
            caption=plots.Caption(
                "roc",
                "Members found against non-members taken for members",
                f"ROC curves of {', '.join(shown)} on logarithmic axes, with the line "
                f"of chance. The AUC of {chosen} is {strongest.auc:.3f}.{low_end}",
            ),
        ),
        "distribution": plots.histograms(
            histogram(score, member, BINS),
            label=f"score of {chosen} (higher: likelier a member)",
            caption=plots.Caption(
                "scores",
                f"Scores of {chosen} on members and on non-members",
                "Two histograms. The less they overlap, the easier members are told "
                f"from non-members: a member scores above a non-member in "
                f"{strongest.auc:.0%} of all pairs.",
            ),
            threshold=strongest.threshold,
        ),
        "losses": _losses(content),
        "growth": _growth(content),
        "reliability": _reliability(content),
    }


def drawn_attacks(content: Content) -> Iterator[str]:
    """Yield the chosen attack, the loss, and the best references and learned one."""
    chosen = content.report.strongest.chosen or ""
    yield chosen
    if "loss" in content.score and chosen != "loss":
        yield "loss"
    for attack in answers.families(content.report):
        if attack.family in ("reference", "learned") and attack.method != chosen:
            yield attack.method


def _losses(content: Content) -> Markup:
    loss = np.log10(np.maximum(content.loss, TINIEST_LOSS))
    member = content.member
    middle = [float(10 ** np.median(loss[side])) for side in (member, ~member)]
    return plots.histograms(
        histogram(loss, member, BINS),
        label="loss of the target, log10 of nats (lower: surer of the right class)",
        caption=plots.Caption(
            "losses",
            "Loss of the target on members and on non-members",
            f"Two histograms of the loss. The median is {middle[0]:.2g} nats on "
            f"members and {middle[1]:.2g} nats on non-members.",
        ),
    )


def _growth(content: Content) -> Markup | None:
    points = content.report.growth
    if not points:
        return None
    attacks = dict.fromkeys(point.attack for point in points)
    # The one that the outlook speaks of stands first and is always shown.
    outlook = content.report.outlook
    first = outlook.attack if outlook else next(iter(attacks))
    shown = sorted(attacks, key=lambda attack: attack != first)[: len(plots.SERIES)]
    curves = {
        attack: _grown([point for point in points if point.attack == attack])
        for attack in shown
    }
    said = outlook.sentence if outlook else ""
    return plots.growth(
        curves,
        plots.Caption(
            "growth",
            "AUC by the number of references",
            f"Curves of {', '.join(shown)}, each with its interval. {said}",
        ),
    )


def _grown(points: Sequence[Growth]) -> tuple[Curve, Band]:
    """Return an attack's AUCs by the number of references, and their intervals."""
    references = np.array([point.references for point in points], dtype=np.float64)
    auc = np.array([point.auc for point in points])
    low, high = np.array([point.auc_interval for point in points]).T
    return Curve(references, auc), Band(references, low, high)


def _reliability(content: Content) -> Markup | None:
    calibration = content.report.drivers.calibration
    if calibration is None:
        return None
    sides = {"members": calibration.members, "non-members": calibration.nonmembers}
    return plots.reliability(
        {
            side: Curve(
                np.array([part.confidence for part in of_side.bins]),
                np.array([part.accuracy for part in of_side.bins]),
            )
            for side, of_side in sides.items()
        },
        plots.Caption(
            "reliability",
            "How often the target is right against how sure it is",
            f"On members it is sure by {calibration.members.confidence:.0%} and right "
            f"for {calibration.members.accuracy:.0%}, on non-members by "
            f"{calibration.nonmembers.confidence:.0%} and "
            f"{calibration.nonmembers.accuracy:.0%}.",
        ),
    )


def shown_slices(
    kinds: dict[str, tuple[Slice, ...]],
) -> Iterator[tuple[str, list[Slice]]]:
    """Yield each kind of slice with its slices, the most exposed first."""
    for kind, parts in kinds.items():
        by_auc = sorted(parts, key=lambda part: -(part.auc or 0.0))
        yield kind, by_auc[:MOST_SLICES]


# Filters of the template


def three(value: float | None) -> str:
    """Return a number with three digits after the point."""
    return NOTHING if value is None else f"{value:.3f}"


def percent(value: float | None) -> str:
    """Return a share in percent, with digits as far as they say something."""
    if value is None:
        return NOTHING
    text = f"{100 * value:.{1 if value >= ROUND_TENTHS else 2}f}"
    return text.rstrip("0").rstrip(".") + "%"


def figure(value: float | None, interval: Ends | None) -> Markup:
    """Return a number followed by its interval."""
    return _with_interval(three, value, interval)


def rate(value: float | None, interval: Ends | None) -> Markup:
    """Return a share in percent followed by its interval."""
    return _with_interval(percent, value, interval)


def signed(value: float, interval: Ends) -> Markup:
    """Return a difference with its sign, followed by its interval."""
    return _with_interval(_signed, value, interval)


def points(value: float, interval: Ends | None) -> Markup:
    """Return a difference of shares in points of percent, and its interval if any."""
    return _with_interval(_points, value, interval)


def _signed(value: float | None) -> str:
    return NOTHING if value is None else texts.signed(value, 3)


def _points(value: float | None) -> str:
    return NOTHING if value is None else texts.signed(100 * value, 1)


def _with_interval(
    show: Callable[[float | None], str], value: float | None, interval: Ends | None
) -> Markup:
    if value is None or interval is None:
        return Markup("{}").format(show(value))
    low, high = map(show, interval)
    return Markup('{} <span class="i">{} to {}</span>').format(show(value), low, high)


def p_value(value: float | None) -> str:
    """Return a p-value as one reads it."""
    if value is None:
        return NOTHING
    return f"<{HARD_SPACE}0.001" if value < 0.001 else f"{value:.3f}"


def bar(value: float | None, interval: Ends | None) -> Markup:
    """Return a number in [0, 1] and its interval as a small picture."""
    if value is None or interval is None:
        return Markup("")
    low, high = interval
    return Markup(
        '<svg class="bar" viewBox="0 0 100 12" preserveAspectRatio="none" '
        'aria-hidden="true"><path d="M50 0V12" stroke="var(--line)"/>'
        '<path d="M{:.1f} 6H{:.1f}" stroke="var(--series-1)" stroke-width="2"/>'
        '<path d="M{:.1f} 1V11" stroke="var(--series-1)" stroke-width="3"/></svg>'
    ).format(100 * low, 100 * high, 100 * value)


def cite(source: Source) -> str:
    """Return where a claim stands."""
    number = source.place[:4].isdigit()
    place = f"arXiv:{source.place}" if number else source.place
    return f"{source.authors}, {source.title}, {place}"
