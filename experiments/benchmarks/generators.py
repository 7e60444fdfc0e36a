"""Compares generators on whole campaigns: each alone, with the same budget, the same seeds and one cache.

    python -m experiments.benchmarks.generators battery.yaml --out runs/generators_battery
    python -m experiments.benchmarks.generators semiconductor.yaml --out runs/generators_semiconductor

Each campaign has 24 evaluations of crystals of at most 12 atoms; a material that two of them pick is computed once.
`genetic` needs parents, so its first round is made of random crystals. Resumable: a complete run folder is read. The
hypervolume is that of the goals after 24 evaluations, in units of the range of everything seen by any of a seed's runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from experiments.benchmarks.curves import hypervolume_curves
from loop.engine import Campaign
from loop.loading import load_campaign
from materials.archive import Archive, Progress

GENERATORS = {
    "latent": "[{kind: latent}]",
    "substitution": "[{kind: substitution}]",
    "genetic": "[{kind: genetic, share: 0.97}, {kind: random, share: 0.03}]",
    "random": "[{kind: random}]",
}


def run(file: Path, folder: Path, generators: str, seed: int) -> Archive:
    """What one campaign found, or what it had found."""
    changes = [
        "tracking=none",
        "budget={rounds: 4, batch: 6, pool: 100}",
        "space.number_of_atoms=[2, 12]",
        "energy_model=none",
        f"cache={(folder.parent / 'cache.db').resolve()}",
        f"generators={generators}",
        f"seed={seed}",
        f"name={folder.name}",
    ]
    with Campaign(load_campaign(str(file), changes).config, folder) as campaign:
        campaign.run()
        return campaign.archive()


def main(
    file: Annotated[Path, typer.Argument(help="A campaign file, such as battery.yaml.")],
    out: Annotated[Path, typer.Option(help="Folder of the runs.")],
    seeds: Annotated[int, typer.Option(help="How many.", min=2)] = 5,
    first_seed: Annotated[int, typer.Option(help="The first of them.")] = 1,
) -> None:
    """Prints what every generator reached, and the latent one's paired differences from the others."""
    reached: dict[str, list[float]] = {name: [] for name in GENERATORS}
    for seed in range(first_seed, first_seed + seeds):
        archives = {name: run(file, out / f"{name}_{seed}", kind, seed) for name, kind in GENERATORS.items()}
        for name, curve in hypervolume_curves(archives).items():
            reached[name].append(float(curve[-1]) if len(curve) else 0.0)
            typer.echo(f"seed {seed}, {name}: {reached[name][-1]:.4f}; {_counts(archives[name])}")
    for name, values in reached.items():
        line = f"{name}: mean {np.mean(values):.4f}"
        if name != "latent":
            differences = np.array(reached["latent"]) - np.array(values)
            low, high = t_interval(differences)
            line += (
                f"; latent is better by {differences.mean():+.4f}, 95 % interval [{low:+.4f}, {high:+.4f}]"
            )
        typer.echo(line)


def t_interval(differences: npt.NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the mean by Student's t: few seeds are too few for a bootstrap."""
    from scipy.stats import t

    half = t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / np.sqrt(len(differences))
    return float(differences.mean() - half), float(differences.mean() + half)


def _counts(archive: Archive) -> str:
    ended = [r for r in archive.values() if r.progress is not Progress.PENDING and not r.known_before]
    energies = [v for r in ended if (v := r.value("energy_above_hull")) is not None]
    near = sum(v <= 0.1 for v in energies)
    return f"{len(ended)} evaluated, {near} within 0.1 eV/atom of the hull, {len(archive.complete)} kept everything"


if __name__ == "__main__":
    typer.run(main)
