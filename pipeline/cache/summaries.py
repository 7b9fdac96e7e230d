"""Summaries: the records of the files between the stages, kept as JSON.

artifacts/README.md tells the formats.
"""

from pipeline.record import Record


class Accuracies(Record):
    """How often a model is right, as far as it was asked; rates in [0, 1]."""

    train_accuracy: float | None  # on audited records that it was trained on
    test_accuracy: float | None  # on those that it was not


class Target(Record):
    """The model under audit. Nothing is known of one that was run elsewhere."""

    checkpoint_sha256: str | None
    # Of a target that was trained here, before any augmentation of members.
    accuracies: Accuracies | None


class Checkpoint(Record):
    """A reference that was trained here."""

    checkpoint_sha256: str


class Checkpoints(Record):
    """The files of all references, and their digests; none of those run elsewhere."""

    file: tuple[str, ...]
    checkpoint_sha256: tuple[str, ...]


class Timings(Record):
    """How long the attacks took. It is another at each run, and decides nothing."""

    seconds: dict[str, float]


class Page(Record):
    """The page and the card of an audit, and the report that they show."""

    report_sha256: str  # as report.json says of its content
    files: dict[str, str]  # SHA-256 of each, by name


class Contradicted(Record):
    """Labels that no model gives that was trained on the record."""

    records: int  # with such a label
    of: int  # records that enough models were trained on, canaries left out
    # Of these models, on the other ones of these records; None: there are none.
    accuracy_on_others: float | None


class Complete(Record):
    """That no shard is missing, and what the shards show at a glance."""

    shards: int  # of each model
    shard_rows: int  # records in each but the last
    records: int
    views: int
    n_classes: int  # 0: margins alone are known
    folders: dict[str, str]  # key of the shards in each
    # Of the target on members and on non-members, as the features saw them.
    train_accuracy: float
    test_accuracy: float
    # Share of the members that the target puts into a class that members have, canaries
    # left out; None: all are canaries.
    within_classes: float | None
    contradicted: Contradicted
    references: tuple[Accuracies, ...]
