"""Roster: runs the attacks of the catalogue by name, and says what they lack."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.attacks import catalogue
from pipeline.attacks.view import Scored, View
from pipeline.errors import LacksError

# What is said of an attack that reads what is not there.
UNKNOWN: dict[catalogue.Part, str] = {
    "logits": "needs logits, and there are margins alone",
    "labels": "needs labels, and there are none",
}


def lack(
    name: str,
    in_models: NDArray[np.bool_],
    unknown: frozenset[catalogue.Part] = frozenset(),
) -> str | None:
    """Say what an attack, or a feature of learned attacks, lacks.

    Args:
        name: an attack, or one of `catalogue.features`.
        in_models: (n_models, n_records) whether a reference was trained on a record.
        unknown: what is not known of the target, as `View.unknown`.

    Returns:
        A sentence without its subject; None if nothing is lacking.
    """
    for part in catalogue.reads(name):
        if part in unknown:
            return UNKNOWN[part]
    needs = catalogue.needs(name)
    if needs is None:
        return None
    if not len(in_models):
        return "needs references, and there are none"
    count = in_models.sum(axis=0)
    most = {"IN": count.max(), "OUT": len(in_models) - count.min()}
    if needs.sides == "OUT":
        del most["IN"]
    elif needs.sides == "IN or OUT":
        most = {"IN or OUT": max(most.values())}
    for side, most_models in most.items():
        if most_models < needs.n_models:
            references = f"{needs.n_models} reference{'s' * (needs.n_models > 1)}"
            return (
                f"needs {references} that a record is {side} of, "
                f"and no record has more than {most_models}"
            )
    return None


def score(name: str, view: View) -> Scored:
    """Run an attack, with memberships of the target only if it is to be informed.

    Args:
        name: of the catalogue.
        view: what there is to look at.

    Raises:
        LacksError: if it lacks something, as `lack` says, or all references are alike.
    """
    # A copy of a million records' references is large.
    is_whole = view.audited.all()
    in_models = view.in_models if is_whole else view.in_models[:, view.audited]
    if reason := lack(name, in_models, view.unknown):
        raise LacksError(reason)
    entry = catalogue.ATTACKS[name]
    informed = entry.informed
    if isinstance(informed, str):
        informed = bool(_function(informed)(view.withheld))
    scored: Scored = _function(entry.function)(view if informed else view.withheld)
    return scored._replace(informed=informed)


def _function(path: str) -> Callable[[View], Any]:
    """Return a function that the catalogue names as "module:function"."""
    module, _, function = path.partition(":")
    named: Callable[[View], Any] = getattr(
        import_module(f"pipeline.attacks.{module}"), function
    )
    return named
