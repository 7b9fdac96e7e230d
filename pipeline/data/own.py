"""Own: the files of a user's own references."""

from pathlib import Path

from pipeline.errors import AuditError

CHECKPOINTS = (".ckpt", ".safetensors")
# Beside the checkpoints: which records of the source each model was trained on.
MEMBERSHIP = "membership.npy"


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a user's own references, in order of file name.

    Raises:
        AuditError: if there are none, or nothing tells what they were trained on.
    """
    where = "references.folder"
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise AuditError(where, f"{folder} {problem}", "correct it")
    paths = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix in CHECKPOINTS and path.is_file() and path.name[0] != "."
    ]
    if not paths:
        problem = f"{folder} has no {' or '.join(CHECKPOINTS)} file"
        raise AuditError(where, problem, "put the checkpoints of your references there")
    if not (folder / MEMBERSHIP).is_file():
        fix = "save there which records of the source each model was trained on"
        raise AuditError(where, f"{folder} has no {MEMBERSHIP}", fix)
    return paths
