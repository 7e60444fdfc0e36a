"""Relaxations per minute, against a plain ASE loop, on strained and rattled cells of the shared tables.

    python -m experiments.benchmarks.relaxation --data shared/data --out relaxation.jsonl
    python -m experiments.benchmarks.relaxation --data shared/data --device cuda --number 2000

The first runs block after block through both: matloop's local executor, one worker process per core with one thread,
and one process that does what the README of sevenn shows, with torch's default threads: SevenNetCalculator, FIRE and
FrechetCellFilter. Loading the potential is left out of both. It writes each block to --out and goes on from there. The
second tells the speed of batches on a GPU. Run both on a machine that does nothing else.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from pymatgen.core import Structure

from experiments.benchmarks.executor import FOREVER, relax_in_turn, request_for
from experiments.relaxation_starts import relaxation_starts
from loop.executors.base import Dispatcher
from loop.executors.local import LocalExecutorSettings
from loop.executors.worker import THREAD_VARIABLES
from materials.base import Crystal
from materials.evaluation import Outcome
from materials.potential import Potential, load_potential, to_atoms
from oracles.relax import RelaxSettings

app = typer.Typer(add_completion=False, rich_markup_mode=None)
FMAX = 0.05  # eV/angstrom
STEPS = 500
SAME_ENERGY = 1e-3  # eV/atom
RESAMPLES = 10_000
FORWARD_REPEATS = 5

Answer = dict[str, Any]
"""id, energy (eV/atom, None where there is none), steps, structure as a dict, and a note where something was amiss."""


@app.command()
def run(
    data: Annotated[Path, typer.Option(help="Folder of the shared tables.")],
    out: Annotated[Path, typer.Option(help="JSON lines, one per block.")] = Path("relaxation.jsonl"),
    split: Annotated[str, typer.Option(help="Split of the table.")] = "val",
    number: Annotated[int, typer.Option(help="Structures.")] = 100,
    block: Annotated[int, typer.Option(help="Structures in a block.")] = 25,
    repeats: Annotated[int, typer.Option(help="How often each block is timed.")] = 2,
    workers: Annotated[int, typer.Option(help="Worker processes of matloop.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of the choice and of the rattle.")] = 0,
    device: Annotated[str | None, typer.Option(help="cuda or cpu: time batches there instead.")] = None,
) -> None:
    """Times both ways, or batches on a device, and prints what came out."""
    starts = relaxation_starts(data, split, number, seed)
    if device is not None:
        for line in time_batches([structure for _, structure in starts], device):
            typer.echo(line)
        return
    blocks = [starts[first : first + block] for first in range(0, number, block)]
    done = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    known = {(entry["repeat"], entry["block"]) for entry in done}
    todo = [(r, b) for r in range(repeats) for b in range(len(blocks)) if (r, b) not in known]
    if todo:
        with out.open("a", encoding="utf-8") as file:
            for entry in time_blocks(blocks, todo, workers):
                file.write(json.dumps(entry) + "\n")
                file.flush()
                done.append(entry)
                typer.echo(f"block {entry['block']}: {entry['plain']:.1f} s and {entry['matloop']:.1f} s")
    for line in report(done, number):
        typer.echo(line)


def time_blocks(
    blocks: Sequence[Sequence[tuple[str, Structure]]], todo: Sequence[tuple[int, int]], workers: int
) -> Iterator[dict[str, Any]]:
    """Seconds and answers of both ways for (repeat, block) in `todo`; which way goes first alternates."""
    settings = RelaxSettings(fmax=FMAX, steps=STEPS, device="cpu")
    first = request_for(settings, Crystal(blocks[0][0][1]))
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalExecutorSettings(workers=workers).build(Path(folder), FOREVER) as dispatcher,
        plain_process() as plain,
    ):
        dispatcher.warm([settings])
        dispatcher.map(relax_in_turn, [(settings, [first])] * workers)
        threads = plain.submit(relax_plainly, blocks[0][:1]).result()[2]
        for repeat, number in todo:
            entry: dict[str, Any] = {"repeat": repeat, "block": number, "threads": threads}
            ways = ["plain", "matloop"]
            for way in ways if (repeat + number) % 2 == 0 else reversed(ways):
                if way == "plain":
                    seconds, answers, _ = plain.submit(relax_plainly, blocks[number]).result()
                else:
                    seconds, answers = relax_locally(dispatcher, settings, blocks[number], repeat + 1)
                entry |= {way: seconds, f"{way}_answers": answers}
            yield entry


@contextmanager
def plain_process() -> Iterator[ProcessPoolExecutor]:
    """One fresh process in which torch has the threads it takes by default."""
    kept = {name: os.environ.pop(name) for name in THREAD_VARIABLES if name in os.environ}
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            pool.submit(os.getpid).result()
            os.environ.update(kept)
            yield pool
    finally:
        os.environ.update(kept)


@lru_cache(maxsize=1)
def _plain_calculator() -> Any:
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator("7net-0", device="cpu")


def relax_plainly(starts: Sequence[tuple[str, Structure]]) -> tuple[float, list[Answer], int]:
    """Seconds, answers and threads of a loop over the structures, as one would write it with ASE."""
    import torch
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE
    from pymatgen.io.ase import AseAtomsAdaptor

    calculator = _plain_calculator()
    answers, began = [], time.perf_counter()
    for name, structure in starts:
        atoms = AseAtomsAdaptor.get_atoms(structure)
        atoms.calc = calculator
        dynamics = FIRE(FrechetCellFilter(atoms), logfile=None)
        converged = dynamics.run(fmax=FMAX, steps=STEPS)
        energy = atoms.get_potential_energy() / len(atoms)
        end = AseAtomsAdaptor.get_structure(atoms)
        note = "" if converged else f"not converged in {STEPS} steps"
        answers.append(_answer(name, energy, dynamics.nsteps, end, note))
    return time.perf_counter() - began, answers, torch.get_num_threads()


def relax_locally(
    dispatcher: Dispatcher, settings: RelaxSettings, starts: Sequence[tuple[str, Structure]], attempt: int
) -> tuple[float, list[Answer]]:
    """Seconds and answers of the local executor, from the first request to the last outcome."""
    requests = [request_for(settings, Crystal(structure)) for _, structure in starts]
    began, outcomes = time.perf_counter(), dict[str, Outcome]()
    for request in requests:
        dispatcher.submit(settings, request, attempt)
    while dispatcher.running():
        outcomes |= {outcome.key: outcome for outcome in dispatcher.wait()}
    seconds = time.perf_counter() - began
    answers = []
    for (name, _), request in zip(starts, requests, strict=True):
        outcome = outcomes[request.key]
        if outcome.failure is not None or not isinstance(outcome.material, Crystal):
            answers.append(_answer(name, None, outcome.provenance.get("steps"), None, str(outcome.failure)))
        else:
            steps, optimizer = outcome.provenance["steps"], outcome.provenance["optimizer"]
            energy = outcome.measurements[0].value
            answers.append(_answer(name, energy, steps, outcome.material.structure, optimizer))
    return seconds, answers


def _answer(name: str, energy: float | None, steps: Any, end: Structure | None, note: str) -> Answer:
    structure = None if end is None else end.as_dict()
    return {"id": name, "energy": energy, "steps": steps, "structure": structure, "note": note}


def report(done: Sequence[dict[str, Any]], number: int) -> Iterator[str]:
    """Rates, their ratio with a 95 % bootstrap interval over blocks, and how the energies compare."""
    sizes = np.array([len(entry["plain_answers"]) for entry in done])
    seconds = {way: np.array([entry[way] for entry in done]) for way in ("plain", "matloop")}
    threads = sorted({entry["threads"] for entry in done})
    for way, text in (("plain", f"plain ASE loop, {threads} threads"), ("matloop", "matloop")):
        yield f"{text:32} {60 * sizes.sum() / seconds[way].sum():7.1f} relaxations per minute"
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(done), size=(RESAMPLES, len(done)))
    ratios = seconds["plain"][drawn].sum(axis=1) / seconds["matloop"][drawn].sum(axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    ratio = seconds["plain"].sum() / seconds["matloop"].sum()
    yield f"ratio {ratio:.2f} (95 % interval {low:.2f} to {high:.2f}, {len(done)} paired blocks)"
    pairs = [
        pair
        for entry in done
        if entry["repeat"] == 0
        for pair in zip(entry["plain_answers"], entry["matloop_answers"], strict=True)
    ]
    for way, answers in zip(("plain", "matloop"), zip(*pairs, strict=True), strict=True):
        steps = [answer["steps"] for answer in answers if answer["steps"] is not None]
        yield f"steps of {way}: median {np.median(steps):.0f}, mean {np.mean(steps):.1f}, most {max(steps)}"
    others = [pair for pair in pairs if not _same_energy(*pair)]
    yield f"{len(pairs) - len(others)} of {len(pairs)} within {1000 * SAME_ENERGY:g} meV/atom; the others:"
    yield from (_difference(*pair) for pair in others)
    if len(pairs) < number:
        yield f"incomplete: {len(pairs)} of {number} structures; run the same command again"


def _same_energy(plain: Answer, matloop: Answer) -> bool:
    if plain["energy"] is None or matloop["energy"] is None:
        return False
    return bool(abs(plain["energy"] - matloop["energy"]) <= SAME_ENERGY)


def _difference(plain: Answer, matloop: Answer) -> str:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    notes = f"{plain['steps']} and {matloop['steps']} steps; {plain['note']}; {matloop['note']}"
    if plain["energy"] is None or matloop["energy"] is None:
        return f"  {plain['id']}: no energy ({notes})"
    ends = [Structure.from_dict(answer["structure"]) for answer in (plain, matloop)]
    verdict = "the same" if StructureMatcher().fit(*ends) else "another"
    difference = 1000 * (matloop["energy"] - plain["energy"])
    formula = ends[0].composition.reduced_formula
    return f"  {plain['id']} {formula}: matloop {difference:+.1f} meV/atom, {verdict} structure ({notes})"


def time_batches(structures: Sequence[Structure], device: str) -> Iterator[str]:
    """Structures per second of batched relaxation, and its share of the speed of forward passes alone."""
    from materials.batched_relaxation import BatchedRelaxation
    from materials.relaxation import Relaxation

    potential = load_potential("7net-0", device=device)
    batched = BatchedRelaxation(potential, fmax=FMAX, steps=STEPS)
    list(batched.relax(structures[: max(1, len(structures) // 10)]))  # compiles, and finds what memory holds
    began = time.perf_counter()
    ends = dict(batched.relax(structures))
    seconds = time.perf_counter() - began
    good = {place: end for place, end in ends.items() if isinstance(end, Relaxation)}
    converged = sum(end.converged for end in good.values())
    yield f"{len(structures)} structures in {seconds:.1f} s: {len(structures) / seconds:.2f} per second"
    yield f"{converged} converged, {len(ends) - len(good)} failed; {batched.pairs:.0f} pairs in a batch"
    evaluated = sum(len(structures[place]) * (end.steps + 1) for place, end in good.items())
    room = np.cumsum([batched.pairs_of(structure) for structure in structures]) <= batched.pairs
    forward = forward_speed(potential, structures[: max(1, room.sum())])
    share = evaluated / seconds / forward
    yield f"forward passes alone: {forward:.0f} atoms per second; relaxation reaches {100 * share:.0f} % of it"


def forward_speed(potential: Potential, structures: Sequence[Structure]) -> float:
    """Atoms per second in passes that give energy, forces and stress of all the structures at once."""
    from torch_sim import initialize_state

    model = potential.batched()
    state = initialize_state([to_atoms(structure) for structure in structures], model.device, model.dtype)
    float(model(state)["energy"].sum())
    began = time.perf_counter()
    for _ in range(FORWARD_REPEATS):
        float(model(state)["energy"].sum())  # asks for the value, or a GPU would still be at work
    return FORWARD_REPEATS * int(state.n_atoms) / (time.perf_counter() - began)


if __name__ == "__main__":
    app()
