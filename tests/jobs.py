"""Jobs of stages whose stamps hold no more than a test needs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.cache import keys
from pipeline.cache.stages import STAGES
from pipeline.cache.stamps import Job

NOTHING: dict[str, Any] = {"stages": {}, "files": {}, "parts": {}}


def job(
    stage: str,
    run: Path,
    settings: Mapping[str, Any] | None = None,
    paths: Mapping[str, str] | None = None,
) -> Job:
    """Return the job of a stage that has these settings."""
    stamps = {
        name: keys.content(
            name, settings=(settings or {}) if name == stage else {}, inputs=NOTHING
        )
        for name in STAGES
    }
    return Job(stage, run, stamps, {"arguments": "CONFIG=x.toml", **(paths or {})})
