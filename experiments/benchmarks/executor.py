"""Relaxations per minute: the local executor against one process with one thread, on the same structures.

    python -m experiments.benchmarks.executor --structures my_cifs/

Loading the potential is left out of both. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from generators.substitution import SubstitutionSettings
from loop.executors.local import LocalExecutorSettings
from loop.executors.tasks import oracle_of
from materials.archive import Archive
from materials.base import Candidate, Crystal, Origin
from materials.evaluation import Outcome, Request, Status, request_key
from materials.reading import stream_materials
from materials.space import Space
from oracles.relax import RelaxSettings

app = typer.Typer(add_completion=False, rich_markup_mode=None)
ELEMENTS = ("Li", "Na", "Mg", "Al", "Si", "P", "O", "S", "Cl", "Br", "I", "F")
DISPLACEMENT = 0.05  # angstrom; gives a structure from a database something to relax
FOREVER = 24 * 3600.0


@app.command()
def run(
    structures: Annotated[
        Path | None, typer.Option(help="CIF, extxyz or CSV; generated if left out.")
    ] = None,
    number: Annotated[int, typer.Option(help="How many structures to relax.")] = 40,
    atoms: Annotated[int, typer.Option(help="The most atoms of a cell.")] = 12,
    workers: Annotated[int, typer.Option(help="Worker processes of the local executor.")] = 2,
    repeats: Annotated[int, typer.Option(help="How often both are timed; the medians are compared.")] = 1,
    fmax: Annotated[float, typer.Option(help="The largest force left, eV/angstrom.")] = 0.05,
    steps: Annotated[int, typer.Option(help="The most steps of each optimiser.")] = 100,
) -> None:
    """Times both and prints their ratio."""
    settings = RelaxSettings(fmax=fmax, steps=steps)
    found = read_structures(structures, number, atoms) if structures else generate_structures(number, atoms)
    requests = [request_for(settings, material) for material in found]
    sizes = [len(material.structure) for material in found]
    typer.echo(f"{len(requests)} structures of {min(sizes)} to {max(sizes)} atoms")
    alone, spread = [], []
    for _ in range(repeats):
        plain_seconds, plain = time_one_process(settings, requests)
        local_seconds, local = time_local(settings, requests, workers)
        alone.append(plain_seconds)
        spread.append(local_seconds)
        check_same(plain, local)
    for name, seconds in (("one process, one thread", alone), (f"local, {workers} workers", spread)):
        typical = statistics.median(seconds)
        typer.echo(f"{name:26} {typical:7.1f} s  {60 * len(requests) / typical:6.1f} relaxations per minute")
    typer.echo(f"ratio {statistics.median(alone) / statistics.median(spread):.2f}")


def generate_structures(number: int, atoms: int) -> list[Crystal]:
    """Substituted prototypes of `ELEMENTS`, the same ones every time."""
    space = Space(elements=ELEMENTS, number_of_atoms=(2, atoms))
    empty = Archive([], [], [])
    candidates = SubstitutionSettings().build(space).propose(10 * number, empty, np.random.default_rng(0))
    valid = (c.material for c in candidates if space.why_not(c.material) is None)
    return [material for material in islice(valid, number) if isinstance(material, Crystal)]


def read_structures(path: Path, number: int, atoms: int) -> list[Crystal]:
    """The first ordered crystals of a file or folder that are small enough, their atoms displaced a little."""
    rng = np.random.default_rng(0)
    crystals = (e.material for e in stream_materials(path) if isinstance(e.material, Crystal))
    small = islice((c for c in crystals if c.is_ordered and len(c.structure) <= atoms), number)
    return [_displaced(crystal, rng) for crystal in small]


def _displaced(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    structure = crystal.structure.copy()
    for site in range(len(structure)):
        shift = rng.normal(size=3)
        structure.translate_sites(
            [site], DISPLACEMENT * shift / np.linalg.norm(shift), frac_coords=False, to_unit_cell=False
        )
    return Crystal(structure)


def request_for(settings: RelaxSettings, material: Crystal) -> Request:
    """A question about one structure, as a campaign would ask it."""
    candidate = Candidate(material, Origin("benchmark"))
    return Request(
        request_key(candidate.id, settings.kind, settings.fingerprint()), candidate, material, settings.kind
    )


def relax_in_turn(settings: RelaxSettings, requests: list[Request]) -> tuple[float, list[Outcome]]:
    """Seconds and outcomes of a plain loop over the requests; the first is also relaxed once before, untimed."""
    oracle = oracle_of(settings)
    list(oracle.evaluate(requests[:1]))
    began = time.perf_counter()
    outcomes = [outcome for request in requests for outcome in oracle.evaluate([request])]
    return time.perf_counter() - began, outcomes


def time_one_process(settings: RelaxSettings, requests: list[Request]) -> tuple[float, list[Outcome]]:
    """A single worker process with one thread that runs the plain loop."""
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalExecutorSettings(workers=1).build(Path(folder), FOREVER) as dispatcher,
    ):
        ((seconds, outcomes),) = dispatcher.map(relax_in_turn, [(settings, requests)])
    return seconds, outcomes


def time_local(settings: RelaxSettings, requests: list[Request], workers: int) -> tuple[float, list[Outcome]]:
    """The local executor as a campaign uses it; timed from when every worker has relaxed something."""
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalExecutorSettings(workers=workers).build(Path(folder), FOREVER) as dispatcher,
    ):
        dispatcher.warm([settings])
        dispatcher.map(relax_in_turn, [(settings, requests[:1])] * workers)
        began = time.perf_counter()
        for request in requests:
            dispatcher.submit(settings, request, attempt=1)
        outcomes: list[Outcome] = []
        while dispatcher.running():
            outcomes += dispatcher.wait()
        return time.perf_counter() - began, outcomes


def check_same(plain: list[Outcome], local: list[Outcome]) -> None:
    """Both must have done the same work: raises RuntimeError where an outcome differs."""
    by_key = {outcome.key: outcome for outcome in local}
    for outcome in plain:
        other = by_key[outcome.key]
        same = outcome.status is other.status
        if same and outcome.status is Status.DONE:
            energies = (outcome.measurements[0].value, other.measurements[0].value)
            same = math.isclose(*energies, abs_tol=1e-4)
        if not same:
            raise RuntimeError(f"{outcome.key}: {outcome.status} in one process, {other.status} in the other")
    typer.echo(f"{sum(o.status is Status.DONE for o in plain)} relaxed, the same in both")


if __name__ == "__main__":
    app()
