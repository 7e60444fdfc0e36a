"""What the energy model saves in whole campaigns: the same campaign with its screen and without.

    python -m experiments.benchmarks.energy_screen semiconductor.yaml --out runs/energy_screen

Cost is counted in evaluations of the potential with forces, which do not depend on what else the machine does: those of
every relaxation, and eleven for every look at a refused candidate. Run again, it goes on where it stopped.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from loop.report.folder import open_view
from loop.screen_record import screen_records
from materials.archive import Progress
from surrogates.early_look import STEPS

MODELS = {"without": "none", "with": "{least_chance: 0.2}"}
SMALLER = ("space.number_of_atoms=[2,12]", "budget={rounds: 3, batch: 12, pool: 100}", "tracking=none")
"""So that a run takes minutes."""


def run(file: Path, folder: Path, seed: int, model: str) -> None:
    """One campaign, or the rest of it."""
    command = [sys.executable, "-m", "loop.campaign", str(file), "--dir", str(folder)]
    for change in (*SMALLER, f"seed={seed}", f"energy_model={model}"):
        command += ["--set", change]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def outcome(folder: Path) -> tuple[int, int, int]:
    """Relaxations, candidates that passed the gate as something new, and evaluations of the potential."""
    view, _ = open_view(folder)
    relaxed = [e for e in view.evaluations if e.oracle == "relax"]
    own = [r for r in view.archive.values() if r.progress is Progress.EVALUATED]
    passed = sum(r.stopped_by is None and r.duplicate_of is None for r in own)
    # Those of a look at a candidate that was taken are among the steps of its relaxation.
    looks = sum(record.refused for record in screen_records(view.rounds, view.evaluations))
    # A relaxation that fell apart does not say after how many steps; it counts as one.
    evaluations = sum(int(e.provenance.get("steps", 0)) + 1 for e in relaxed) + looks * (STEPS + 1)
    return len(relaxed), passed, evaluations


def main(
    file: Annotated[
        Path, typer.Argument(help="A campaign file whose line begins with relax and a gated hull.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/energy_screen"),
    seeds: Annotated[int, typer.Option(help="How many.")] = 4,
) -> None:
    """Prints relaxations, passed candidates and evaluations of every run, and the sums."""
    for name, model in MODELS.items():
        total = [0, 0, 0]
        for seed in range(1, seeds + 1):
            folder = out / f"{name}_{seed}"
            run(file, folder, seed, model)
            found = outcome(folder)
            total = [a + b for a, b in zip(total, found, strict=True)]
            typer.echo(
                f"{name}, seed {seed}: {found[0]} relaxations, {found[1]} passed, {found[2]} evaluations"
            )
        each = total[2] / max(1, total[1])
        typer.echo(
            f"{name}: {total[0]} relaxations, {total[1]} passed, {each:.0f} evaluations for each that passed"
        )


if __name__ == "__main__":
    typer.run(main)
