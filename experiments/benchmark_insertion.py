"""Voltages, capacities and volume changes of known electrodes by the oracle `insertion`, against published ones.

    python -m experiments.benchmark_insertion --out runs/benchmark_insertion.jsonl

Discharged electrodes are phases of the reference hull. Run again, it goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from materials.base import Candidate, Crystal, Origin
from materials.evaluation import Request
from materials.hull import ReferenceHull
from oracles.base import Oracle
from oracles.insertion import InsertionSettings
from oracles.relax import RelaxSettings


@dataclass(frozen=True)
class Known:
    """An electrode of the reference; published: calculated with GGA+U, then measured, V; None where not found."""

    formula: str
    id: str
    ion: str
    calculated: float | None
    measured: float | None
    volume_change: float | None = None


# Voltages: Chevrier, Ong, Armiento, Chan, Ceder, Phys. Rev. B 2010, 82, 075122 (doi:10.1103/PhysRevB.82.075122), GGA+U
# (GGA for the sulfide) and experiment.
ELECTRODES = (
    Known("LiCoO2", "mp-22526", "Li", 3.85, 4.1),
    Known("LiNiO2", "mp-25411", "Li", 3.92, 3.85),
    Known("LiMn2O4", "mp-1272804", "Li", 4.04, 4.1),
    Known("LiFePO4", "mp-19017", "Li", 3.47, 3.5, -0.0681),
    Known("LiMnPO4", "mp-18997", "Li", 4.01, 4.1),
    Known("LiCoPO4", "mp-18915", "Li", 4.73, 4.8),
    Known("LiNiPO4", "mp-22417", "Li", 5.07, 5.1),
    Known("LiTiS2", "mp-9615", "Li", 1.9, 2.1),
    Known("LiVS2", "mp-7543", "Li", None, None),
    Known("NaCoO2", "mp-867515", "Na", None, None),
    Known("LiTi2P3O12", "mp-18640", "Li", None, None),
)


def evaluated(electrode: Known, relax: Oracle, insertion: Oracle) -> dict[str, Any]:
    """The values by property, or the failure."""
    phases = ReferenceHull.shipped().known_phases(electrode.formula)
    start = Crystal(next(phase for phase in phases if phase.id == electrode.id).structure())
    candidate = Candidate(start, Origin("reference"))
    (relaxed,) = relax.evaluate([Request("relax", candidate, start, "relax")])
    if relaxed.material is None:
        return {"failure": str(relaxed.failure)}
    request = Request("insertion", candidate, relaxed.material, "insertion", relaxed.measurements)
    (outcome,) = insertion.evaluate([request])
    found = {m.property: m.value for m in outcome.measurements}
    return found or {"failure": str(outcome.failure)}


def missing(out: Path) -> Iterator[Known]:
    """Electrodes that the file does not hold yet."""
    done = {json.loads(line)["formula"] for line in out.read_text().splitlines()} if out.exists() else set()
    yield from (electrode for electrode in ELECTRODES if electrode.formula not in done)


def main(out: Annotated[Path, typer.Option(help="Results, a JSON object per line.")]) -> None:
    """Measures every electrode that is missing, and prints the table."""
    out.parent.mkdir(parents=True, exist_ok=True)
    relax = RelaxSettings().build()
    oracles = {ion: InsertionSettings(mobile_ion=ion).build() for ion in {e.ion for e in ELECTRODES}}
    for electrode in missing(out):
        line = {"formula": electrode.formula} | evaluated(electrode, relax, oracles[electrode.ion])
        with out.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")
    results = {line["formula"]: line for line in map(json.loads, out.read_text().splitlines())}
    for electrode in ELECTRODES:
        found = results[electrode.formula]
        if "failure" in found:
            typer.echo(f"| {electrode.formula} | {found['failure']} | | | | |")
            continue
        typer.echo(
            f"| {electrode.formula} | {found['average_voltage']:.2f} | {electrode.calculated} | {electrode.measured} "
            f"| {found['gravimetric_capacity']:.0f} | {found['volume_change']:+.1%} |"
        )


if __name__ == "__main__":
    typer.run(main)
