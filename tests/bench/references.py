"""References: trained by a process on each processor, beside one process."""

from typing import Any

from tests.bench import configs
from tests.bench.pairs import alternated, put, tell
from tests.bench.workspace import PROJECT, Workspace

AUDIT = "digits"


def measure(space: Workspace) -> dict[str, Any]:
    """Return the ratio of times for the references of the demonstration."""
    found: dict[str, Any] = {}
    text = (PROJECT / "configs" / "digits.toml").read_text(encoding="utf-8")
    text = text.replace("#:schema schema.json\n", "")
    space.config(AUDIT, configs.replaced(text, space.size.digits))
    space.make(AUDIT, "target")

    def trained(ranks: int) -> float:
        space.forget(AUDIT, "references")
        return space.make(AUDIT, "references", RANKS=str(ranks))

    ranks = space.size.ranks
    runs = alternated(space.pairs, lambda: trained(ranks), lambda: trained(1))
    tell(found, "references.over_serial", [serial / ours for ours, serial in runs])
    put(found, "references.seconds", {"ranks": ranks, "pairs": runs})
    return found
