"""Stages: the programs of an audit, what each reads, and what it makes.

This is the one list of them. The rules for make, the stamps, `make plan` and `make
help` are made from it; a new stage is an entry here and a program of that name in
stages/.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """A program that makes one artifact, in a folder of the stage's name."""

    name: str
    help: str  # for `make help`
    # Of the config: the first is its own, the others its own too or those of stages
    # upstream. Or "section.setting", of a section that is another's.
    sections: tuple[str, ...]
    inputs: tuple[str, ...]  # stages upstream
    artifact: str
    # Files beside the artifact: the stage runs again if one is missing or changed.
    siblings: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()  # the same, if the config has it make them
    parts: tuple[str, ...] = ()  # kinds that it caches one by one

    @property
    def file(self) -> str:
        """The artifact within the run's folder."""
        return f"{self.name}/{self.artifact}"


# The Makefile reads the lines of `name` and `help`, so each has a line of its own.
STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            name="records",
            help="choose members, non-members and a population",
            sections=("data",),
            inputs=(),
            artifact="records.h5",
        ),
        Stage(
            name="blind",
            help="tell members from non-members by their inputs, without the model",
            sections=(
                "blind",
                "data",
                "features.member_augmentation",
                "features.augmentation_seed",
            ),
            inputs=("records",),
            artifact="blind.json",
        ),
        Stage(
            name="split",
            help="divide the audited records into attack-train and attack-eval",
            sections=("split", "data"),
            inputs=("records",),
            artifact="split.h5",
        ),
        Stage(
            name="target",
            help="train the model under audit, or check the checkpoint that is given",
            sections=("target", "data"),
            inputs=("records",),
            artifact="target.json",
            parts=("checkpoint",),
        ),
        Stage(
            name="references",
            help="train the models to compare the target with, or check those given",
            sections=("references", "target", "data"),
            inputs=("records", "target"),
            artifact="references.h5",
            siblings=("references.json",),
            parts=("checkpoint",),
        ),
        Stage(
            name="features",
            help="extract the signals of all models, once, into the cache",
            sections=("features", "target", "data"),
            inputs=("records", "target", "references"),
            artifact="complete.json",
            parts=("outputs", "signals"),
        ),
        Stage(
            name="attack",
            help="search and run the attacks on the cached features",
            sections=("attack",),
            inputs=("records", "split", "references", "features"),
            artifact="scores.h5",
            siblings=("search.json",),
            parts=("fit", "accelerated"),
        ),
        Stage(
            name="report",
            help="say what the attacks found",
            sections=("report", "about"),
            inputs=("records", "target", "references", "features", "blind", "attack"),
            artifact="report.json",
            siblings=("report.txt", "full.txt", "records.csv", "records.parquet"),
            optional=("units.csv", "units.parquet"),
        ),
        Stage(
            name="page",
            help="make the page that people decide by, and the card for the model",
            sections=("report", "data"),
            inputs=("records", "attack", "report"),
            artifact="page.json",
            siblings=("report.html", "report.md"),
        ),
    )
}
LAST = "page"  # what `make audit` makes

# Beside target.json, if the target is trained here.
CHECKPOINT = "checkpoint.ckpt"
# Beside references.h5: the file of each reference's checkpoint, and its digest.
REFERENCES = "references.json"
# Beside scores.h5: every candidate, its folds and the best.
SEARCH = "search.json"
# Beside scores.h5 and report.json: how long the attacks took. It decides nothing.
TIMINGS = "timings.json"
# Beside report.json: the same for people, on one screen and in full.
TEXT, FULL_TEXT = "report.txt", "full.txt"
# Beside page.json: the page, and the card for the model.
PAGE, CARD = "report.html", "report.md"
