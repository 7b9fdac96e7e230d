"""Integrity: whether a report, and all that it was made from, is as it was made.

Every artifact holds the digest of its own content and the key of what it was made from,
and the digests of the files beside it are kept with its stamps. So a file that was
changed, lost, or made again from other inputs is found. Nothing here is signed: who
writes all digests anew is not found out.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pipeline.cache import arrays, documents, files, keys, kinds, stamps
from pipeline.cache.stages import STAGES
from pipeline.cache.stamps import Stamp
from pipeline.errors import AuditError

# The artifacts that hold arrays; the others are documents.
ARRAYS = {
    "records": kinds.Records,
    "split": kinds.Split,
    "references": kinds.References,
    "attack": kinds.Scores,
}
# In page.json: the digest of the report that page and card show.
OF_REPORT = "report_sha256"
GONE, CHANGED = "is not there", "is not as it was made"


class Check(NamedTuple):
    """A file of an audit, and what is wrong with it."""

    file: str  # within the folder of the artifacts
    problem: str | None


def file_of(name: str) -> Path | None:
    """Return where a file of that name lies among the artifacts; None if nowhere."""
    for stage in STAGES.values():
        if name in (stage.artifact, *stage.siblings, *stage.optional):
            return Path(stage.name) / name
    return None


def checks(run: Path, file: Path) -> Iterator[Check]:
    """Yield what is wrong with a file of an audit, and with all that it was made from.

    Args:
        run: the folder of the artifacts.
        file: within it, as `file_of` returns it.

    Raises:
        AuditError: if it is not known how the file was made.
    """
    stage = file.parent.name
    try:
        before, _ = stamps.kept(run, stage)
    except (FileNotFoundError, ValueError):
        path = stamps.made_path(run, stage)
        problem = "is missing or corrupt, so how the report was made is not known"
        raise AuditError(path, problem, f"run `make {stage}`") from None
    for name in stamps.chain(stage):
        yield Check(STAGES[name].file, _of_artifact(run, name, before))
        yield from _beside(run, name)


def _of_artifact(run: Path, stage: str, before: Mapping[str, Stamp]) -> str | None:
    path, key = run / STAGES[stage].file, keys.digest(before[stage])
    try:
        if stage in ARRAYS:
            arrays.read(path, ARRAYS[stage], key=key, fix="")
        else:
            content = documents.checked(path, "")
            files.check_key(path, content[documents.KEY], key, "")
            if OF_REPORT in content and content[OF_REPORT] != _digest_of_report(run):
                return "was made from another report"
    except AuditError as error:
        return str(error.args[1]).replace("is missing", GONE)
    return None


def _digest_of_report(run: Path) -> str | None:
    try:
        return keys.digest(documents.checked(run / STAGES["report"].file, ""))
    except AuditError:
        return None


def _beside(run: Path, stage: str) -> Iterator[Check]:
    """Yield what is wrong with the files beside an artifact."""
    try:
        _, siblings = stamps.kept(run, stage)
    except (FileNotFoundError, ValueError):
        return  # the keys tell whether the artifact itself is the one
    for name, digest in siblings.items():
        yield Check(f"{stage}/{name}", changed(run / stage / name, digest))


def changed(path: Path, digest: str) -> str | None:
    """Return what is wrong with a file that should have a digest; None if it has."""
    if not path.is_file():
        return GONE
    return None if files.sha256(path) == digest else CHANGED
