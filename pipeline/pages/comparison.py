"""Comparison: the page of two audits of the same records."""

from markupsafe import Markup

from pipeline.findings.comparison import Audit, Comparison, Judged, headline
from pipeline.findings.curves import band, roc
from pipeline.pages import plots
from pipeline.pages.html import BAND_POINTS, rendered
from pipeline.texts import visible

TEMPLATE = "compare.html.j2"
LONGEST = 24  # characters of a name in a legend


def page(comparison: Comparison, first: Audit, second: Audit, judged: Judged) -> str:
    """Return the page of a comparison as HTML.

    Args:
        comparison: of the audits.
        first: audit.
        second: audit.
        judged: the records that both judge.
    """
    return rendered(
        TEMPLATE,
        comparison=comparison,
        headline=headline(
            comparison.strongest,
            comparison.confidence,
            same_outputs=comparison.same_outputs,
        ),
        labels=(label("A", first.name), label("B", second.name)),
        roc=curves(comparison, first, second, judged),
    )


def label(letter: str, name: str) -> str:
    """Return how an audit is called in a legend and in the heads of tables."""
    shown = visible(name)
    return f"{letter}, {shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + '…'}"


def curves(
    comparison: Comparison, first: Audit, second: Audit, judged: Judged
) -> Markup:
    """Return the ROC curves of the chosen attack of both audits in one picture."""
    scores = {
        label(letter, audit.name): audit.score[audit.row(audit.chosen)][judged.rows]
        for letter, audit in (("A", first), ("B", second))
    }
    auc = comparison.strongest.auc
    return plots.roc(
        {name: roc(score, judged.member) for name, score in scores.items()},
        [
            band(score, judged.member, comparison.confidence, BAND_POINTS, judged.unit)
            for score in scores.values()
        ],
        leak=None,
        smallest=1 / comparison.nonmembers,
        caption=plots.Caption(
            "roc",
            "Members found against non-members taken for members, of both audits",
            f"ROC curves of {' and '.join(scores)} on logarithmic axes, with the line "
            f"of chance. The AUC is {auc.first:.3f} and {auc.second:.3f}.",
        ),
    )
