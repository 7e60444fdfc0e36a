"""PBE band gaps by the oracle `dft` against those of the Materials Project, at the same geometries.

    python -m experiments.benchmarks.gaps --data TABLES --out gaps.jsonl

TABLES is the folder of the shared tables. Run again, it goes on with the materials that are missing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from experiments.reference_selection import rows
from materials.base import Candidate, Crystal, Origin
from materials.evaluation import Outcome, Request
from materials.reference_table import structure_from_text
from oracles.dft.oracle import DftSettings

SNAPSHOT = "mp2018_ef_gap_36738"
LATER = "mp20_like_36k"
WHOLE = "mp2023_11_structures_155345"


class Case(NamedTuple):
    """A material, the table with its geometry, and its PBE gap (eV) where that table has none."""

    name: str
    id: str
    table: str = SNAPSHOT
    gap: float | None = None


CASES = (
    Case("Si", "mp-149"),
    Case("GaAs", "mp-2534"),
    Case("ZnS", "mp-10695"),
    Case("MgO", "mp-1265"),
    Case("LiF", "mp-1138"),
    Case("NaCl", "mp-22862"),
    Case("AlP", "mp-1550"),
    Case("TiO2", "mp-2657"),
    # Neither is in the snapshot of 2018; their gaps there are in mp_labels_by_id (gap_megnet_pbe).
    Case("Li2O", "mp-1960", LATER, 4.8986),
    Case("C", "mp-66", WHOLE, 4.1128),
)


def ask(case: Case, row: dict[str, str], settings: DftSettings, folder: Path) -> Outcome:
    """The oracle's answer about one row of a table."""
    candidate = Candidate(Crystal(structure_from_text(row["cell"], row["sites"])), Origin("files"))
    request = Request(case.id, candidate, candidate.material, "dft", folder=folder / case.name)
    return next(iter(settings.build().evaluate([request])))


def answer(case: Case, row: dict[str, str], outcome: Outcome) -> dict[str, Any]:
    """One line of the results; energies in eV."""
    found = {m.property: m.value for m in outcome.measurements}
    expected = float(row["band_gap"]) if case.gap is None else case.gap
    return {
        "name": case.name,
        "id": case.id,
        "table": case.table,
        "materials_project": expected,
        "band_gap": found.get("band_gap"),
        "direct_band_gap": found.get("direct_band_gap"),
        "edges": outcome.provenance.get("band_edges"),
        "seconds": round(outcome.seconds, 1),
        "failure": None if outcome.failure is None else outcome.failure.message,
    }


def print_table(results: Sequence[dict[str, Any]]) -> None:
    """The table of docs/benchmarks.md, and the mean absolute difference."""
    print("| material | id | table | Materials Project | here | difference | direct gap | edges |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for one in results:
        if one["failure"] is None:
            difference = one["band_gap"] - one["materials_project"]
            print(
                f"| {one['name']} | {one['id']} | {one['table']} | {one['materials_project']:.3f} | "
                f"{one['band_gap']:.3f} | {difference:+.3f} | {one['direct_band_gap']:.3f} | {one['edges']['gap_is']} |"
            )
        else:
            print(f"{one['name']}: {one['failure']}")
    told = [one for one in results if one["failure"] is None]
    for what, some in (("all", told), (SNAPSHOT, [one for one in told if one["table"] == SNAPSHOT])):
        error = np.mean([abs(one["band_gap"] - one["materials_project"]) for one in some])
        print(f"{what}: mean absolute difference {error:.3f} eV over {len(some)} materials")


def main(
    data: Annotated[Path, typer.Option(help="Folder of the shared tables.")],
    out: Annotated[Path, typer.Option(help="Results, one JSON line each.")] = Path("gaps.jsonl"),
    protocol: Annotated[str, typer.Option(help="fast, standard or tight.")] = "standard",
    folder: Annotated[Path, typer.Option(help="Where inputs and logs are kept.")] = Path("gaps_work"),
    only: Annotated[str, typer.Option(help="Materials, with commas between; by default all.")] = "",
) -> None:
    """Calculates what is missing in OUT and prints the comparison."""
    settings = DftSettings.model_validate({"protocol": protocol})
    done = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    wanted = [case for case in CASES if not only or case.name in only.split(",")]
    for case in wanted:
        if any(one["id"] == case.id for one in done):
            continue
        row = next(row for row in rows(data, case.table) if row["material_id"] == case.id)
        done.append(answer(case, row, ask(case, row, settings, folder)))
        with out.open("a") as lines:
            lines.write(json.dumps(done[-1]) + "\n")
    print_table(done)


if __name__ == "__main__":
    typer.run(main)
