"""Where the files that come with the experiments lie."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def bundled(name: str) -> Path:
    """The bundled file `name`, such as pool_answers.csv. Raises FileNotFoundError naming the folder."""
    path = Path(str(files("experiments"))) / name
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such bundled file")
    return path
