"""The best of many structures by the energy model, as a campaign's screen sees them: a set for the S.U.N. benchmark.

    python -m experiments.benchmarks.sun_ranking drawn.extxyz ranked.extxyz -n 1000

Left out are structures that are not valid, that repeat an earlier one, or that the index of known materials holds. Of
the others the first ten steps of a relaxation are taken (a look), the energy model foretells the end, and those that
it puts lowest above the shipped hull are written. Nothing is relaxed, and no reference structure is read. A run that
was stopped goes on with the same command.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from experiments.benchmarks.sun import read_samples
from loop.part_files import compute, done_ids, records
from materials.base import Crystal
from materials.hull import ReferenceHull
from materials.novelty import Novelty
from materials.writing import write_extxyz
from surrogates.early_look import VERSION
from surrogates.energy_model import SHIPPED, EnergyModel

POTENTIAL = "7net-0"


class LookTask:
    """Looks at crystals in a worker process."""

    def __call__(self, crystals: Sequence[Crystal]) -> list[dict[str, Any]]:
        return [_looked(crystal) for crystal in crystals]


def _looked(crystal: Crystal) -> dict[str, Any]:
    from materials.potential import load_potential
    from surrogates.early_look import look_at

    look = look_at(crystal, load_potential(POTENTIAL, device="cpu"))
    return {"id": _key(crystal), "row": look.row.tolist(), "correction": look.correction}


def _key(crystal: Crystal) -> str:
    return f"{crystal.digest}-{VERSION}-{POTENTIAL}"


def heights(crystals: Sequence[Crystal], looks: dict[str, dict[str, Any]]) -> list[float]:
    """The foretold energy above the shipped hull of each, eV/atom; infinite where there is none."""
    hull, model = ReferenceHull.shipped(), EnergyModel.load(SHIPPED)
    found = [looks[_key(crystal)] for crystal in crystals]
    ends = model.predict(np.array([look["row"] for look in found], dtype=float)).median
    return [
        _height(hull, c, float(end) + look["correction"])
        for c, end, look in zip(crystals, ends, found, strict=True)
    ]


def _height(hull: ReferenceHull, crystal: Crystal, energy: float) -> float:
    if not math.isfinite(energy):
        return math.inf
    found = hull.energy_above_hull(crystal.structure.composition, energy)
    return found.value if found.known else math.inf


def main(
    structures: Annotated[Path, typer.Argument(help="What was drawn.", exists=True)],
    out: Annotated[Path, typer.Argument(help="Extended XYZ of the best; their looks are kept beside it.")],
    number: Annotated[int, typer.Option("--number", "-n", help="Structures to write.", min=1)] = 1000,
    workers: Annotated[int, typer.Option(help="Processes, of one thread each.", min=1)] = 2,
) -> None:
    """Looks at every new structure and writes the best, lowest first."""
    samples = read_samples(structures)
    is_new = Novelty()
    new = {s.name: s.crystal for s in samples if s.crystal is not None and is_new(s.crystal)}
    typer.echo(
        f"{len(samples)} drawn, {len(new)} of them valid, distinct and not in the index of known materials"
    )
    kept = out.with_suffix(".looks.jsonl")
    done = done_ids(kept)
    missing = [crystal for crystal in new.values() if _key(crystal) not in done]
    if missing:
        compute(LookTask(), ([crystal] for crystal in missing), kept, workers, len(missing))
    crystals = list(new.values())
    above = heights(crystals, {record["id"]: record for record in records(kept)})
    best = sorted(zip(above, new, crystals, strict=True), key=lambda one: one[0])[:number]
    write_extxyz(out, [(crystal, {"id": name, "foretold": height}) for height, name, crystal in best])
    typer.echo(
        f"{out}: {len(best)} structures, foretold {best[0][0]:.3f} to {best[-1][0]:.3f} eV/atom above the hull"
    )


if __name__ == "__main__":
    typer.run(main)
