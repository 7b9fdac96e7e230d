"""Beds: attacks on models whose memberships are all known, each the target in turn.

``python -m tests.beds FOLDER`` reads every bed ``*.npz`` of a folder: `logits`
(n_models, n_records, n_views, n_classes), where the axis of views may be missing,
`label` (n_records,) and `member` (n_models, n_records), the layout of the source
"arrays". Each model is the target in turn, its complementary twin left out, with
references drawn from the others in complementary pairs. All attacks have the same
targets, references and records, so they are compared target by target.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.attacks import roster
from pipeline.attacks.division import Division
from pipeline.attacks.evidence import in_blocks
from pipeline.attacks.view import View
from pipeline.errors import LacksError
from pipeline.signals import margins, recalibration
from pipeline.statistics import metrics

COUNTS = (1, 2, 4, 8, 16)
ATTACKS = (
    *("loss", "lira_online_fixed", "lira_online_hierarchical", "lira_offline_bayes"),
    *("rmia_online", "amortised"),
)
# Of the records of a target; attacks that learn from them score them out of fold.
ATTACK_TRAIN = 0.8
RATES = (0.01, 0.001)


class Bed(NamedTuple):
    """Models of one recipe, and what they say of the same records."""

    name: str
    logits: NDArray[np.float32]  # (n_models, n_records, n_views, n_classes)
    label: NDArray[np.int32]  # (n_records,)
    member: NDArray[np.bool_]  # (n_models, n_records)
    margin: NDArray[np.float64]  # (n_models, n_records, n_views)
    recalibrated: NDArray[np.float32]  # (n_models, n_records, n_views)


class Figures(NamedTuple):
    """How well scores tell members from non-members."""

    auc: float
    tpr: tuple[float, ...]  # at each of RATES


def save(path: Path, **arrays: NDArray[Any]) -> None:
    """Write arrays to a file, which is whole or absent."""
    path.parent.mkdir(exist_ok=True)
    fresh = path.with_name(f"new-{path.name}")
    np.savez(fresh, **arrays)
    fresh.rename(path)


def load(path: Path) -> Bed:
    """Read a bed, and correct every model's logits."""
    with np.load(path) as arrays:
        logits, label, member = (arrays[name] for name in ("logits", "label", "member"))
    if logits.ndim == 3:
        logits = logits[:, :, None]
    return Bed(path.stem, logits, label, member, *_margins(logits, label))


def _margins(
    logits: NDArray[np.float32], label: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    views = range(logits.shape[2])
    plain = [
        [margins.margin(model[:, view], label) for view in views] for model in logits
    ]
    corrected = [
        recalibration.margin(model, label, recalibration.fitted(model, label))
        for model in logits
    ]
    return np.moveaxis(np.array(plain), 1, 2), np.stack(corrected)


def drawn(
    member: NDArray[np.bool_], target: int, count: int, rng: np.random.Generator
) -> NDArray[np.int64] | None:
    """Draw references in complementary pairs, none the target nor its twin.

    Args:
        member: (n_models, n_records).
        target: position of the target.
        count: of references; of an odd count the last is a single model.
        rng: of the draw.

    Returns:
        (count,) ascending positions; None where there are too few pairs.
    """
    pairs = [
        (first, second)
        for first in range(len(member))
        for second in range(first + 1, len(member))
        if target not in (first, second) and (member[first] != member[second]).all()
    ]
    order = rng.permutation(len(pairs))
    models = [model for place in order for model in rng.permutation(pairs[place])]
    return np.sort(models[:count]) if count <= len(models) else None


def view_of(bed: Bed, target: int, models: NDArray[np.int64], seed: int) -> View:
    """Return what an attack may look at where some models are references."""
    n_records = len(bed.label)
    audited = np.ones(n_records, dtype=bool)
    rng = np.random.default_rng((seed, target))
    attack_train = rng.permutation(n_records) < ATTACK_TRAIN * n_records
    references, in_models = bed.margin[models], bed.member[models]
    return View(
        logits=bed.logits[target],
        margin=bed.margin[target],
        recalibrated=bed.recalibrated[target],
        label=bed.label,
        audited=audited,
        division=Division(audited, attack_train, bed.member[target] & attack_train),
        references=references,
        references_recalibrated=bed.recalibrated[models],
        in_models=in_models,
        kept=np.ones_like(in_models),
        evidence=in_blocks(references, in_models, ~in_models),
        seed=seed,
    )


def figures(score: NDArray[np.float64], member: NDArray[np.bool_]) -> Figures:
    """Return AUC and TPR; NaN where too few non-members can measure a rate."""
    tpr = (metrics.tpr_at_fpr(score, member, rate) for rate in RATES)
    return Figures(
        metrics.auc(score, member),
        tuple(np.nan if value is None else value for value in tpr),
    )


def trials(
    bed: Bed, attacks: Sequence[str], count: int, targets: Sequence[int], seed: int
) -> Iterator[dict[str, Figures]]:
    """Attack each target, and yield the figures of every attack that runs."""
    for target in targets:
        rng = np.random.default_rng((seed, target, count))
        models = drawn(bed.member, target, count, rng)
        if models is None:
            continue
        view = view_of(bed, target, models, seed)
        ran = {}
        for name in attacks:
            try:
                score = roster.score(name, view).score
            except LacksError:
                continue
            ran[name] = figures(score, bed.member[target])
        yield ran


class Line(NamedTuple):
    """An attack on a bed with a count of references, over all targets."""

    attack: str
    mean: NDArray[np.float64]  # (1 + n_rates,) AUC, then TPR at each rate
    error: NDArray[np.float64]  # standard error over targets
    behind: NDArray[np.float64]  # mean less that of the attack compared with
    behind_error: NDArray[np.float64]  # of the paired difference


def lines(ran: Sequence[dict[str, Figures]], against: str) -> list[Line]:
    """Sum up trials, with paired differences from one of the attacks."""
    table = {
        name: np.array([(trial[name].auc, *trial[name].tpr) for trial in ran])
        for name in ran[0]
    }

    def error(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(values.std(axis=0, ddof=1) / np.sqrt(len(values)))

    return [
        Line(
            name,
            values.mean(axis=0),
            error(values),
            (values - table[against]).mean(axis=0),
            error(values - table[against]),
        )
        for name, values in table.items()
    ]


def shown(values: NDArray[np.float64], form: str = ".3f") -> str:
    return "/".join(format(value, form).replace("0.", ".", 1) for value in values)


def main() -> None:
    """Print a table for each bed and each count of references."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--attacks", nargs="+", default=ATTACKS)
    parser.add_argument("--targets", type=int, help="at most, of each bed")
    parser.add_argument("--against", default="amortised", help="paired with all others")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write = sys.stdout.write
    for path in sorted(options.folder.glob("*.npz")):
        bed = load(path)
        targets = range(len(bed.member))[: options.targets]
        for count in options.counts:
            ran = [*trials(bed, options.attacks, count, targets, options.seed)]
            if not ran:
                continue
            write(f"{bed.name}, {count} references, {len(ran)} targets\n")
            for line in lines(ran, options.against):
                write(
                    f"  {line.attack:26s} {shown(line.mean)} ± {shown(line.error)}"
                    f"  paired {shown(line.behind, '+.3f')}"
                    f" ± {shown(line.behind_error)}\n"
                )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
