"""Ensemble: the target and its references, one network with the weights of each."""

from pathlib import Path

from pipeline.cache import digests, documents, shards, summaries
from pipeline.cache.stages import CHECKPOINT, REFERENCES
from pipeline.cache.stamps import Job
from pipeline.config import Features, Target
from pipeline.errors import AuditError
from pipeline.models import checkpoints, devices, inference, networks
from pipeline.models.logits import Logits


class Ensemble:
    """The models of an audit, in one graph that is given the weights of each.

    Args:
        job: of the stage features, or of a later one.
        n_classes: of the records, if the config does not say how many the network has.
    """

    def __init__(self, job: Job, n_classes: int) -> None:
        settings = job.section(Features, "features")
        self._job, self._target = job, job.section(Target, "features")
        devices.start(settings.device)
        n_classes = self._target.n_classes or n_classes
        self._network = networks.of_target(self._target, n_classes)
        self.extractor = inference.Extractor(
            Logits(self._network, n_classes, self._target.output),
            precision=settings.precision,
            batch_size=settings.batch_size,
            mode=settings.mode,
        )

    def load(self, model: int) -> Path:
        """Give the network the weights of a model, and return where they lie.

        Args:
            model: 0 for the target, 1 for the first reference.

        Raises:
            AuditError: as `checkpoint` and `checkpoints.load`.
        """
        path = checkpoint(self._job, self._target, model)
        prefix = prefix_of(self._job, self._target, model)
        checkpoints.load(self._network, path, prefix=prefix)
        return path


def prefix_of(job: Job, target: Target, model: int) -> str | None:
    """Return what stands before the names in a model's checkpoint, if that is chosen.

    What is trained here is saved without a prefix.
    """
    is_own = ("folder" if model else "checkpoint") in job.paths
    return target.prefix if is_own else None


def checkpoint(job: Job, target: Target, model: int) -> Path:
    """Return the checkpoint of the target or a reference, if it has not changed.

    Raises:
        AuditError: if it has changed since.
    """
    stage = "references" if model else "target"
    fix, folder = job.remake(stage), job.folder(stage)
    expected: str | None
    if model:
        table = folder / REFERENCES
        all_of_them = documents.upstream(job, stage, summaries.Checkpoints, REFERENCES)
        path = shards.reference_path(job, all_of_them.file[model - 1])
        expected = all_of_them.checkpoint_sha256[model - 1]
    else:
        path = folder / CHECKPOINT
        path = path if target.checkpoint is None else Path(target.checkpoint)
        table = job.artifact(stage)
        expected = documents.upstream(job, stage, summaries.Target).checkpoint_sha256
    if not path.exists():
        raise AuditError(path, f"is gone, a checkpoint that {table.name} names", fix)
    # MindSpore loads a checkpoint with a flipped bit without a word.
    if digests.checkpoint(path) != expected:
        problem = f"is not the checkpoint that {table.name} names"
        raise AuditError(path, problem, fix)
    return path
