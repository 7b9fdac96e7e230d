"""Content: all that the page and the card are made from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.findings.schema import Report
from pipeline.statistics.units import Units

SHOWN = 12  # of the most exposed members, and units


class Exposed(NamedTuple):
    """A member, and how exposed it is."""

    id: int
    label: int | None  # None: classes are not known
    group: str | None  # None: there are no groups
    unit: str | None  # None: there are no units
    canary: bool
    posterior: float
    p_value: float | None  # None: there are no models that were not trained on it
    picture: str | None  # a data URI; None: it is no image, or not to be shown
    values: str | None  # the first of its numbers; None as above


class ExposedUnit(NamedTuple):
    """A unit that the target knows, a person for instance, and how exposed it is."""

    id: str
    records: int  # that were audited
    p_value: float | None  # as of a member
    flagged: bool


@dataclass(frozen=True)
class Content:
    """An audit as its page shows it."""

    report: Report
    report_sha256: str  # of report.json's content, as it says itself
    threshold: float  # of the verdict
    member: NDArray[np.bool_]  # (n_records,) of attack-eval
    unit: Units  # (n_records,) there; None: each record stands for itself
    score: Mapping[str, NDArray[np.float64]]  # (n_records,) of each attack there
    loss: NDArray[np.float64]  # (n_records,) the target's, nats
    exposed: tuple[Exposed, ...]  # the most exposed first
    exposed_units: tuple[ExposedUnit, ...]  # likewise; empty if there are no units
    unseen: str | None  # why their inputs are not shown; None: they are
    config: Mapping[str, Mapping[str, Any]]  # the settings of each section
    keys: Mapping[str, str]  # of each stage
    seconds: Mapping[str, float]  # that the attacks took; empty if that is not known
    machine: str  # that the page was made on


def most_exposed(
    rank: NDArray[np.integer[Any]], known: NDArray[np.bool_], n_shown: int = SHOWN
) -> list[int]:
    """Return the rows of the best rank that the target knows; of equal ranks the first.

    Args:
        rank: (n_rows,) of records or units, 1 for the most exposed.
        known: (n_rows,) whether the target was trained on it.
        n_shown: how many, at most.
    """
    rows = np.flatnonzero(known)
    order = np.argsort(rank[rows], kind="stable")
    return [int(row) for row in rows[order][:n_shown]]


def toml(config: Mapping[str, Mapping[str, Any]]) -> str:
    """Return settings as a reader of a config knows them."""
    lines: list[str] = []
    for section, settings in config.items():
        lines += [*_section(section, settings), ""]
    return "\n".join(lines).rstrip() + "\n"


def recipe(config: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return by what recipe the target was trained here; None if it was not."""
    training = config.get("target", {}).get("training")
    if training is None:
        return None
    chosen = {name: value for name, value in training.items() if value != []}
    return _value(chosen)[2:-2]


def _section(name: str, settings: Mapping[str, Any]) -> list[str]:
    nested = {k: v for k, v in settings.items() if isinstance(v, Mapping)}
    plain = {k: v for k, v in settings.items() if k not in nested and v is not None}
    lines = [f"[{name}]"]
    for key, value in plain.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            lines += [f"{key} = [", *(f"  {_value(each)}," for each in value), "]"]
        else:
            lines.append(f"{key} = {_value(value)}")
    for key, inner in nested.items():
        lines += _section(f"{name}.{key}", inner)
    return lines


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = (f"{k} = {_value(v)}" for k, v in value.items() if v is not None)
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value)
