"""Migration barriers of known lithium conductors by bond-valence energies and by elastic bands, against published ones.

    python -m experiments.benchmarks.barriers measure STRUCTURES.csv.xz runs/benchmark_barriers
    python -m experiments.benchmarks.barriers report runs/benchmark_barriers

STRUCTURES.csv.xz: mp2023_11_structures_155345, with columns material_id, cell and sites. Materials and published values
were chosen before anything was computed. What is done is not computed again, and what was stopped continues behind its
last finished hop.
"""

from __future__ import annotations

import csv
import json
import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from pymatgen.core import Structure
from scipy.stats import kendalltau, spearmanr

from materials.base import Candidate, Crystal, Origin
from materials.evaluation import Outcome, Request
from materials.reference_table import structure_from_text
from oracles.base import Oracle
from oracles.conduction.bvse import BondValenceSettings
from oracles.conduction.neb import NebSettings
from oracles.relax import RelaxSettings

RESULTS = "results.jsonl"
KEPT = ("barriers", "hops", "supercell_atoms", "site_energies", "hops_that_cannot_help", "spacegroup_after")
app = typer.Typer(add_completion=False, no_args_is_help=True)


@dataclass(frozen=True)
class Published:
    """A calculated barrier (eV) of a lithium vacancy in `dimensions` directions; None where only its rank is known.

    source: authors, journal, year, DOI. read: where the figure was read for this table; None where it is quoted from
    memory.
    """

    material_id: str
    formula: str
    dimensions: Literal[1, 2, 3]
    barrier: float | None
    source: str
    read: str | None


ANTIPEROVSKITE = "Emly, Kioupakis, Van der Ven, Chem. Mater. 25, 4663 (2013), 10.1021/cm4016222"
COBALTATE = "Van der Ven, Ceder, J. Power Sources 97, 529 (2001), 10.1016/S0378-7753(01)00638-3"
HALIDES = "Kishida et al., J. Phys. Chem. B 110, 8258 (2006), 10.1021/jp0559229: lower than in LiF"
INTERPHASES = "Chen, Ouyang, Song, Sun, J. Phys. Chem. C 115, 7044 (2011), 10.1021/jp112202s"
NITRIDE = "Sarnthein, Schwarz, Blöchl, Phys. Rev. B 53, 9084 (1996), 10.1103/PhysRevB.53.9084"
OLIVINE = "Morgan, Van der Ven, Ceder, Electrochem. Solid-State Lett. 7, A30 (2004), 10.1149/1.1633511"
PHOSPHATE = "Du, Holzwarth, J. Electrochem. Soc. 154, A999 (2007), 10.1149/1.2772200"
ABSTRACT = "abstract"
BENCHMARK = "ML-PEG, which took it from the paper"
PUBLISHED = (
    Published("mp-1138", "LiF", 3, 0.729, INTERPHASES, ABSTRACT),
    Published("mp-985585", "Li3OCl", 3, 0.31, ANTIPEROVSKITE, None),
    Published("mp-2251", "Li3N", 3, 0.58, NITRIDE, ABSTRACT),
    Published("mp-2251", "Li3N", 2, 0.004, NITRIDE, ABSTRACT),
    Published("mp-22526", "LiCoO2", 2, 0.80, COBALTATE, None),
    Published("mp-19017", "LiFePO4", 1, 0.27, OLIVINE, BENCHMARK),
    Published("mp-1960", "Li2O", 3, 0.152, INTERPHASES, ABSTRACT),
    Published("mp-22905", "LiCl", 3, None, HALIDES, ABSTRACT),
    Published("mp-2878", "gamma-Li3PO4", 1, 0.6, PHOSPHATE, ABSTRACT),
)


@app.command()
def measure(
    structures: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    folder: Annotated[Path, typer.Argument(file_okay=False)],
    image_spacing: Annotated[float, typer.Option(help="Of the images of a hop, angstrom.")] = 0.8,
    image_distance: Annotated[float, typer.Option(help="Of a vacancy from its images, angstrom.")] = 9.0,
    only: Annotated[str | None, typer.Option(help="The id of one material; by default all.")] = None,
) -> None:
    """Relaxes each material, and computes what is not in the folder's results yet."""
    folder.mkdir(parents=True, exist_ok=True)
    found, known = _structures(structures), _records(folder)
    settings = {"image_spacing": image_spacing, "image_distance": image_distance}
    for item in PUBLISHED:
        if item.material_id in known or (only is not None and item.material_id != only):
            continue
        record = _measured(item, found[item.material_id], folder, settings)
        known[item.material_id] = record
        with (folder / RESULTS).open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(record) + "\n")
        typer.echo(f"{item.formula}: {record}"[:600])


def _measured(
    item: Published, structure: Structure, folder: Path, settings: dict[str, Any]
) -> dict[str, Any]:
    """In as many dimensions as the first entry of a material asks for."""
    candidate = Candidate(Crystal(structure), Origin("benchmark", note=item.material_id))
    relaxed = _ask(RelaxSettings(fmax=0.02, steps=300).build(), candidate, None)
    record: dict[str, Any] = {"material_id": item.material_id, "relax": _summary(relaxed)}
    if isinstance(relaxed.material, Crystal):
        at_rest = Candidate(relaxed.material, candidate.origin)
        band = NebSettings.model_validate({**settings, "dimensions": item.dimensions})
        record["bvse"] = _summary(_ask(BondValenceSettings().build(), at_rest, None))
        record["neb"] = _summary(_ask(band.build(), at_rest, folder / item.material_id))
    return record


@app.command()
def report(folder: Annotated[Path, typer.Argument(exists=True, file_okay=False)]) -> None:
    """The tables of barriers and of errors, as Markdown."""
    records = _records(folder)
    head = "material", "published", "bvse", "neb", "hops: length, forward, backward", "read in", "source"
    _row(*head)
    _row(*["---"] * len(head))
    for item in PUBLISHED:
        neb = records.get(item.material_id, {}).get("neb", {})
        hops = [f"{h['length']:.2f}, {h['forward']:.2f}, {h['backward']:.2f}" for h in neb.get("hops", [])]
        _row(
            f"{item.formula}, {item.material_id}, {item.dimensions}D",
            "" if item.barrier is None else f"{item.barrier:g}",
            *(_text(_value(records, kind, item)) for kind in ("bvse", "neb")),
            neb.get("failure") or "; ".join(hops),
            item.read or "quoted, not read again",
            item.source,
        )
    typer.echo()
    _row("", "mean absolute error", "mean error", "Spearman", "Kendall")
    _row(*["---"] * 5)
    for kind in ("bvse", "neb"):
        for read in (False, True):
            _row(*_errors(kind, records, [item for item in PUBLISHED if item.read or not read], read))


def _row(*columns: str) -> None:
    typer.echo(f"| {' | '.join(columns)} |")


def _errors(kind: str, records: Mapping[str, Any], items: Sequence[Published], read: bool) -> tuple[str, ...]:
    values = [(item.barrier, _value(records, kind, item)) for item in items]
    pairs = np.array([(p, v) for p, v in values if p is not None and v is not None]).reshape(-1, 2)
    name = f"{kind}, {len(pairs)} barriers" + (", those read" if read else "")
    if len(pairs) < 3:
        return name, "", "", "", ""
    published, computed = pairs.T
    error = computed - published
    ranks = spearmanr(published, computed).statistic, kendalltau(published, computed).statistic
    return name, f"{np.abs(error).mean():.2f}", f"{error.mean():+.2f}", *(f"{rank:.2f}" for rank in ranks)


def _ask(oracle: Oracle, candidate: Candidate, folder: Path | None) -> Outcome:
    request = Request("benchmark", candidate, candidate.material, "benchmark", folder=folder)
    return next(iter(oracle.evaluate([request])))


def _summary(outcome: Outcome) -> dict[str, Any]:
    return {
        "status": str(outcome.status),
        "failure": None if outcome.failure is None else outcome.failure.message,
        "seconds": outcome.seconds,
        "std": [m.std for m in outcome.measurements],
        **{key: outcome.provenance[key] for key in KEPT if key in outcome.provenance},
    }


def _value(records: Mapping[str, Any], kind: str, item: Published) -> float | None:
    found = records.get(item.material_id, {}).get(kind, {})
    value: float | None = found.get("barriers", {}).get(f"{item.dimensions}D")
    return value


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _records(folder: Path) -> dict[str, dict[str, Any]]:
    file = folder / RESULTS
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {record["material_id"]: record for record in map(json.loads, lines)}


def _structures(file: Path) -> dict[str, Structure]:
    wanted = {item.material_id for item in PUBLISHED}
    with lzma.open(file, "rt", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["material_id"] in wanted]
    return {row["material_id"]: structure_from_text(row["cell"], row["sites"]) for row in rows}


if __name__ == "__main__":
    app()
