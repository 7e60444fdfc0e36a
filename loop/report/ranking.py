"""ranking.csv and the structures folder: every candidate that was measured, best first."""

from __future__ import annotations

from pathlib import Path

from loop.report.view import CampaignView
from materials.archive import Record
from materials.base import Crystal
from materials.files import whole
from materials.properties import property_named
from materials.writing import write_cif

STRUCTURES = "structures"


def write_ranking(view: CampaignView, folder: Path) -> Path:
    """Writes `folder`/ranking.csv, with units in the header.

    What the oracles said stands with its fidelity; what was predicted before stands in columns apart.
    """
    import pandas as pd

    path = folder / "ranking.csv"
    rows = [_row(view, rank, record) for rank, record in enumerate(view.ranked, start=1)]
    with whole(path) as partial:
        pd.DataFrame(rows).to_csv(partial, index=False)
    return path


def write_structures(view: CampaignView, folder: Path) -> Path:
    """Writes each measured crystal as its last stage left it to `folder`/structures; older files are kept."""
    target = folder / STRUCTURES
    target.mkdir(exist_ok=True)
    for record in view.ranked:
        if isinstance(record.material, Crystal) and record.measurements and not record.known_before:
            path = target / structure_name(record)
            if not path.exists():
                write_cif(path, record.material)
    return target


def structure_name(record: Record) -> str:
    """The file name of a record's structure: formula, then candidate id."""
    return f"{record.material.formula}_{record.id}.cif"


def _row(view: CampaignView, rank: int, record: Record) -> dict[str, object]:
    row: dict[str, object] = {
        "rank": rank,
        "formula": record.material.formula,
        "status": view.status(record),
        "novelty": view.novelty(record),
        "known": view.known.get(record.id),
    }
    names = list(dict.fromkeys([*view.goals, *(m.property for m in record.measurements)]))
    for name in names:
        unit = property_named(name).unit
        measured = view.archive.measured(record, name)
        row[f"{name} ({unit})"] = None if measured is None else measured.value
        row[f"{name} std ({unit})"] = None if measured is None else measured.std
        row[f"{name} bound"] = None if measured is None else str(measured.bound)
        row[f"{name} fidelity"] = None if measured is None else measured.fidelity
    expected = {p.property: p for p in view.predictions.get(record.id, ())}
    for name in view.goals:
        unit = property_named(name).unit
        found = expected.get(name)
        low, high = (None, None) if found is None else found.interval()
        row[f"predicted {name} ({unit})"] = None if found is None else found.mean
        row[f"predicted {name} std ({unit})"] = None if found is None else found.std
        row[f"predicted {name} 90 % low ({unit})"] = low
        row[f"predicted {name} 90 % high ({unit})"] = high
        row[f"predicted {name} distance"] = None if found is None else found.distance
    is_crystal = isinstance(record.material, Crystal) and record.measurements and not record.known_before
    return row | {
        "generator": record.candidate.origin.generator,
        "origin": record.candidate.origin.note,
        "parents": " ".join(record.candidate.origin.parents),
        "round": record.round,
        "structure": f"{STRUCTURES}/{structure_name(record)}" if is_crystal else None,
        "id": record.id,
    }
