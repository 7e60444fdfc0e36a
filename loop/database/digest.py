"""A campaign's content as text, without clock times, so that two runs can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from loop.database.tables import (
    CandidateRow,
    Evaluation,
    MeasurementRow,
    PoolEntry,
    PredictionRow,
    RefusalRow,
    Round,
    SelectionRow,
    Table,
)
from materials.base import canonical_json

COUNTING: dict[type[Table], tuple[str, ...]] = {
    Round: ("number", "seed"),
    CandidateRow: (
        *("id", "kind", "formula", "material", "origin", "recipe", "first_round", "known_before"),
        *("duplicate_of", "duplicate_found", "stopped_by", "material_after"),
    ),
    PoolEntry: ("round", "position", "candidate_id"),
    SelectionRow: (
        "round",
        "position",
        "candidate_id",
        "oracle",
        "reason",
        "acquisition_value",
        "conditions",
    ),
    PredictionRow: (
        *("round", "candidate_id", "property", "mean", "std", "distance", "widening", "model_version"),
    ),
    RefusalRow: ("round", "generator", "reason", "count"),
    Evaluation: (
        *("key", "candidate_id", "oracle", "stage", "round", "arrived_in_round", "conditions", "replicate"),
        *("status", "failure_kind", "material", "doubt"),
    ),
    MeasurementRow: (
        *(
            "candidate_id",
            "evaluation_key",
            "property",
            "value",
            "std",
            "unit",
            "fidelity",
            "oracle",
            "bound",
        ),
        "conditions",
    ),
}
"""The columns that count. Left out: clock times, seconds and the cost that follows from them, attempts,
tickets, messages and files (they may name times and machines), models (their predictions are in), and row
numbers."""


def dump(session: Session, campaign_id: int) -> list[str]:
    """One JSON line per row, the table's name first, sorted."""
    lines = []
    for table, names in COUNTING.items():
        columns = [getattr(table, name) for name in names]
        for row in session.execute(select(*columns).where(_campaign_of(table) == campaign_id)):
            lines.append(f"{table.__tablename__} {canonical_json(dict(zip(names, row, strict=True)))}")
    return sorted(lines)


def digest(lines: Sequence[str]) -> str:
    """The sha256 of the lines."""
    return sha256("\n".join(lines).encode()).hexdigest()


def _campaign_of(table: Any) -> Any:
    return table.campaign_id
