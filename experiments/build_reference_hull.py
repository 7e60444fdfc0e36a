"""Builds the reference hull that ships: energies of known phases with SevenNet-0, in two tiers.

    python -m experiments.build_reference_hull --tier single_point --work hull_work
    python -m experiments.build_reference_hull --tier relaxed --work hull_work
    python -m experiments.build_reference_hull --finish --work hull_work

Resumable: every result is appended to a part file in the work folder at once, and a phase found there is not
computed again. One process per core with one torch thread each; with --device cuda one process and large
batches.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

Record = dict[str, Any]
ATOMS_PER_TASK = {"cpu": 256, "cuda": 8192}


class Tier(StrEnum):
    """Which part of the reference to compute."""

    relaxed = "relaxed"
    single_point = "single_point"
    all = "all"


def done_ids(path: Path) -> set[str]:
    """Ids of the phases a part file already holds; a line cut off by a kill is removed from the file."""
    if not path.is_file():
        return set()
    lines = path.read_text().splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        path.write_text("".join(lines[:-1]))
        lines = lines[:-1]
    return {json.loads(line)["id"] for line in lines}


def records(path: Path) -> Iterator[Record]:
    """The results of one part file."""
    if path.is_file():
        with path.open() as handle:
            yield from (json.loads(line) for line in handle if line.endswith("\n"))


def start_worker() -> None:
    """One torch thread per process: twice as fast as one process with two threads."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


def compute(
    task: Callable[[Sequence[Any]], list[Record]],
    groups: Iterable[Sequence[Any]],
    path: Path,
    workers: int,
    total: int,
) -> None:
    """Runs task on each group in `workers` processes and appends what comes back to path as it arrives."""
    started, finished = time.monotonic(), 0
    context = multiprocessing.get_context("spawn")
    waiting: set[Future[list[Record]]] = set()
    remaining = iter(groups)
    with (
        ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker) as pool,
        path.open("a") as out,
    ):
        while True:
            # Few in flight, so that stopping the run loses little.
            while len(waiting) < workers + 2 and (group := next(remaining, None)) is not None:
                waiting.add(pool.submit(task, group))
            if not waiting:
                return
            arrived, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in arrived:
                results = future.result()
                out.writelines(json.dumps(record) + "\n" for record in results)
                finished += len(results)
            out.flush()
            typer.echo(f"{path.stem}: {finished} of {total} in {time.monotonic() - started:.0f} s")


def grouped(phases: Sequence[Any], atoms_per_task: int) -> Iterator[list[Any]]:
    """Consecutive phases, about atoms_per_task atoms together."""
    group: list[Any] = []
    atoms = 0
    for phase in phases:
        group.append(phase)
        atoms += phase.atoms
        if atoms >= atoms_per_task:
            yield group
            group, atoms = [], 0
    if group:
        yield group


def build_single_point(data: Path, work: Path, workers: int, device: str, potential: str) -> None:
    """Energies of every near-hull phase at its database geometry, small cells first."""
    from experiments.reference_selection import fit_volume_scaling, select
    from experiments.reference_tasks import SinglePointTask
    from materials.potential import load_potential

    path = work / "single_point.jsonl"
    done = done_ids(path)
    phases = [phase for phase in select(data, load_potential(potential).elements) if phase.id not in done]
    phases.sort(key=lambda phase: (phase.atoms, phase.id))
    task = SinglePointTask(potential, device, fit_volume_scaling(data))
    compute(task, grouped(phases, ATOMS_PER_TASK[device]), path, workers, len(phases))


def build_relaxed(data: Path, work: Path, workers: int, potential: str, fmax: float, steps: int) -> None:
    """Relaxes what the shared relaxed table lacks, the most useful first."""
    from experiments.reference_selection import fit_volume_scaling, select
    from experiments.reference_tasks import RelaxTask, to_relax
    from materials.potential import load_potential

    path = work / "relaxed.jsonl"
    done = done_ids(path)
    phases = to_relax(data, select(data, load_potential(potential).elements))
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
    if finish:
        from experiments.reference_files import write_reference

        write_reference(data, work, potential)
        return
    processes = workers or os.cpu_count() or 1
    if tier in (Tier.single_point, Tier.all):
        build_single_point(data, work, 1 if device == "cuda" else processes, device, potential)
    if tier in (Tier.relaxed, Tier.all):
        build_relaxed(data, work, processes, potential, fmax, steps)


if __name__ == "__main__":
    typer.run(main)
