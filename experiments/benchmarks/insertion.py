"""Voltages, capacities and volume changes of known electrodes by the oracle `insertion`, against published ones.

    python -m experiments.benchmarks.insertion --out runs/benchmark_insertion.jsonl \\
        --ground-states mp_groundstate_Ef_Ed_85014.csv.xz

Discharged electrodes are phases of the reference hull. Run again, it goes on where it stopped. Ground states tell what
the potential itself is worth: the voltage between the lowest phases of both formulas, whether or not one becomes the
other, by energies of the Materials Project and of the reference hull. Corrections cancel in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import pymatgen.core as pmg
import typer

from experiments.benchmarks.hull import rows
from materials.base import Candidate, Crystal, Origin
from materials.evaluation import Request
from materials.hull import ReferenceHull
from oracles.base import Oracle
from oracles.insertion import InsertionSettings
from oracles.relax import RelaxSettings


@dataclass(frozen=True)
class Known:
    """An electrode of the reference; measured: its average voltage, V, None where unknown."""

    formula: str
    id: str
    measured: float | None
    ion: str = "Li"


# Voltages as collected by Zhou, Cococcioni, Marianetti, Morgan, Ceder, Phys. Rev. B 2004, 70, 235121
# (doi:10.1103/PhysRevB.70.235121), and for the sulfide by Chevrier, Ong, Armiento, Chan, Ceder, Phys. Rev. B 2010, 82,
# 075122 (doi:10.1103/PhysRevB.82.075122).
ELECTRODES = (
    Known("LiCoO2", "mp-22526", 4.1),
    Known("LiNiO2", "mp-25411", 3.9),
    Known("LiMn2O4", "mp-1272804", 4.1),
    Known("LiFePO4", "mp-19017", 3.5),
    Known("LiMnPO4", "mp-18997", 4.1),
    Known("LiCoPO4", "mp-18915", 4.8),
    Known("LiNiPO4", "mp-22417", None),
    Known("LiTiS2", "mp-9615", 2.1),
    Known("LiVS2", "mp-7543", None),
    Known("NaCoO2", "mp-867515", None, "Na"),
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


def between_ground_states(electrode: Known, energies: Mapping[str, float]) -> float | None:
    """The voltage of formation energies (eV/atom by formula); None where one is missing."""
    discharged = pmg.Composition(electrode.formula)
    charged = pmg.Composition({e.symbol: n for e, n in discharged.items() if e.symbol != electrode.ion})
    names = discharged.reduced_formula, charged.reduced_formula
    if not all(name in energies for name in names):
        return None
    energy = energies[names[1]] * charged.num_atoms - energies[names[0]] * discharged.num_atoms
    return float(energy / discharged[electrode.ion])


def hull_energies(hull: ReferenceHull, formulas: Iterable[str]) -> dict[str, float]:
    """Formation energies of the lowest phases that the hull knows."""
    lowest = {formula: hull.known_phases(formula)[:1] for formula in formulas}
    return {f: hull.formation_energy(f, hull.energy_of(found[0])) for f, found in lowest.items() if found}


def table(results: Mapping[str, Mapping[str, Any]], ground_states: Path) -> Iterator[str]:
    """A line per electrode."""
    published = {row["reduced_formula"]: float(row["Ef_eV_atom"]) for row in rows(ground_states)}
    own = hull_energies(ReferenceHull.shipped(), published.keys() & ReferenceHull.shipped().formulas)
    for electrode in ELECTRODES:
        found = results[electrode.formula]
        told = [between_ground_states(electrode, energies) for energies in (published, own)]
        cells = ["" if value is None else f"{value:.2f}" for value in (*told, electrode.measured)]
        if "failure" in found:
            measured = [found["failure"], "", ""]
        else:
            measured = [f"{found['average_voltage']:.2f}", f"{found['gravimetric_capacity']:.0f}"]
            measured.append(f"{found['volume_change']:+.1%}")
        yield f"| {' | '.join([electrode.formula, *measured, *cells])} |"


def main(
    out: Annotated[Path, typer.Option(help="Results, a JSON object per line.")],
    ground_states: Annotated[Path, typer.Option(help="mp_groundstate_Ef_Ed_85014.csv.xz")],
) -> None:
    """Measures every electrode that is missing, and prints the table."""
    out.parent.mkdir(parents=True, exist_ok=True)
    relax = RelaxSettings().build()
    insertion = cache(lambda ion: InsertionSettings(mobile_ion=ion).build())
    for electrode in missing(out):
        line = {"formula": electrode.formula} | evaluated(electrode, relax, insertion(electrode.ion))
        with out.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")
    results = {line["formula"]: line for line in map(json.loads, out.read_text().splitlines())}
    typer.echo("\n".join(table(results, ground_states)))


if __name__ == "__main__":
    typer.run(main)
