"""Memo: scores of the costliest attacks, each in a file, so that they outlast edits.

A value added to a grid changes nothing of what other attacks say; they are not run
again.
"""

import hashlib

import numpy as np

from pipeline.attacks import catalogue, roster
from pipeline.attacks.view import Scored, View
from pipeline.cache import arrays, keys
from pipeline.cache.kinds import AttackScores
from pipeline.cache.stamps import Job


class Memo:
    """Runs attacks as `roster.score` does, and keeps what costly ones say.

    Args:
        job: of the stage that runs attacks.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._folder = job.folder(job.stage) / "scores"

    def score(self, name: str, view: View) -> Scored:
        """Run an attack, unless it has run on these signals and this division.

        Args:
            name: of the catalogue.
            view: with a division.

        Raises:
            AuditError: if the file of its scores is corrupt.
            LacksError: as `roster.score`.
        """
        if not catalogue.ATTACKS[name].costly:
            return roster.score(name, view)
        key = self._key(name, view)
        path = self._folder / f"{key}.h5"
        if path.exists():
            known = arrays.read(path, AttackScores, key=key, fix=f"run `rm {path}`")
            reading = known.reading if len(known.reading) else None
            return Scored(known.score, reading, bool(known.informed[0]))
        scored = roster.score(name, view)
        reading = np.empty(0) if scored.reading is None else scored.reading
        scores = AttackScores(scored.score, reading, np.array([scored.informed]))
        arrays.write(path, scores, key=key, origin=self._job.origin)
        return scored

    def _key(self, name: str, view: View) -> str:
        # All that decides the stage's numbers, and of its settings those that are read.
        settings = {"name": name, "seed": view.seed, "max_fit": view.max_fit}
        stamp = self._job.stamps[self._job.stage]
        inputs = {**stamp["inputs"], "view": digest(view)}
        return keys.digest({**stamp, "settings": settings, "inputs": inputs})


def digest(view: View) -> str:
    """Return the SHA-256 of which memberships a view tells, and of which references."""
    division = view.disclosed
    known = division.attack_train & division.member
    sha = hashlib.sha256()
    for array in (division.attack_train, known, view.in_models, view.kept):
        sha.update(np.packbits(array).tobytes())
        sha.update(repr(array.shape).encode())
    return sha.hexdigest()
