"""MindArmour: the tool that is compared with, in an environment of its own."""

import subprocess
import sys
import sysconfig
from pathlib import Path

VERSION = "2.0.0"
# What it imports besides what this project has; its own requirements name MindSpore
# and scikit-learn of years ago.
PACKAGES = (f"mindarmour=={VERSION}", "easydict", "opencv-python-headless<4.11")
SCRIPT = "mindarmour_run"
NONE = "none"


def interpreter(folder: Path, given: str) -> tuple[str | None, str]:
    """Return an interpreter that has MindArmour, and why there is none.

    It sees the packages of this one, so both run on the same MindSpore and the same
    scikit-learn.

    Args:
        folder: of the environment, which is made unless it is there.
        given: an interpreter to use instead; "none" for none, "" to make one.
    """
    if given == NONE:
        return None, "it was asked to be left out (MINDARMOUR=none)"
    if given:
        return given, ""
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists() or ready.read_text(encoding="utf-8") != sys.prefix:
        try:
            _set_up(folder, str(python))
        except subprocess.CalledProcessError as error:
            said = (error.stderr or error.stdout or "").strip().splitlines()
            why = said[-1] if said else f"exit status {error.returncode}"
            return None, f"MindArmour {VERSION} could not be installed ({why})"
        ready.write_text(sys.prefix, encoding="utf-8")
    return str(python), ""


def _set_up(folder: Path, python: str) -> None:
    """Make the environment."""

    def run(*command: str) -> str:
        return subprocess.run(
            command, check=True, capture_output=True, text=True
        ).stdout

    run(sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder))
    own = [sysconfig.get_path(name) for name in ("purelib", "platlib")]
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    place = Path(run(python, "-c", ask).strip()) / "shared.pth"
    place.write_text("\n".join(dict.fromkeys(own)) + "\n", encoding="utf-8")
    pip = sys.executable, "-m", "pip", "--python", python
    run(*pip, "install", "--quiet", "--no-deps", *PACKAGES)
