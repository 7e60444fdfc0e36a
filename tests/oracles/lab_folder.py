"""A lab behind a folder, as tests see it: what lies where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab_requests import request_for, submitted

from materials.evaluation import Ticket
from oracles.base import TicketOracle
from oracles.lab.folder import FolderSettings


def lab(folder: Path, *measures: str, **more: object) -> FolderSettings:
    asked = {"folder": str(folder), "measures": measures or ("band_gap",), "settle_seconds": 0.0}
    return FolderSettings.model_validate(asked | more)


def answer(key: str, value: object = 3.2, **more: object) -> dict[str, Any]:
    return {"key": key, "measurements": [{"property": "band_gap", "value": value, "unit": "eV"} | more]}


def put(folder: Path, name: str, content: object) -> Path:
    file = folder / "results" / name
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def why(folder: Path) -> str:
    (file,) = (folder / "refused").glob("*.why.txt")
    return file.read_text(encoding="utf-8")


def asked(settings: FolderSettings, formula: str = "Li3OCl") -> tuple[TicketOracle, Ticket]:
    oracle = settings.build()
    return oracle, submitted(oracle, request_for(settings, formula))
