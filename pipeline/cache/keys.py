"""Keys: the digest of all that decides what is cached, made here for every kind.

A key holds the version of its kind, the settings that are read, the keys or digests of
what it is computed from, and what it ran on: the device, and the versions of the
libraries whose numbers it holds. What does not decide a number is in no key: words,
comments, the places of files.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any


@dataclass(frozen=True)
class Kind:
    """Something cached, large or small."""

    # Raised by hand when the program computes other numbers or writes another form;
    # tests/test_golden.py notices where this is forgotten.
    version: int
    libraries: tuple[str, ...]  # whose versions may change its numbers


LEARNERS = ("scikit-learn", "scikit-learn-intelex")
KINDS = {
    # The artifacts of the stages.
    "records": Kind(6, ("numpy",)),
    "blind": Kind(3, ("numpy", "scipy", "scikit-learn")),
    "split": Kind(4, ("numpy",)),
    "target": Kind(2, ()),
    "references": Kind(2, ("numpy",)),
    "features": Kind(5, ("numpy",)),
    "attack": Kind(9, ("numpy", "scipy", *LEARNERS)),
    "report": Kind(15, ("numpy", "scipy", "scikit-learn")),
    "page": Kind(2, ("numpy", "scipy", "matplotlib", "jinja2")),
    # What they are made of, cached one by one.
    "checkpoint": Kind(2, ("numpy",)),
    "outputs": Kind(2, ("numpy",)),
    "signals": Kind(1, ("numpy", "scipy")),
    "fit": Kind(1, ("numpy", "scipy", "scikit-learn")),
    "accelerated": Kind(1, ("numpy", "scipy", *LEARNERS)),  # fits
}
# Whose version counts where a device is named.
ON_DEVICE = "mindspore"
DEVICE = "device"


def content(
    kind: str,
    *,
    settings: Mapping[str, Any],
    inputs: Mapping[str, Any],
    device: str | None = None,
) -> dict[str, Any]:
    """Return all that decides something cached, as JSON.

    Args:
        kind: one of `KINDS`.
        settings: that are read, paths left out.
        inputs: keys and digests of what it is computed from.
        device: that a network runs on; None without.
    """
    return {
        "kind": kind,
        "version": KINDS[kind].version,
        "settings": dict(settings),
        "inputs": dict(inputs),
        "origin": origin(kind, device),
    }


def key(
    kind: str,
    *,
    settings: Mapping[str, Any],
    inputs: Mapping[str, Any],
    device: str | None = None,
) -> str:
    """Return the key of something cached; see `content`."""
    return digest(content(kind, settings=settings, inputs=inputs, device=device))


def origin(kind: str, device: str | None = None) -> dict[str, str]:
    """Return what the numbers of a kind run on: device and versions, by name."""
    names = KINDS[kind].libraries
    versions = {name: installed(name) for name in names}
    if device is not None:
        versions |= {DEVICE: device, ON_DEVICE: installed(ON_DEVICE)}
    return dict(sorted(versions.items()))


@cache
def installed(name: str) -> str:
    """Return the version of a library, without importing it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of JSON, in hexadecimal."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def canonical(content: Mapping[str, Any]) -> str:
    """Return JSON that is the same text for the same content."""
    return json.dumps(content, indent=1, sort_keys=True) + "\n"
