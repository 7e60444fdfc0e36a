"""Molecular dynamics of the lithium conductor Li7P3S11 (42 atoms), to be held against what is published of it.

    python -m experiments.benchmarks.md run li7p3s11.cif --temperature 900     # and 650, and 500
    python -m experiments.benchmarks.md show li7p3s11.cif

The file holds mp-641703 of the Materials Project. Stop a run when you like: started again, it goes on from its last
checkpoint, and runs.jsonl says so.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from materials.base import Candidate, Crystal, Origin
from materials.evaluation import Request
from materials.reading import read_materials
from materials.relaxation import relax
from oracles.conduction.md import MolecularDynamicsSettings
from oracles.conduction.trajectory import read_checkpoint

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
SETTINGS = MolecularDynamicsSettings(
    mobile_ion="Li",
    temperatures=(500.0, 650.0, 900.0),
    picoseconds=20.0,
    equilibration=2.0,
    supercell=5.0,
    most_atoms=60,
)
RELAXED_TO = 0.05  # eV/angstrom

StructureFile = Annotated[Path, typer.Argument(help="A structure file with mp-641703 alone.")]
Length = Annotated[
    float, typer.Option(help="Length of each run behind the equilibration, ps; a longer one goes on.")
]
RunFolder = Annotated[Path, typer.Option("--dir", help="Where trajectories and checkpoints are kept.")]


@app.command()
def run(
    structure: StructureFile,
    temperature: Annotated[float, typer.Option(help=f"One of {SETTINGS.temperatures}, K.")],
    folder: RunFolder = Path("runs/benchmark_md"),
    picoseconds: Length = SETTINGS.picoseconds,
) -> None:
    """Runs one temperature, or what is left of it."""
    if temperature not in SETTINGS.temperatures:
        raise typer.BadParameter(f"temperature must be one of {SETTINGS.temperatures}")
    oracle, request = (
        SETTINGS.model_copy(update={"picoseconds": picoseconds}).build(),
        request_of(structure, folder),
    )
    place = folder / f"{temperature:g}K"
    found = read_checkpoint(place)
    begin = {"temperature": temperature, "from_frame": found.frames if found else 0}
    note(folder, {"event": "begins", **begin})
    started = time.monotonic()
    trajectory = oracle.trajectory(request, oracle.cell_of(request), temperature, folder)
    note(folder, {"event": "ends", **begin, "frames": len(trajectory), "seconds": time.monotonic() - started})


def request_of(structure: Path, folder: Path) -> Request:
    """The request for the relaxed structure, which is relaxed once and kept."""
    (entry,) = read_materials(structure)
    candidate = Candidate(entry.material, Origin("benchmark"))
    kept = folder / "relaxed.json"
    if not kept.exists():
        assert isinstance(entry.material, Crystal)
        relaxation = relax(entry.material.structure, SETTINGS.load(), fmax=RELAXED_TO)
        folder.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".partial")
        partial.write_text(json.dumps(Crystal(relaxation.structure).to_dict()))
        partial.replace(kept)
    material = Crystal.from_dict(json.loads(kept.read_text()))
    return Request("benchmark", candidate, material, "md", folder=folder)


def note(folder: Path, line: dict[str, object]) -> None:
    """Adds a line to runs.jsonl."""
    with (folder / "runs.jsonl").open("a") as handle:
        handle.write(json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S"), **line}) + "\n")


@app.command()
def show(
    structure: StructureFile,
    folder: RunFolder = Path("runs/benchmark_md"),
    picoseconds: Length = SETTINGS.picoseconds,
) -> None:
    """Prints what the oracle makes of the finished runs."""
    settings = SETTINGS.model_copy(update={"picoseconds": picoseconds})
    (outcome,) = settings.build().evaluate([request_of(structure, folder)])
    typer.echo(json.dumps(outcome.to_dict() | {"material": None}, indent=2))


if __name__ == "__main__":
    app()
