"""Migration barriers of known lithium conductors by bond-valence energies and by elastic bands, against published ones.

    python -m experiments.benchmark_barriers measure STRUCTURES.csv.xz runs/benchmark_barriers
    python -m experiments.benchmark_barriers report runs/benchmark_barriers

STRUCTURES.csv.xz: mp2023_11_structures_155345, with columns material_id, cell and sites. Materials and published values
were chosen before anything was computed. What is done is not computed again, and what was stopped continues behind its
last finished hop.
"""

from __future__ import annotations

import csv
import json
import lzma
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from pymatgen.core import Lattice, Structure
from scipy.stats import kendalltau, spearmanr

from materials.base import Candidate, Crystal, Origin
from materials.evaluation import Outcome, Request, Status
from oracles.base import Oracle
from oracles.bvse import BondValenceSettings
from oracles.neb import NebSettings
from oracles.relax import RelaxSettings

RESULTS = "results.jsonl"
IMAGES = 3  # odd: one on the middle of a symmetric path
app = typer.Typer(add_completion=False, no_args_is_help=True)


@dataclass(frozen=True)
class Published:
    """A barrier (eV) for a vacancy of lithium moving in `dimensions` directions; source: authors, journal, year, DOI."""

    material_id: str
    formula: str
    dimensions: Literal[1, 2, 3]
    barrier: float
    source: str

    @property
    def name(self) -> str:
        return f"{self.material_id}-{self.dimensions}D"


PUBLISHED = (
    Published("mp-1138", "LiF", 3, 0.73, "Chen, Ouyang, Song, Sun, J. Phys. Chem. C 115, 7044 (2011), 10.1021/jp112202s"),
    Published("mp-985585", "Li3OCl", 3, 0.31, "Emly, Kioupakis, Van der Ven, Chem. Mater. 25, 4663 (2013), 10.1021/cm4016222"),
    Published("mp-2251", "Li3N", 2, 0.004, "Sarnthein, Schwarz, Bloechl, Phys. Rev. B 53, 9084 (1996), 10.1103/PhysRevB.53.9084"),
    Published("mp-22526", "LiCoO2", 2, 0.80, "Van der Ven, Ceder, J. Power Sources 97, 529 (2001), 10.1016/S0378-7753(01)00638-3"),
    Published("mp-19017", "LiFePO4", 1, 0.27, "Morgan, Van der Ven, Ceder, Electrochem. Solid-State Lett. 7, A30 (2004), 10.1149/1.1633511"),
    Published("mp-2251", "Li3N", 3, 0.58, "Sarnthein, Schwarz, Bloechl, Phys. Rev. B 53, 9084 (1996), 10.1103/PhysRevB.53.9084"),
    Published("mp-1960", "Li2O", 3, 0.15, "Chen, Ouyang, Song, Sun, J. Phys. Chem. C 115, 7044 (2011), 10.1021/jp112202s"),
    Published("mp-1153", "Li2S", 3, 0.27, "Moradabadi, Kaghazchi, Appl. Phys. Lett. 108, 213906 (2016), 10.1063/1.4952434"),
    Published("mp-18997", "LiMnPO4", 1, 0.25, "Morgan, Van der Ven, Ceder, Electrochem. Solid-State Lett. 7, A30 (2004), 10.1149/1.1633511"),
)


@app.command()
def measure(
    structures: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    folder: Annotated[Path, typer.Argument(file_okay=False)],
) -> None:
    """Relaxes each material, and computes what is not in the folder's results yet."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {record["name"] for record in _records(folder)}
    found = _structures(structures)
    relaxing = RelaxSettings(fmax=0.02, steps=300).build()
    for item in PUBLISHED:
        if item.name in known:
            continue
        candidate = Candidate(Crystal(found[item.material_id]), Origin("benchmark", note=item.material_id))
        relaxed = _ask(relaxing, "relax", candidate, None)
        record: dict[str, Any] = {"name": item.name, "relax": _summary(relaxed)}
        if isinstance(relaxed.material, Crystal):
            at_rest = Candidate(relaxed.material, candidate.origin)
            record["bvse"] = _summary(_ask(BondValenceSettings().build(), "bvse", at_rest, None))
            band = NebSettings(dimensions=item.dimensions, images=IMAGES).build()
            record["neb"] = _summary(_ask(band, "neb", at_rest, folder / item.name))
        with (folder / RESULTS).open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(record) + "\n")
        typer.echo(f"{item.name}: {record['neb'] if 'neb' in record else record['relax']}"[:400])


@app.command()
def report(folder: Annotated[Path, typer.Argument(exists=True, file_okay=False)]) -> None:
    """The table, mean absolute errors and rank correlations, as Markdown."""
    records = {record["name"]: record for record in _records(folder)}
    typer.echo("| material | published | bvse | neb | hops (length: forward / backward) | source |\n" + "| --- " * 6 + "|")
    for item in PUBLISHED:
        record = records.get(item.name, {})
        hops = ", ".join(
            f"{h['length']:.2f}: {h['forward']:.2f} / {h['backward']:.2f}" for h in record.get("neb", {}).get("hops", [])
        )
        bond_valence, band = (_value(record, kind, item) for kind in ("bvse", "neb"))
        typer.echo(
            f"| {item.formula}, {item.material_id}, {item.dimensions}D | {item.barrier:g} | {_text(bond_valence)} "
            f"| {_text(band)} | {hops} | {item.source} |"
        )
    for kind in ("bvse", "neb"):
        values = [(item.barrier, _value(records.get(item.name, {}), kind, item)) for item in PUBLISHED]
        published, computed = np.array([(p, v) for p, v in values if v is not None]).T
        error = computed - published
        typer.echo(
            f"{kind}: n {len(error)}, mean absolute error {np.abs(error).mean():.2f} eV, mean error {error.mean():+.2f}, "
            f"Spearman {spearmanr(published, computed).statistic:.2f}, Kendall {kendalltau(published, computed).statistic:.2f}"
        )


def _ask(oracle: Oracle, name: str, candidate: Candidate, folder: Path | None) -> Outcome:
    request = Request(name, candidate, candidate.material, name, folder=folder)
    return next(iter(oracle.evaluate([request])))


def _summary(outcome: Outcome) -> dict[str, Any]:
    kept = ("barriers", "hops", "supercell_atoms", "site_energies", "hops_that_cannot_help", "spacegroup_after")
    return {
        "status": str(outcome.status),
        "failure": None if outcome.failure is None else outcome.failure.message,
        "seconds": outcome.seconds,
        "std": [m.std for m in outcome.measurements],
        **{key: outcome.provenance[key] for key in kept if key in outcome.provenance},
    }


def _value(record: Mapping[str, Any], kind: str, item: Published) -> float | None:
    barriers = record.get(kind, {}).get("barriers", {})
    return barriers.get(f"{item.dimensions}D")


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _records(folder: Path) -> list[dict[str, Any]]:
    file = folder / RESULTS
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _structures(file: Path) -> dict[str, Structure]:
    wanted = {item.material_id for item in PUBLISHED}
    found: dict[str, Structure] = {}
    with lzma.open(file, "rt", newline="") as handle:
        for row in csv.DictReader(handle):
            if row["material_id"] in wanted:
                found[row["material_id"]] = _structure(row["cell"], row["sites"])
    return found


def _structure(cell: str, sites: str) -> Structure:
    species: list[str] = []
    places: list[float] = []
    for group in sites.split(";"):
        element, *numbers = group.split()
        species += [element] * (len(numbers) // 3)
        places += map(float, numbers)
    lattice = Lattice.from_parameters(*map(float, cell.split()))
    return Structure(lattice, species, np.array(places).reshape(-1, 3))


if __name__ == "__main__":
    app()
