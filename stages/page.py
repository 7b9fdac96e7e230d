"""Make the page of an audit, and the card for the model, from its report."""

import os
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import cli
from pipeline.cache import arrays, documents, files, keys, kinds, summaries, tables
from pipeline.cache.stages import CARD, PAGE, TIMINGS
from pipeline.cache.stamps import Job, chain
from pipeline.config import Data
from pipeline.config import Report as Settings
from pipeline.data import modules, sources
from pipeline.data.sources import Inputs
from pipeline.errors import AuditError
from pipeline.findings.report import SCORE
from pipeline.findings.schema import Report
from pipeline.pages import thumbnails
from pipeline.pages.card import card
from pipeline.pages.content import Content, Exposed, ExposedUnit, most_exposed
from pipeline.pages.html import page
from pipeline.statistics import units
from pipeline.statistics.units import Units


def compute(job: Job) -> str:
    """Write report.html, report.md, then their digests."""
    content = read(job)

    folder = job.folder("page")
    html, markdown = page(content), card(content)
    files.write_text(folder / PAGE, html)
    files.write_text(folder / CARD, markdown)
    digests = summaries.Page(
        report_sha256=content.report_sha256,
        files={name: files.sha256(folder / name) for name in (PAGE, CARD)},
    )
    documents.write(job.artifact("page"), digests, key=job.key, origin=job.origin)
    return f"{folder / PAGE}, {len(html.encode()) / 1e6:.1f} MB"


def read(job: Job) -> Content:
    """Read all that the page is made from."""
    settings = job.section(Settings)
    report = documents.upstream(job, "report", Report)
    scores = arrays.upstream(job, "attack", kinds.Scores)
    records = arrays.upstream(job, "records", kinds.Records)
    table = table_of(job, tables.RECORDS)
    judged = scores.evaluation
    rows = most_exposed(table["rank"], table["member"])
    shown, unseen = seen(
        job.section(Data) if settings.thumbnails else None, records, table["id"][rows]
    )
    return Content(
        report=report,
        report_sha256=digest_of_report(job),
        threshold=settings.threshold,
        member=scores.member[judged],
        unit=units.of(unit_of(records), judged),
        score={
            method.decode(): score[judged]
            for method, score in zip(scores.method, scores.score, strict=True)
        },
        loss=scores.loss[judged],
        exposed=tuple(
            exposed(table, row, record) for row, record in zip(rows, shown, strict=True)
        ),
        exposed_units=()
        if report.units is None
        else exposed_units(table_of(job, tables.UNITS)),
        unseen=unseen,
        config=job.settings(),
        keys={stage: job.key_of(stage) for stage in chain("page")},
        seconds=seconds(job),
        machine=machine(),
    )


def table_of(job: Job, name: str) -> dict[str, NDArray[Any]]:
    """Return the columns of a table of the report, the attacks' scores left out."""
    return tables.read(
        job.folder("report"),
        name,
        key=job.key_of("report"),
        fix=job.remake("report"),
        wanted=lambda column: not column.startswith(SCORE),
    )


def unit_of(records: kinds.Records) -> Units:
    """Return the units of the audited records; None if each stands for itself."""
    unit = records.shared_unit
    return units.shared(units.of(unit, ~records.population))


def digest_of_report(job: Job) -> str:
    """Return the digest that report.json holds of its own content."""
    return keys.digest(documents.checked(job.artifact("report"), job.remake("report")))


def exposed(
    table: Mapping[str, NDArray[Any]], row: int, record: Inputs | None
) -> Exposed:
    """Return a member as the page shows it.

    Args:
        table: the columns of the table of the records.
        row: its row there.
        record: its inputs; None if they are not to be shown.
    """
    picture = None if record is None else thumbnails.picture(record)
    return Exposed(
        id=int(table["id"][row]),
        label=int(table["label"][row]) if "label" in table else None,
        group=str(table["group"][row]) if "group" in table else None,
        unit=str(table["unit"][row]) if "unit" in table else None,
        canary=bool(table["canary"][row]),
        posterior=float(table["posterior"][row]),
        p_value=number(table["p_value"][row]),
        picture=picture,
        values=None if record is None or picture else thumbnails.values(record),
    )


def exposed_units(table: Mapping[str, NDArray[Any]]) -> tuple[ExposedUnit, ...]:
    """Return the most exposed units that the target knows, as the page shows them."""
    return tuple(
        ExposedUnit(
            id=str(table["unit"][row]),
            records=int(table["records"][row]),
            p_value=number(table["p_value"][row]),
            flagged=bool(table["flagged"][row]),
        )
        for row in most_exposed(table["rank"], table["side"] != "nonmember")
    )


def number(value: float) -> float | None:
    """Return a number; None of NaN, which stands for what is not known."""
    return None if np.isnan(value) else float(value)


def seen(
    data: Data | None, records: kinds.Records, ids: NDArray[np.int64]
) -> tuple[list[Inputs | None], str | None]:
    """Return the inputs of records, or why there are none.

    The page can do without them: MindSpore may be gone, or the data moved.

    Args:
        data: the source; None: they are not to be shown.
        records: of the audit.
        ids: (n_shown,) of the records, in any order.
    """
    nothing: list[Inputs | None] = [None] * len(ids)
    if data is None:
        return nothing, "[report] thumbnails = false"
    order = np.argsort(ids)
    try:
        if data.source == "arrays":
            every = sources.inputs(data, int(records.n_source))
            if every is None:
                return nothing, "the file of arrays holds no inputs"
            return [(every[i],) for i in ids], None
        rows = np.searchsorted(records.id, ids[order])
        block = next(sources.blocks(data, [ids[order]], [records.content[rows]]))
    except (AuditError, ImportError) as error:
        return nothing, f"they cannot be read here ({reason(error)})"
    return [
        tuple(column[place] for column in block) for place in np.argsort(order)
    ], None


def reason(error: Exception) -> str:
    """Return an error in a few words, without the paths of this machine."""
    if isinstance(error, AuditError):
        return str(error.args[1])
    return modules.summary(error)


def machine() -> str:
    """Return the system, the architecture and the number of processors."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"


def seconds(job: Job) -> dict[str, float]:
    """Return how long the attacks took; nothing if that is not known."""
    path = job.folder("attack") / TIMINGS
    try:
        return documents.read(
            path, summaries.Timings, key=job.key_of("attack"), fix=""
        ).seconds
    except AuditError:
        return {}


if __name__ == "__main__":
    cli.stage(compute, __doc__)
