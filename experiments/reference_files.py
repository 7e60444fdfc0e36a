"""Writes the reference files that ship from the part files of `experiments.build_reference_hull`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.reference_selection import Phase, rows, select
from experiments.reference_tasks import SHARED_RELAXED, primitive
from loop.part_files import compute, done_ids, grouped, records
from materials.corrections import CorrectionScheme, correction_per_atom
from materials.hull import DATA
from materials.potential import load_potential
from materials.reference_table import (
    EnergySource,
    GeometricError,
    ReferenceEntry,
    ReferenceTable,
    structure_text,
    write_table,
)

Record = dict[str, Any]
SCHEME = CorrectionScheme.materials_project_2020
ORIGIN = "Materials Project (CC-BY 4.0): structures; energies computed with the potential named here"
# Digits of the stored single-point geometries: they serve to recognise a phase, not to start a calculation.
SINGLE_POINT_DECIMALS = 3


@dataclass(frozen=True)
class Geometry:
    """One phase's structure on the way to its file; scale multiplies the volume of the table's cell."""

    id: str
    phase: Phase
    scale: float
    decimals: int

    @property
    def atoms(self) -> int:
        return self.phase.atoms


@dataclass(frozen=True)
class CorrectionTask:
    """Primitive cells as text, and their energy corrections. Picklable."""

    def __call__(self, geometries: Sequence[Geometry]) -> list[Record]:
        return [self._correct(geometry) for geometry in geometries]

    def _correct(self, geometry: Geometry) -> Record:
        structure = primitive(geometry.phase)
        if geometry.scale != 1.0:
            structure.scale_lattice(structure.volume * geometry.scale)
        cell, sites = structure_text(structure, geometry.decimals)
        correction = round(correction_per_atom(structure, SCHEME), 6)
        return {
            "id": geometry.id,
            "nsites": len(structure),
            "correction": correction,
            "cell": cell,
            "sites": sites,
        }


def write_reference(data: Path, work: Path, potential: str, workers: int) -> None:
    """Both tiers into materials/data, with the correction of every entry and the single-point tier's error."""
    version = load_potential(potential).version
    source = EnergySource(potential, version, SCHEME.value)
    relaxed = relaxed_records(data, work)
    near_hull = {phase.id: phase for phase in select(data, load_potential(potential).elements)}
    points = {
        record["id"]: record for record in records(work / "single_point.jsonl") if record["id"] in near_hull
    }
    errors = geometric_errors(relaxed, points)
    only_points = {identifier: record for identifier, record in points.items() if identifier not in relaxed}
    geometries = [_relaxed_geometry(record) for record in relaxed.values()]
    geometries += [
        _point_geometry(near_hull[identifier], record) for identifier, record in only_points.items()
    ]
    texts = _texts(geometries, work, workers)
    for tier, entries in (("relaxed", relaxed), ("single_point", only_points)):
        table = ReferenceTable(
            source,
            tier,
            tuple(_entry(record, texts[_key(record)], tier) for _, record in sorted(entries.items())),
            errors if tier == "single_point" else {},
            _settings(tier),
        )
        DATA.mkdir(exist_ok=True)
        write_table(DATA / f"reference_{potential}_{tier}.csv.xz", table)
        print(f"{tier}: {len(table.entries)} phases")
    print(f"single point minus relaxed, eV/atom: {errors}")


def relaxed_records(data: Path, work: Path) -> dict[str, Record]:
    """The relaxed phases by id: the shared table's, and those of the work folder, which take its place."""
    relaxed: dict[str, Record] = {}
    for row in rows(data, SHARED_RELAXED):
        relaxed[row["material_id"]] = {
            "id": row["material_id"],
            "formula": row["formula"],
            "nsites": int(row["nsites"]),
            "spacegroup": int(row["spacegroup"]),
            "energy_per_atom": float(row["energy_per_atom"]),
            "converged": row["converged"] == "True",
            "geometry": "relaxed",
            "cell": row["cell"],
            "sites": row["sites"],
        }
    for record in records(work / "relaxed.jsonl"):
        if "failure" not in record:
            relaxed[record["id"]] = record | {"geometry": "relaxed"}
    return relaxed


def geometric_errors(
    relaxed: Mapping[str, Record], points: Mapping[str, Record]
) -> dict[str, GeometricError]:
    """Single-point minus relaxed energy by the single point's geometry, over converged phases that have both."""
    differences: dict[str, list[float]] = defaultdict(list)
    for identifier, record in relaxed.items():
        if identifier in points and record["converged"]:
            point = points[identifier]
            differences[point["geometry"]].append(point["energy_per_atom"] - record["energy_per_atom"])
    errors = {}
    for geometry, values in sorted(differences.items()):
        median, percentile_90 = np.percentile(values, [50, 90])
        errors[geometry] = GeometricError(
            round(float(median), 6), round(float(percentile_90), 6), len(values)
        )
    return errors


def _key(record: Record) -> str:
    """Names a geometry: the same phase, relaxed further or rescaled otherwise, is another one."""
    return f"{record['id']} {record['geometry']} {record['energy_per_atom']:.6f}"


def _relaxed_geometry(record: Record) -> Geometry:
    phase = Phase(
        record["id"],
        record["formula"],
        None,
        True,
        record["spacegroup"],
        record["cell"],
        record["sites"],
        record["nsites"],
    )
    return Geometry(_key(record), phase, 1.0, 5)


def _point_geometry(phase: Phase, record: Record) -> Geometry:
    return Geometry(_key(record), phase, record["volume_scale"], SINGLE_POINT_DECIMALS)


def _texts(geometries: Sequence[Geometry], work: Path, workers: int) -> dict[str, Record]:
    """Cell, sites and correction of every geometry; those computed before are taken from the work folder."""
    path = work / "corrections.jsonl"
    done = done_ids(path)
    missing = [geometry for geometry in geometries if geometry.id not in done]
    compute(CorrectionTask(), grouped(missing, 2000), path, workers, len(missing))
    return {record["id"]: record for record in records(path)}


def _entry(record: Record, text: Record, tier: str) -> ReferenceEntry:
    return ReferenceEntry(
        id=record["id"],
        formula=record["formula"],
        nsites=text["nsites"],
        spacegroup=record["spacegroup"],
        energy_per_atom=record["energy_per_atom"],
        correction_per_atom=text["correction"],
        geometry=record["geometry"],
        converged=bool(record.get("converged", False)),
        cell=text["cell"],
        sites=text["sites"],
        tier=tier,
    )


def _settings(tier: str) -> dict[str, Any]:
    if tier == "single_point":
        cells = "database cell; where perhaps r2SCAN-relaxed, as given or with the volume rescaled, whichever is lower"
        return {"calculation": "single point", "geometry": cells, "origin": ORIGIN}
    optimizer = "ASE LBFGS with FrechetCellFilter, FIRE where it fails"
    return {"calculation": "relaxation", "optimizer": optimizer, "fmax": 0.03, "steps": 200, "origin": ORIGIN}
