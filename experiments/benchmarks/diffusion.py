"""Do the intervals of `oracles.conduction.diffusion` hold? Lattice walks, whose diffusivity is known.

    python -m experiments.benchmarks.diffusion run --first-seed 1000 --seeds 40 --out walks.jsonl
    python -m experiments.benchmarks.diffusion show walks.jsonl

Lithium ions walk in rock-salt cells of 4, 14 and 32 of them for 20 ps, and hop some 1 to 60 times each. Walks are
fitted exactly as the oracle fits a run; those it would refuse as too short are counted apart, and not in the figures.
What is done is kept; run again, a command goes on there.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from pymatgen.core import Lattice, Structure

from experiments.lattice_walks import INTERVAL, lattice_walk
from oracles.conduction.diffusion import SQUARE_CENTIMETRE_PER_SECOND, diffusion_of, why_too_short
from oracles.conduction.simulation_cell import SimulationCell

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
FRAMES = 400
TEMPERATURE = 600.0  # K, of which nothing here depends
HOPS_PER_ION = {4: (5.0, 20.0, 60.0), 14: (1.5, 5.0, 20.0), 32: (1.5, 5.0, 20.0)}
"""In the mean over the run, by the number of ions."""
REPEATS = {4: (2, 2, 1), 14: (7, 2, 1), 32: (4, 4, 2)}
HALF_EDGE = 2.025  # angstrom, of lithium fluoride
DRAWS = 4000
INTERVAL_ENDS = (0.025, 0.975)

Part = Annotated[Path, typer.Option("--out", help="Where each walk becomes a line.")]


@app.command()
def run(
    first_seed: Annotated[int, typer.Option(help="Seeds never used to choose anything are fresh.")],
    seeds: Annotated[int, typer.Option(help="How many of them.")] = 40,
    out: Part = Path("runs/benchmark_diffusion.jsonl"),
) -> None:
    """Fits one walk of each kind for each seed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    done = {(line["ions"], line["hops_per_ion"], line["seed"]) for line in lines_of(out)}
    for seed in range(first_seed, first_seed + seeds):
        for ions, each in HOPS_PER_ION.items():
            for hops_per_ion in each:
                if (ions, hops_per_ion, seed) in done:
                    continue
                with out.open("a") as handle:
                    handle.write(json.dumps(fitted(ions, hops_per_ion, seed)) + "\n")


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The walks that were fitted."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def cell_of(ions: int) -> SimulationCell:
    """Rock salt with so many lithium ions."""
    face_centred = Lattice(HALF_EDGE * (1 - np.eye(3)))
    primitive = Structure(face_centred, ["Li", "F"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return SimulationCell(primitive.make_supercell(REPEATS[ions], in_place=False), REPEATS[ions], "Li", 1.0)


def fitted(ions: int, hops_per_ion: float, seed: int) -> dict[str, Any]:
    """One walk: the fitted diffusivity over the true one, what error was claimed, and whether the interval held."""
    cell = cell_of(ions)
    time = FRAMES * INTERVAL
    truth = hops_per_ion * cell.site_distance() ** 2 / (6 * time) * SQUARE_CENTIMETRE_PER_SECOND
    found = diffusion_of(cell, lattice_walk(cell, FRAMES, truth, seed), TEMPERATURE, seed)
    logarithms = found.log_samples(np.random.default_rng(seed), DRAWS) - np.log(truth)
    low, high = np.quantile(logarithms, INTERVAL_ENDS)
    return {
        "ions": ions,
        "hops_per_ion": hops_per_ion,
        "seed": seed,
        "ratio": found.diffusivity / truth,
        "claimed": found.relative_error,
        "held": bool(low <= 0 <= high),
        "used": why_too_short(found) is None,
    }


@app.command()
def show(part: Annotated[Path, typer.Argument(help="What `run` wrote.")]) -> None:
    """Prints the table, in Markdown."""
    kinds: dict[tuple[int, float], list[dict[str, Any]]] = defaultdict(list)
    for line in lines_of(part):
        kinds[line["ions"], line["hops_per_ion"]].append(line)
    typer.echo("| ions | hops | used | intervals of 95 % that hold | mean of D / truth | scatter | claimed |")
    typer.echo("| --- | --- | --- | --- | --- | --- | --- |")
    for (ions, each), walks in sorted(kinds.items()):
        typer.echo(f"| {ions} | {ions * each:.0f} {_cells(walks)}")
    everything = [walk for walks in kinds.values() for walk in walks]
    typer.echo(f"| all | {_cells(everything)}")


def _cells(walks: Sequence[dict[str, Any]]) -> str:
    used = [walk for walk in walks if walk["used"]]
    share = f"| {len(used)} of {len(walks)} "
    if not used:
        return f"{share}| | | | |"
    ratios = np.array([walk["ratio"] for walk in used])
    held, claimed = sum(walk["held"] for walk in used), np.mean([walk["claimed"] for walk in used])
    scatter = f"{100 * ratios.std(ddof=1):.0f} %" if len(used) > 1 else ""
    held_share = f"{held} ({100 * held / len(used):.0f} %)"
    return f"{share}| {held_share} | {ratios.mean():.2f} | {scatter} | {100 * claimed:.0f} % |"


if __name__ == "__main__":
    app()
