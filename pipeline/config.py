"""Config: the settings of an audit, one TOML section per stage."""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from pipeline.attacks import catalogue, grids
from pipeline.errors import AuditError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SOURCES = ("digits", "cifar10", "cifar100", "arrays")
# The files of members and of non-members in the official binary folders.
CIFAR_FILES = {
    "cifar10": (tuple(f"data_batch_{i}.bin" for i in range(1, 6)), ("test_batch.bin",)),
    "cifar100": (("train.bin",), ("test.bin",)),
}
NETWORKS = ("cnn", "cnn_digits", "vgg16", "vgg16_32")
# A network of an installed package: package.module:function, or mindcv:name, a model
# of that package's own list.
PACKAGED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
# Settings that name a file or a folder, or a function in a file, of the user's.
PATHS = (
    "data.source",
    "data.path",
    "data.units",
    "target.network",
    "target.checkpoint",
    "target.training.recipe",
    "target.training.start",
    "references.folder",
    "references.training.recipe",
    "references.training.start",
    "report.groups",
)
Device = Literal["auto", "Ascend", "GPU", "CPU"]
Mode = Literal["auto", "graph", "pynative"]
Method = Literal["lr", "knn", "mlp", "rf", "gbm"]


class Section(BaseModel):
    """A frozen group of settings that refuses what it does not know."""

    # The docstring of a setting is its description in configs/schema.json.
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


Columns = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1, strict=False)
]
Channels = Annotated[
    tuple[Annotated[float, Field(allow_inf_nan=False)], ...],
    Field(min_length=1, strict=False),
]


class Data(Section):
    """Which records are audited, and how they become the network's input."""

    source: str
    """digits, cifar10, cifar100, arrays, or my_data.py:datasets, your own function."""
    path: str | None = Field(default=None, exclude=True)
    """Where the data lie, in place of DATA=."""
    units: str | None = Field(default=None, exclude=True)
    """A .npy file: the person, or other unit, that each record of the source is of."""
    members: int | None = Field(default=None, ge=1)
    """Members to audit, >= 1. One number alone holds for both sides."""
    nonmembers: int | None = Field(default=None, ge=1)
    """Non-members to audit, >= 1. One number alone holds for both sides."""
    population: int = Field(default=0, ge=0)
    """Further non-members, never audited, for RMIA and attack P to compare with."""
    choose: Literal["first", "sample"] = "sample"
    """sample draws the records at random, first takes the first ones of the source."""
    seed: int = Field(default=1, ge=0)
    """Decides the draw of the records."""
    canaries: float = Field(default=0.0, ge=0, le=1)
    """Share of records, in [0, 1], that get a wrong label; 0 for a real audit."""
    inputs: Columns = ("image",)
    """The columns of datasets of your own that the network is given, in its order."""
    image_size: int | None = Field(default=None, ge=1)
    """Pixels of a side that images are resized to."""
    mean: Channels | None = None
    """Of each channel after rescaling to [0, 1], subtracted."""
    std: Channels | None = None
    """Of each channel after rescaling to [0, 1], divided by; > 0."""

    @field_validator("source")
    @classmethod
    def _known(cls, source: str) -> str:
        if source in SOURCES or is_in_file(source):
            return source
        raise _unknown(source, SOURCES, "or file.py:function of your own")

    @field_validator("inputs")
    @classmethod
    def _columns(cls, inputs: tuple[str, ...]) -> tuple[str, ...]:
        for name in inputs:
            if name == "label":
                msg = "names label, which no network is given; leave it out"
                raise ValueError(msg)
            if inputs.count(name) > 1:
                msg = f"names {name!r} twice; name it once"
                raise ValueError(msg)
        return inputs

    @model_validator(mode="after")
    def _fitting(self) -> "Data":
        if not is_in_file(self.source) and self.inputs != ("image",):
            msg = "inputs name the columns of datasets of your own; leave them out"
            raise ValueError(msg)
        if self.source not in ("digits", "cifar10", "cifar100"):
            for name in ("image_size", "mean", "std"):
                if getattr(self, name) is not None:
                    msg = f"{name} applies to digits, cifar10 and cifar100 only"
                    raise ValueError(msg)
        if self.source == "arrays" and self.canaries:
            msg = "canaries need a target trained here, not signals made elsewhere"
            raise ValueError(msg)
        if self.source == "arrays" and self.population:
            msg = "population must be left out; it comes from the file of arrays"
            raise ValueError(msg)
        if self.std is not None and min(self.std) <= 0:
            msg = f"std must be positive, got {min(self.std)}"
            raise ValueError(msg)
        return self


class Blind(Section):
    """How members are compared with non-members, the model unseen."""

    seed: int = Field(default=1, ge=0)
    """Decides folds and trees of the classifier that never sees the model."""


class Split(Section):
    """How the audited records are divided into attack-train and attack-eval."""

    eval_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of each side held out to judge the attacks on, in (0, 1)."""
    seed: int = Field(default=1, ge=0)
    """Decides which records are held out."""
    repeats: int = Field(default=1, ge=1)
    """Times to divide the records and run the attacks anew, >= 1."""


class Trained(Section):
    """What holds of every recipe: who draws, where it runs, and from which weights."""

    start: str | None = Field(default=None, exclude=True)
    """Weights to start from: a .ckpt or .safetensors file of the same network."""
    start_allow_missing: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False)
    ] = ()
    """Parameters that start lacks, with * for any letters; they start fresh."""
    seed: int = Field(default=1, ge=0)
    """Decides the first weights and the order of records."""
    device: Device = "auto"
    """auto takes the first of Ascend, GPU and CPU that MindSpore can use."""

    @model_validator(mode="after")
    def _missing_of_something(self) -> "Trained":
        if self.start_allow_missing and self.start is None:
            msg = "start_allow_missing is set without start; remove it, or set start"
            raise ValueError(msg)
        return self


class Training(Trained):
    """The built-in recipe by which a target is trained."""

    optimizer: Literal["sgd", "momentum", "adam", "adamw"] = "adam"
    """The rule by which weights are updated; adamw decays them apart from gradients."""
    learning_rate: float = Field(gt=0, allow_inf_nan=False)
    """Of the first step, > 0."""
    schedule: Literal["constant", "cosine", "step"] = "constant"
    """cosine falls to 0; step is a tenth after half, and again after three quarters."""
    warmup_epochs: int = Field(default=0, ge=0)
    """Epochs in which the learning rate rises step by step from near 0, >= 0."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of the optimizer momentum, in [0, 1)."""
    nesterov: bool = False
    """Whether the momentum looks ahead; of the optimizer momentum."""
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Strength of the decay of all weights but those of batch norm, >= 0."""
    clip_norm: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Largest norm of the gradients of a step, of all weights together, > 0."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of each label that all classes have in common, in [0, 1)."""
    epochs: int = Field(ge=1)
    """Passes over the members, >= 1."""
    batch_size: int = Field(default=64, ge=1)
    """Records per step, >= 1."""
    augmentation: Literal["none", "flip", "tutorial"] = "none"
    """Of the members in training: none, flip, or tutorial (random crop and flip)."""

    @model_validator(mode="after")
    def _fitting(self) -> "Training":
        if self.nesterov and self.optimizer != "momentum":
            msg = f"nesterov is not for {self.optimizer}; remove it, or set optimizer"
            raise ValueError(f'{msg} = "momentum"')
        if self.warmup_epochs >= self.epochs:
            msg = f"has {self.warmup_epochs} warmup_epochs of {self.epochs} epochs; let"
            raise ValueError(f"{msg} the warm-up be shorter")
        return self


class OwnTraining(Trained):
    """A recipe of the user's: a function that trains a network."""

    recipe: str
    """my_recipe.py:train, a function of your own that trains a network."""

    @field_validator("recipe")
    @classmethod
    def _known(cls, recipe: str) -> str:
        if is_in_file(recipe):
            return recipe
        msg = f"is {recipe!r}; use file.py:function of your own, such as"
        raise ValueError(f"{msg} my_recipe.py:train")

    @model_validator(mode="before")
    @classmethod
    def _decided_by_the_function(cls, settings: Any) -> Any:
        for name in Training.model_fields if isinstance(settings, dict) else ():
            if name in settings and name not in cls.model_fields:
                msg = f"has {name} beside recipe, which is a setting of the built-in"
                raise ValueError(
                    f"{msg} recipe; remove it, and let the function decide"
                )
        return settings


# Places in an error that name no setting.
BUILT_IN, OWN = "built-in recipe", "own recipe"


def _kind_of_recipe(settings: Any) -> str:
    if isinstance(settings, dict):
        return OWN if "recipe" in settings else BUILT_IN
    return OWN if isinstance(settings, OwnTraining) else BUILT_IN


Recipe = Annotated[
    Annotated[Training, Tag(BUILT_IN)] | Annotated[OwnTraining, Tag(OWN)],
    Discriminator(_kind_of_recipe),
]


# Of a target, settings that have no value by default.
UNCHOSEN = ("network_args", "prefix", "output")


class Target(Section):
    """The model under audit: a checkpoint, or a network and how to train it."""

    network: str | None = None
    """cnn, cnn_digits, vgg16, vgg16_32, mindcv:name, or my_net.py:build of your own."""
    network_args: dict[str, Any] = Field(default_factory=dict)
    """Arguments of a function of your own or of a package, by name."""
    n_classes: int | None = Field(default=None, ge=2)
    """Classes that the network tells apart, >= 2; without it, those of the source."""
    checkpoint: str | None = Field(default=None, exclude=True)
    """The .ckpt or .safetensors file of a model of yours; no recipe is then used."""
    prefix: str | None = None
    """What the names of the checkpoint's parameters have before the network's."""
    output: Annotated[int, Field(ge=0)] | str | None = None
    """Where the logits stand in what the network returns: a position, or a key."""
    training: Recipe | None = None
    """The recipe by which the target is trained here."""

    @property
    def chosen(self) -> dict[str, Any]:
        """Those settings, of the ones that have no value by default, that have one."""
        settings = {name: getattr(self, name) for name in UNCHOSEN}
        return {k: v for k, v in settings.items() if v not in (None, {})}

    @model_serializer(mode="wrap")
    def _unchosen_left_out(
        self, whole: Callable[["Target"], dict[str, Any]]
    ) -> dict[str, Any]:
        # So that what was cached before there were these settings still holds.
        return {
            name: value
            for name, value in whole(self).items()
            if name not in UNCHOSEN or name in self.chosen
        }

    @field_validator("network")
    @classmethod
    def _known(cls, network: str | None) -> str | None:
        if network is None or network in NETWORKS or is_in_file(network):
            return network
        if PACKAGED.fullmatch(network):
            return network
        others = "mindcv:name, package.module:function, or file.py:function of your own"
        raise _unknown(network, NETWORKS, others)

    @model_validator(mode="after")
    def _fitting(self) -> "Target":
        if self.network_args and self.network in (None, *NETWORKS):
            msg = f"network_args are not for {self.network}, which takes none; remove"
            raise ValueError(f"{msg} them, or name a function of your own")
        return self

    @model_validator(mode="before")
    @classmethod
    def _checkpoint_needs_no_training(cls, settings: Any) -> Any:
        # Else an edit of a recipe that is not used would rerun the inference.
        if isinstance(settings, dict) and settings.get("checkpoint") is not None:
            return {k: v for k, v in settings.items() if k != "training"}
        return settings


class References(Section):
    """The models that the target is compared with: trained here, or the user's own."""

    folder: str | None = Field(default=None, exclude=True)
    """Models of your own: a folder of checkpoints and membership.npy or .npz."""
    count: int = Field(default=0, ge=0)
    """Models to train on random halves of the records: an even number, 0 for none."""
    seed: int = Field(default=1, ge=0)
    """Decides the halves and the trainings."""
    training: Recipe | None = None
    """The recipe of the references, if the target is a checkpoint."""

    @field_validator("count")
    @classmethod
    def _in_pairs(cls, count: int) -> int:
        if count % 2:
            msg = f"is {count}, but references come in pairs; use {count + 1}"
            raise ValueError(msg)
        return count

    @model_validator(mode="before")
    @classmethod
    def _own_models_need_no_seed(cls, settings: Any) -> Any:
        # Else an edit of a seed that is not used would rerun the attacks.
        if isinstance(settings, dict) and settings.get("folder") is not None:
            return {k: v for k, v in settings.items() if k != "seed"}
        return settings

    @model_validator(mode="after")
    def _own_or_trained_here(self) -> "References":
        for name in ("count", "training"):
            if self.folder is not None and getattr(self, name):
                msg = f"has both folder and {name}; leave out {name}, as models of"
                raise ValueError(f"{msg} your own are not trained here")
        return self


VIEW = re.compile(r"identity|flip|shift\(-?[0-4],-?[0-4]\)")
Views = Annotated[tuple[str, ...], Field(min_length=1, strict=False)]


class Features(Section):
    """How the signals of the target and of the references are extracted."""

    device: Device = "auto"
    """auto takes the first of Ascend, GPU and CPU that MindSpore can use."""
    precision: Literal["float32", "float16"] = "float32"
    """Of the network's arithmetic."""
    mode: Mode = "auto"
    """auto compiles the network if that can be; graph always, pynative never."""
    batch_size: int = Field(default=256, ge=1)
    """Records per inference step, >= 1."""
    shard_rows: int = Field(default=4096, ge=1)
    """Records per file of the cache, >= 1: what a stopped run loses at most."""
    views: Views = ("identity",)
    """What models are shown of a record: identity first, then flip or shift(dy,dx)."""
    store: Literal["exact", "float16"] = "exact"
    """How logits are kept: exact as they are, float16 in half of float32's space."""
    member_augmentation: Literal["none", "tutorial"] = "none"
    """tutorial crops and flips the members, which attacks see: for comparison only."""
    augmentation_seed: int = Field(default=1, ge=0)
    """Decides the crops and flips of the members."""

    @field_validator("views")
    @classmethod
    def _plain_first(cls, views: tuple[str, ...]) -> tuple[str, ...]:
        for view in views:
            if not VIEW.fullmatch(view):
                msg = f"has the view {view!r}; use identity, flip or shift(dy,dx)"
                raise ValueError(f"{msg} by at most 4 pixels")
        if views[0] != "identity":
            msg = f"starts with {views[0]!r}; put identity first"
            raise ValueError(msg)
        if len(set(views)) < len(views):
            msg = "names a view twice; name each once"
            raise ValueError(msg)
        return views


class AttackMethod(Section):
    """One learned attack and the grid of its parameters."""

    method: Method
    """The kind of classifier."""
    name: str = Field(default="", pattern=r"^[a-z0-9_]*$")
    """Of the attack in the report, so that a method may stand twice."""
    features: Annotated[tuple[str, ...], Field(min_length=1, strict=False)] = (
        catalogue.TUTORIAL
    )
    """loss, logits, sorted, margin, views, references, and scores of other attacks."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Values to try of each parameter of the classifier."""

    @field_validator("method", mode="before")
    @classmethod
    def _any_case(cls, method: Any) -> Any:
        return method.lower() if isinstance(method, str) else method

    @field_validator("features")
    @classmethod
    def _known(cls, features: tuple[str, ...]) -> tuple[str, ...]:
        return _all_known(features, catalogue.features())

    @property
    def title(self) -> str:
        """The name in the report."""
        return self.name or self.method


class Attack(Section):
    """Which attacks run on the cached features, and how they are searched."""

    search: Literal["grid", "random"] = "grid"
    """grid tries every candidate, random draws n_iter of each method."""
    n_iter: int = Field(default=10, ge=1)
    """Candidates of each method in a random search, >= 1."""
    folds: int = Field(default=3, ge=2)
    """Of the cross-validation that ranks candidates, >= 2."""
    seed: int = Field(default=1, ge=0)
    """Decides folds and fits."""
    loss: Literal["exact", "clipped"] = "exact"
    """exact, or clipped as MindArmour computes it."""
    max_fit: int = Field(default=catalogue.MAX_FIT, ge=100)
    """Records that attacks are fitted to, at most, >= 100; all are scored."""
    accelerate: Literal["auto", "off"] = "auto"
    """auto fits candidates of a grid together, off each by scikit-learn alone."""
    growth: bool = True
    """Run a few attacks by 2, 4, 8 … references too, to see what more would change."""
    attacks: Literal["all"] | Annotated[tuple[str, ...], Field(strict=False)] = "all"
    """all that the inputs allow, or a list of names."""
    methods: Annotated[tuple[AttackMethod, ...], Field(strict=False)] = ()
    """Learned attacks, each with its grid."""

    @model_validator(mode="before")
    @classmethod
    def _tutorials(cls, settings: Any) -> Any:
        """Write out the tutorial's methods where they are meant, but not written."""
        if not isinstance(settings, dict):
            return settings
        attacks, own = settings.get("attacks", "all"), settings.get("methods", [])
        if attacks == "all":
            named = [] if "methods" in settings else [*grids.TUTORIAL]
        elif isinstance(attacks, list | tuple):
            named = [name for name in attacks if name in grids.TUTORIAL]
            rest = [name for name in attacks if name not in named]
            settings = {**settings, "attacks": rest}
        else:
            return settings
        if not isinstance(own, list | tuple):
            return settings
        written = [each for each in own if isinstance(each, dict)]
        titles = [str(each.get("name") or each.get("method")) for each in written]
        titles = [title.lower() for title in titles]
        meant = [
            {"method": name, "params": grids.TUTORIAL[name]}
            for name in named
            if name not in titles
        ]
        return {**settings, "methods": [*meant, *own]}

    @field_validator("attacks")
    @classmethod
    def _known(cls, attacks: str | tuple[str, ...]) -> str | tuple[str, ...]:
        return (
            attacks
            if isinstance(attacks, str)
            else _all_known(attacks, (*catalogue.names(), *grids.TUTORIAL))
        )

    @model_validator(mode="before")
    @classmethod
    def _unused_without_random_search(cls, settings: Any) -> Any:
        if isinstance(settings, dict) and settings.get("search", "grid") == "grid":
            return {k: v for k, v in settings.items() if k != "n_iter"}
        return settings

    @field_validator("methods")
    @classmethod
    def _once_each(cls, methods: tuple[AttackMethod, ...]) -> tuple[AttackMethod, ...]:
        titles = [method.title for method in methods]
        for title in titles:
            if titles.count(title) > 1:
                msg = f"names {title!r} twice; put its values into one grid"
                raise ValueError(f"{msg}, or give it a name of its own")
            if title in (*catalogue.names(), catalogue.STRONGEST):
                msg = f"gives the name {title!r}, an attack's own; choose another"
                raise ValueError(msg)
        return methods

    @model_validator(mode="after")
    def _some(self) -> "Attack":
        if not self.attacks and not self.methods:
            msg = "names no attack; set attacks or add an [[attack.methods]]"
            raise ValueError(msg)
        there = catalogue.names() if self.attacks == "all" else self.attacks
        for method in self.methods:
            for name in method.features:
                if name not in (*there, *catalogue.COLUMNS):
                    msg = (
                        f"has {method.title} learn from {name}, which is not in attacks"
                    )
                    raise ValueError(f"{msg}; add it, or leave it out of features")
        return self


class Report(Section):
    """When a leak is called one, and how sure its figures are to be."""

    threshold: float = Field(default=0.6, ge=0, le=1)
    """Of accuracy, precision and recall alike, in [0, 1]: grade moderate or higher."""
    min_records: int = Field(default=200, ge=1)
    """Fewest attack-eval records that allow a verdict, >= 1."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Of every interval, in (0, 1); p-values are compared with the rest."""
    delta: float = Field(default=1e-5, gt=0, lt=1)
    """Of the lower bounds of epsilon, in (0, 1)."""
    prior: float = Field(default=0.5, gt=0, lt=1)
    """How likely a record is to be a member before its score is seen, in (0, 1)."""
    false_discoveries: float = Field(default=0.1, gt=0, lt=1)
    """Share of the records flagged as members that may be none, in (0, 1)."""
    groups: str | None = Field(default=None, exclude=True)
    """A .npy file with the group of each record of the source."""
    csv_scores: bool | None = None
    """Scores in records.csv too, not in Parquet alone; unset, up to 100,000 records."""
    thumbnails: bool = True
    """Show the most exposed records on the page, or only their numbers."""
    seed: int = Field(default=1, ge=0)
    """Decides ties and folds."""


ShortText = Annotated[str, Field(max_length=200)]
LongText = Annotated[str, Field(max_length=4000)]


class About(Section):
    """What the report says of the model and of the audit, in the user's own words."""

    name: ShortText | None = None
    """Of the model, and its version."""
    owner: ShortText | None = None
    """Who answers for the model."""
    purpose: LongText | None = None
    """What the model is for."""
    personal_data: LongText | None = None
    """Which personal data the records hold, and of whom."""
    data: LongText | None = None
    """Where the records come from, and by what right they are used."""
    release: LongText | None = None
    """Who will have access to the model, and how."""
    recipe: LongText | None = None
    """What else is to be known of how the model was trained."""
    auditor: ShortText | None = None
    """Who made the audit."""
    date: ShortText | None = None
    """When the audit was made."""
    notes: LongText | None = None
    """Anything else."""

    @field_validator("*", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        if isinstance(value, date):
            return value.isoformat()
        return (value.strip() or None) if isinstance(value, str) else value


class Gate(Section):
    """The limits that a report must keep for `make gate` to let a model pass."""

    grade: Literal["none found", "low", "moderate", "high"] = "low"
    """The worst grade that passes."""
    max_auc: float | None = Field(default=None, ge=0, le=1)
    """Of the worst attack, by the upper end of its interval, in [0, 1]."""
    max_accuracy: float | None = Field(default=None, ge=0, le=1)
    """Of the worst attack, by the upper end of its interval, in [0, 1]."""
    max_tpr_at_fpr: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=dict
    )
    """Share of the members, in [0, 1], by false-positive rate, such as "0.001"."""
    require_controls: bool = True
    """Every control must have passed."""

    @field_validator("max_tpr_at_fpr", mode="before")
    @classmethod
    def _by_rate(cls, limits: Any) -> Any:
        for name, limit in limits.items() if isinstance(limits, dict) else ():
            if isinstance(limit, dict):
                rate = ".".join((name, *limit))
                msg = f"has the rate {rate} without quotes; write"
                value = next(iter(limit.values()), 0.005)
                raise ValueError(f'{msg} {{ "{rate}" = {value} }}')
            try:
                is_rate = 0 < float(name) < 1
            except ValueError:
                is_rate = False
            if not is_rate:
                msg = f"names {name!r}; use a false-positive rate, such as"
                raise ValueError(f'{msg} "0.001"')
        return limits


class Config(Section):
    """A whole audit."""

    data: Data
    blind: Blind = Blind()
    split: Split = Split()
    target: Target = Target()
    references: References = References()
    features: Features = Features()
    attack: Attack = Attack()
    report: Report = Report()
    about: About = About()
    gate: Gate = Gate()

    @property
    def recipe(self) -> Training | OwnTraining | None:
        """How the models that are trained here are trained; None if none are."""
        return self.target.training or self.references.training

    @model_validator(mode="after")
    def _sections_fit(self) -> "Config":
        if self.data.source == "arrays":
            if self.target != Target() or self.target.checkpoint is not None:
                msg = "target: must be empty, as the signals were made elsewhere"
                raise ValueError(msg)
            for name in ("references", "features.views"):
                section, _, setting = name.partition(".")
                own = getattr(self, section)
                if own != type(own)() and (
                    not setting or own.views != Features().views
                ):
                    msg = f"{name}: must be left out; they come from the file of arrays"
                    raise ValueError(msg)
            return self
        if self.target.network is None:
            msg = f"target.network: is missing; use one of {', '.join(NETWORKS)}"
            raise ValueError(f"{msg} or my_net.py:build")
        if self.target.checkpoint is None and self.target.training is None:
            msg = "target: has neither a checkpoint nor a [target.training]"
            raise ValueError(msg)
        if self.target.checkpoint is not None and self.data.canaries:
            msg = "data.canaries: need a target trained here, not a checkpoint"
            raise ValueError(msg)
        if self.target.prefix is not None and self.target.checkpoint is None:
            msg = "target.prefix: is set without a checkpoint; remove it, or set"
            raise ValueError(f"{msg} target.checkpoint")
        _check_recipe(self.target, self.references)
        if self.references.folder is None:
            _check_needs(self.attack, self.references.count // 2)
        return self


def load(path: Path, data: str | None = None) -> Config:
    """Read and check a config file.

    Args:
        path: a TOML file. Relative paths in it mean: beside it.
        data: where the data lie, in place of the file's ``data.path``.

    Raises:
        AuditError: if the file is missing or malformed, or a setting is unknown,
            missing, or of a wrong type or range.
    """
    content = _read(path)
    for setting, settings, value in _paths(content):
        settings[setting.rpartition(".")[2]] = _placed(path, value)
    if data is not None and isinstance(content.get("data"), dict):
        content["data"]["path"] = data
    try:
        config = Config.model_validate(content)
    except ValidationError as error:
        raise _explained(path, error) from None
    for method in config.attack.methods:
        try:
            grids.check(method.method, method.params)
        except AuditError as error:
            where, problem, fix = error.args
            raise AuditError(f"{path}: {where}", problem, fix) from None
    return config


def strays(path: Path) -> list[str]:
    """Return the settings whose files are not beside a config, but here.

    Args:
        path: a TOML file that `load` accepts.
    """
    return [
        setting for setting, _, value in _paths(_read(path)) if _is_stray(path, value)
    ]


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problem = "does not exist"
        raise AuditError(path, problem, "pass CONFIG=a file in configs/") from None
    except (OSError, UnicodeDecodeError) as error:
        problem = f"cannot be read ({error})"
        raise AuditError(path, problem, "pass CONFIG=a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise AuditError(path, f"is not TOML: {error}", "correct that line") from None


def _paths(content: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield each setting that names a path, its section's settings, and its value."""
    for setting in PATHS:
        *sections, name = setting.split(".")
        settings: Any = content
        for section in sections:
            settings = settings.get(section) if isinstance(settings, dict) else None
        value = settings.get(name) if isinstance(settings, dict) else None
        functions = ("source", "network", "recipe")
        of_file = name not in functions or is_in_file(str(value))
        if isinstance(value, str) and value and of_file:
            yield setting, settings, value


def _file_of(value: str) -> Path:
    """Return the path in the value of a setting, the name of a function left out."""
    return Path(value.rpartition(":")[0] if is_in_file(value) else value)


def _placed(config: Path, value: str) -> str:
    """Return the value of a setting with its path as seen from the current folder."""
    if _is_stray(config, value):
        return value
    place = config.parent / _file_of(value)
    return f"{place}:{value.rpartition(':')[2]}" if is_in_file(value) else str(place)


def _is_stray(config: Path, value: str) -> bool:
    """Return whether a path is not beside the config, but in the current folder.

    There paths were looked for before they were looked for beside the config.
    """
    file = _file_of(value)
    return file.exists() and not (config.parent / file).exists()


def _check_recipe(target: Target, references: References) -> None:
    """Refuse references that would be trained by no recipe, or by one of two."""
    if target.checkpoint is None and references.training is not None:
        msg = "references.training: is not used, as the target is trained here"
        raise ValueError(f"{msg}; remove it, as [target.training] trains them too")
    if target.checkpoint is not None and references.count and not references.training:
        msg = "references.training: is missing, as the target is a checkpoint"
        raise ValueError(
            f"{msg}; add [references.training], the recipe that it was trained by"
        )


def _check_needs(attack: Attack, n_pairs: int) -> None:
    """Refuse what is named and needs more references than there are."""
    lack = f"and there {'is' if n_pairs else 'are'} {n_pairs or 'none'}"

    def of(name: str) -> str | None:
        # Of complementary pairs, every record has a reference on each side per pair.
        needs = catalogue.needs(name)
        if needs is None or needs.n_models <= n_pairs:
            return None
        several = f"{needs.n_models} references on a side of a record"
        return f"needs {several if n_pairs else 'references'}, {lack}"

    fix = "raise references.count" + (f" to {2 * n_pairs + 2}" if n_pairs else "")
    for name in () if attack.attacks == "all" else attack.attacks:
        if problem := of(name):
            msg = f"attack.attacks ({name}): {problem}; {fix}"
            raise ValueError(f"{msg}, or leave this attack out")
    for method in attack.methods:
        for name in method.features:
            if problem := of(name):
                msg = f"attack.methods.{method.title}.features: names {name!r}, which"
                raise ValueError(f"{msg} {problem}; {fix}, or leave it out")


def _all_known(listed: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    for name in listed:
        if name not in known:
            msg = f"names {name!r}; {grids.nearest(name, known)}"
            raise ValueError(msg)
        if listed.count(name) > 1:
            msg = f"names {name!r} twice; name it once"
            raise ValueError(msg)
    return listed


def is_in_file(name: str) -> bool:
    """Return whether a name means a function in a file of the user's."""
    file, _, function = name.rpartition(":")
    return file.endswith(".py") and function.isidentifier()


def _unknown(name: str, known: tuple[str, ...], others: str) -> ValueError:
    return ValueError(f"is {name!r}; {grids.nearest(name, known)}, {others}")


def _explained(path: Path, error: ValidationError) -> AuditError:
    """Say the first thing wrong with a config in one line."""
    # A misspelt setting is also a missing one; the first says more.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    location = tuple(
        part
        for part in first["loc"]
        if not isinstance(part, int) and part not in (BUILT_IN, OWN)
    )
    name = ".".join(map(str, location))
    where = f"{path}: {name}" if name else str(path)
    message = first["msg"].removeprefix("Value error, ")
    match first["type"]:
        case "extra_forbidden":
            known = _known_settings(location[:-1])
            fix = grids.nearest(str(location[-1]), known)
            return AuditError(where, "is not a setting", fix)
        case "missing":
            return AuditError(where, "is missing", "add it, as configs/ shows")
        case "literal_error":
            allowed = first["ctx"]["expected"]
            return AuditError(where, f"is {first['input']!r}", f"use {allowed}")
        case "value_error":
            problem, _, fix = message.partition("; ")
            return AuditError(where, problem, fix or "change or remove it")
    rule = message[0].lower() + message[1:]
    return AuditError(where, f"is {first['input']!r}", f"note that {rule}")


def _known_settings(location: tuple[int | str, ...]) -> Mapping[str, Any]:
    """Return the settings known at a place in the config, by name."""
    models: list[type[BaseModel]] = [Config]
    for part in location:
        fields = [model.model_fields.get(str(part)) for model in models]
        inner = [
            each for field in fields if field for each in _models(field.annotation)
        ]
        models = inner or models
    return {name: field for each in models for name, field in each.model_fields.items()}


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the sections that a type may be, or be made of."""
    parts = get_args(annotation)
    if parts:
        return [model for part in parts for model in _models(part)]
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return [annotation] if is_model else []
