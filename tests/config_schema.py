"""The JSON schema of the configs, by which editors check and complete them.

After a change of the settings: `python -m tests.config_schema` writes it anew.
"""

import json
from pathlib import Path

from pipeline.config import Config

SCHEMA = Path(__file__).parents[1] / "configs" / "schema.json"


def text() -> str:
    """Return the file as it should be."""
    return json.dumps(Config.model_json_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(text(), encoding="utf-8")
