"""Builds the reference hull that ships: energies of known phases with SevenNet-0, in two tiers.

    python -m experiments.build_reference_hull --tier single_point --work hull_work
    python -m experiments.build_reference_hull --tier relaxed --work hull_work
    python -m experiments.build_reference_hull --finish --work hull_work

Resumable: every result is appended to a part file in the work folder at once, and a phase found there is not
computed again. One process per core with one torch thread each; with --device cuda one process and large
batches.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from loop.part_files import compute, done_ids, grouped, records

ATOMS_PER_TASK = {"cpu": 256, "cuda": 8192}


class Tier(StrEnum):
    """Which part of the reference to compute."""

    relaxed = "relaxed"
    single_point = "single_point"
    all = "all"


def build_single_point(data: Path, work: Path, workers: int, device: str, potential: str) -> None:
    """Energies of every near-hull phase at its database geometry: elements, small cells and battery chemistry first."""
    from experiments.reference_selection import BATTERY_ELEMENTS, REDOX_METALS, fit_volume_scaling, select
    from experiments.reference_tasks import LARGEST_RELAXED, SinglePointTask
    from materials.potential import load_potential

    path = work / "single_point.jsonl"
    done = done_ids(path)
    phases = [phase for phase in select(data, load_potential(potential).elements) if phase.id not in done]
    battery = BATTERY_ELEMENTS | REDOX_METALS
    phases.sort(
        key=lambda phase: (
            len(phase.elements) > 1,
            phase.atoms > LARGEST_RELAXED and not phase.elements <= battery,
            phase.atoms,
            phase.id,
        )
    )
    task = SinglePointTask(potential, device, fit_volume_scaling(data))
    compute(task, grouped(phases, ATOMS_PER_TASK[device]), path, workers, len(phases))


def build_relaxed(data: Path, work: Path, workers: int, potential: str, fmax: float, steps: int) -> None:
    """Relaxes what the shared relaxed table lacks, the most useful first."""
    from experiments.reference_selection import fit_volume_scaling, select
    from experiments.reference_tasks import RelaxTask, to_relax
    from materials.potential import load_potential

    path = work / "relaxed.jsonl"
    done = done_ids(path)
    points = {record["id"]: record["energy_per_atom"] for record in records(work / "single_point.jsonl")}
    phases = to_relax(data, select(data, load_potential(potential).elements), points)
    phases = [phase for phase in phases if phase.id not in done]
    compute(
        RelaxTask(potential, fmax, steps, fit_volume_scaling(data)),
        grouped(phases, 1),
        path,
        workers,
        len(phases),
    )


def main(
    tier: Annotated[Tier, typer.Option(help="Which tier to compute.")] = Tier.all,
    data: Annotated[Path, typer.Option(help="Folder of the shared tables.")] = Path("../shared/data"),
    work: Annotated[Path, typer.Option(help="Work folder for the part files.")] = Path("hull_work"),
    workers: Annotated[int, typer.Option(help="Processes; 0 means one per core.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda (single-point tier only).")] = "cpu",
    potential: Annotated[str, typer.Option(help="A shipped SevenNet potential.")] = "7net-0",
    fmax: Annotated[
        float, typer.Option(help="Largest force at which a relaxation ends, eV/angstrom.")
    ] = 0.03,
    steps: Annotated[int, typer.Option(help="Largest number of steps of a relaxation.")] = 200,
    finish: Annotated[
        bool, typer.Option("--finish", help="Only write the files that ship, from what is there.")
    ] = False,
) -> None:
    """Compute the reference energies, or write the files that ship."""
    work.mkdir(parents=True, exist_ok=True)
    processes = workers or os.cpu_count() or 1
    if finish:
        from experiments.reference_files import write_reference

        write_reference(data, work, potential, processes)
        return
    if tier in (Tier.single_point, Tier.all):
        build_single_point(data, work, 1 if device == "cuda" else processes, device, potential)
    if tier in (Tier.relaxed, Tier.all):
        build_relaxed(data, work, processes, potential, fmax, steps)


if __name__ == "__main__":
    typer.run(main)
