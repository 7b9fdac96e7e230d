"""JUnit: what became of a gate's limits, as XML that release pipelines read."""

import re
from xml.etree import ElementTree as xml

from pipeline.findings.gate import Gate

# What XML 1.0 cannot hold, escaped or not.
ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def junit(gate: Gate) -> str:
    """Return a test suite with a test case for each limit.

    A limit that is broken is a failure, one that cannot be measured is an error.

    Args:
        gate: of the audit.
    """
    status = [outcome.status for outcome in gate.outcomes]
    counts = {
        "tests": str(len(status)),
        "failures": str(status.count("broken")),
        "errors": str(status.count("not measurable")),
    }
    name = _legal(f"gate of {gate.audit}")
    root = xml.Element("testsuites", counts)
    suite = xml.SubElement(root, "testsuite", {"name": name, **counts})
    for outcome in gate.outcomes:
        case = xml.SubElement(
            suite, "testcase", {"classname": name, "name": _legal(outcome.limit)}
        )
        allowed = f"{outcome.limit} = {outcome.allowed}"
        if outcome.status == "kept":
            xml.SubElement(case, "system-out").text = _legal(outcome.text)
        else:
            kind = "failure" if outcome.status == "broken" else "error"
            about = {"type": outcome.status, "message": _legal(outcome.text)}
            xml.SubElement(case, kind, about).text = _legal(allowed)
    xml.indent(root)
    text = xml.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _legal(text: str) -> str:
    return ILLEGAL.sub(REPLACEMENT, text)
