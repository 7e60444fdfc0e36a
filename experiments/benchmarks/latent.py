"""What the latent generator can copy, how fast it draws, and what lies between two crystals.

    python -m experiments.benchmarks.latent reconstruction TABLE.csv.xz --weights latent.safetensors
    python -m experiments.benchmarks.latent speed --weights latent.safetensors
    python -m experiments.benchmarks.latent chemistry TABLE.csv.xz --weights latent.safetensors
    python -m experiments.benchmarks.latent between TABLE.csv.xz mp-30 mp-22862 --out between.svg

Reconstruction: every crystal of a split becomes a point of the space, noise is added, and the point is decoded. It
counts where StructureMatcher(0.2, 0.3, 5) calls both the same; what has no point counts as missed.

Chemistry: the elements of crystals of a split are asked for, all of them and no others, and counted before what misses
them is drawn again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import pymatgen.core as pmg
import torch
import typer

from generators.latent.asking import Wish, conditions_of
from generators.latent.decoding import Decoding
from generators.latent.manner import Manner
from generators.latent.reading import Row, read_rows, symmetric
from generators.latent.regions import between as between_points
from generators.latent.sampling import Tried, decoding_of, draw, invented, met
from generators.latent.tokens import crystals_of, tokens_of
from generators.latent.weights import SHIPPED, Model, load, seeded
from generators.latent.wyckoff import WyckoffCrystal
from materials.base import Crystal
from materials.identity import structure_matcher
from materials.novelty import why_invalid

app = typer.Typer(add_completion=False, rich_markup_mode=None)
Weights = Annotated[Path, typer.Option(help="What generators.latent.train wrote.", exists=True)]
NOISES = (0.0, 0.1)
CHUNK = 64
MOST_ATOMS = 40
LARGEST = (5, 10, 15, 20)
"""Upper ends of the ranges of atoms that are told apart."""


@app.command()
def reconstruction(
    table: Annotated[Path, typer.Argument(help="A table in the mp_20 layout.", exists=True)],
    weights: Weights,
    split: Annotated[str, typer.Option(help="Whose crystals.")] = "val",
    most: Annotated[int, typer.Option(help="Only the first so many, 0 for all.", min=0)] = 0,
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 2,
) -> None:
    """Prints the share that comes back, by noise and number of atoms."""
    rows = [row for row in read_rows(table) if row.split == split][: most or None]
    chunks = [(rows[k : k + CHUNK], weights, k) for k in range(0, len(rows), CHUNK)]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        found = [one for part in pool.map(_recovered, chunks) for one in part]
    for k, noise in enumerate(NOISES):
        line = {
            "noise": noise,
            "crystals": len(found),
            "recovered": sum(one[1][k] for one in found) / len(found),
        }
        for low, high in zip((0, *LARGEST), LARGEST, strict=False):
            here = [one[1][k] for one in found if low < one[0] <= high]
            line[f"{low + 1}-{high} atoms ({len(here)})"] = sum(here) / max(1, len(here))
        typer.echo(json.dumps(line))


def _recovered(chunk: tuple[Sequence[Row], Path, int]) -> list[tuple[int, list[bool]]]:
    """Atoms of each crystal, and whether it came back at each of the noises."""
    rows, weights, seed = chunk
    torch.set_num_threads(1)
    model = load(weights)
    structures = [row.structure() for row in rows]
    crystals = [symmetric(row) for row in rows]
    held = [k for k, crystal in enumerate(crystals) if crystal is not None]
    back: list[list[bool]] = [[False] * len(NOISES) for _ in rows]
    z = model.autoencoder.encode(tokens_of([crystal for crystal in crystals if crystal is not None]))
    for column, amount in enumerate(NOISES):
        moved = z + amount * torch.randn(z.shape, generator=seeded(seed))
        for k, decoded in zip(held, decoded_at(model, moved), strict=True):
            back[k][column] = bool(structure_matcher().fit(structures[k], decoded.structure()))
    return [(len(structure), one) for structure, one in zip(structures, back, strict=True)]


def decoded_at(model: Model, z: torch.Tensor) -> list[WyckoffCrystal]:
    """What points (N, latent) are copied to."""
    how = Decoding(most_atoms=MOST_ATOMS)
    return crystals_of(model.autoencoder.decode(model.autoencoder.copying(z), how, seeded(0)))


@app.command()
def speed(
    weights: Weights = SHIPPED,
    number: Annotated[int, typer.Option(help="Crystals.", min=1)] = 1000,
    threads: Annotated[int, typer.Option(help="Of the processor.", min=1)] = 2,
) -> None:
    """Prints how many crystals a minute come out of the weights as structures, the reading of the weights left out."""
    torch.set_num_threads(threads)
    model = load(weights)
    for wish in (Wish(), Wish(properties={"energy_above_hull": 0.0})):
        began = time.perf_counter()
        tried = Tried(number)
        made = sum(1 for _ in draw(model, wish, Manner(), seeded(0), tried))
        seconds = time.perf_counter() - began
        told = {"asked": dict(wish.properties), "drawn": tried.number, "possible": made}
        typer.echo(json.dumps(told | {"possible crystals a minute": round(60 * made / seconds)}))


@app.command()
def chemistry(
    table: Annotated[Path, typer.Argument(help="A table in the mp_20 layout.", exists=True)],
    weights: Weights,
    split: Annotated[str, typer.Option(help="Whose sets of elements.")] = "val",
    systems: Annotated[int, typer.Option(help="Sets of elements.", min=1)] = 200,
    each: Annotated[int, typer.Option(help="Crystals of each.", min=1)] = 32,
) -> None:
    """Prints the share of what is decoded that holds all elements asked for and no others, by their number.

    And the share of that whose atoms are not too near one another; the rest is drawn again.
    """
    model, generator = load(weights), seeded(0)
    every = sorted({elements_of(row.formula) for row in read_rows(table) if row.split == split})
    order = torch.randperm(len(every), generator=generator)[:systems].tolist()
    met_by_number: dict[int, list[float]] = {}
    possible: list[bool] = []
    for place in order:
        wish = Wish(elements=every[place], required=every[place])
        asked = conditions_of(wish, each, model.scales).joined()
        how = decoding_of(wish, Manner(), MOST_ATOMS)
        decoded = model.autoencoder.decode(invented(model, asked, generator), how, generator)
        kept = met(decoded, wish)
        met_by_number.setdefault(len(every[place]), []).append(float(kept.float().mean()))
        possible += [not why_invalid(Crystal(one.structure())) for one in crystals_of(decoded[kept])]
    shares = [share for found in met_by_number.values() for share in found]
    told = {
        "systems": len(shares),
        "crystals": each * len(shares),
        "met": round(sum(shares) / len(shares), 4),
        "of these possible": round(sum(possible) / len(possible), 4),
    }
    by_number = {
        f"{n} elements ({len(f)})": round(sum(f) / len(f), 4) for n, f in sorted(met_by_number.items())
    }
    typer.echo(json.dumps(told | by_number))


def elements_of(formula: str) -> tuple[str, ...]:
    """Symbols, sorted."""
    return tuple(sorted(element.symbol for element in pmg.Composition(formula).elements))


@app.command()
def between(
    table: Annotated[Path, typer.Argument(help="A table in the mp_20 layout.", exists=True)],
    ends: Annotated[list[str], typer.Argument(help="Two material ids of it.")],
    out: Annotated[Path, typer.Option(help="A picture, .png or .svg.")],
    weights: Weights = SHIPPED,
    steps: Annotated[int, typer.Option(help="Pictures, both ends among them.", min=3)] = 7,
) -> None:
    """Draws what lies on the great circle between two crystals."""
    model = load(weights)
    rows = {row.material_id: row for row in read_rows(table) if row.material_id in ends}
    crystals = [crystal for name in ends if (row := rows.get(name)) and (crystal := symmetric(row))]
    if len(ends) != 2 or len(crystals) != 2:
        raise typer.BadParameter(f"name two materials of {table} that have a symmetry, not {', '.join(ends)}")
    one, other = model.autoencoder.encode(tokens_of(crystals))
    shares = torch.linspace(0, 1, steps)
    path = between_points(one.expand(steps, -1), other.expand(steps, -1), shares)
    _picture(decoded_at(model, path), shares.tolist(), out)


def _picture(crystals: Sequence[WyckoffCrystal], shares: Sequence[float], out: Path) -> None:
    import matplotlib.pyplot as plt
    from ase.visualize.plot import plot_atoms
    from pymatgen.io.ase import AseAtomsAdaptor

    figure, axes = plt.subplots(1, len(crystals), figsize=(2.2 * len(crystals), 3))
    for axis, crystal, share in zip(axes, crystals, shares, strict=True):
        structure = crystal.structure()
        atoms = AseAtomsAdaptor.get_atoms(structure.to_conventional(), msonable=False)
        plot_atoms(atoms, axis, rotation="10x,20y,0z")
        axis.set_axis_off()
        name = f"{structure.composition.reduced_formula}\n{structure.get_space_group_info()[0]}"
        axis.set_title(f"{share:.2f}\n{name}", fontsize=9)
    figure.tight_layout()
    figure.savefig(out, dpi=150)
    typer.echo(f"{out}: {', '.join(c.structure().composition.reduced_formula for c in crystals)}")


if __name__ == "__main__":
    app()
