"""The error a user can act on."""


class AuditError(Exception):
    """Say where something is wrong, what it is, and how to mend it.

    The three parts are kept as ``args``, so that the error survives the trip back from
    a worker process: an exception is rebuilt there as ``cls(*args)``.
    """

    def __init__(self, where: object, problem: str, fix: str) -> None:
        super().__init__(where, problem, fix)

    def __str__(self) -> str:
        where, problem, fix = self.args
        return f"{where}: {problem}. Fix: {fix}."


class LacksError(ValueError):
    """An attack lacks the references or records that it needs."""
