"""Compares the campaign's policy with random selection on whole campaigns, seed by seed, from the same start.

    python -m experiments.benchmarks.policies pool --seeds 20 --out runs/benchmark_pool.csv
    python -m experiments.benchmarks.policies potential --seeds 5 --out runs/benchmark_potential.csv

`pool` answers from the table of experiments/pool.yaml; `potential` relaxes small crystals with SevenNet-0 and shares an
evaluation cache, so that a material both policies pick is computed once. Both resume: a run folder that is complete is
read, not run. The hypervolume counts after each evaluation, in units of the range of everything seen by either policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from experiments.benchmarks.curves import bootstrap_interval, hypervolume_curves
from experiments.files import bundled
from loop.engine import Campaign
from loop.loading import load_campaign
from materials.archive import Archive

app = typer.Typer(add_completion=False, rich_markup_mode=None)
POLICIES = ("noisy_expected_improvement", "random")
Floats = npt.NDArray[np.float64]


@app.command()
def pool(
    seeds: int = 20,
    out: Path = Path("runs/benchmark_pool.csv"),
    first_seed: int = 0,
    initial: Annotated[int, typer.Option(help="Measurements known beforehand, drawn by the seed.")] = 10,
) -> None:
    """Median hypervolume on the bundled pool: the policy after half the calls against random after all."""
    changes = ["executor.kind=serial", "tracking=none", "budget={rounds: 10, batch: 4, pool: 2000}"]
    changes += ["surrogate.prior=none"]  # the pretrained heads have seen materials of this pool
    curves: dict[str, list[Floats]] = {policy: [] for policy in POLICIES}
    for seed in range(first_seed, first_seed + seeds):
        start = _initial_table(out.parent / "benchmark_pool" / f"initial_{seed}.csv", initial, seed)
        archives = {
            policy: _run("pool.yaml", out.parent / "benchmark_pool" / f"{policy}_{seed}", policy, seed,
                         [*changes, f"data=[{start}]"])
            for policy in POLICIES
        }  # fmt: skip
        for policy, curve in hypervolume_curves(archives).items():
            curves[policy].append(curve)
    tables = {policy: np.array(rows) for policy, rows in curves.items()}
    _write(out, tables)
    ours, random = (np.median(tables[policy], axis=0) for policy in POLICIES)
    half = len(ours) // 2 - 1
    typer.echo(
        f"median hypervolume after {half + 1} calls: {ours[half]:.4f}; random after {len(random)}: {random[-1]:.4f}"
    )
    typer.echo(f"median hypervolume after all calls: {ours[-1]:.4f}; random {random[-1]:.4f}")
    wins = np.sum(tables[POLICIES[0]][:, half] >= tables["random"][:, -1])
    typer.echo(f"seeds in which half the calls were enough: {wins} of {seeds}")


@app.command()
def potential(seeds: int = 5, out: Path = Path("runs/benchmark_potential.csv"), first_seed: int = 0) -> None:
    """Paired difference of the hypervolume after 24 SevenNet evaluations, with its 95 % interval."""
    folder = out.parent / "benchmark_potential"
    changes = [
        "tracking=none",
        "budget={rounds: 4, batch: 6, pool: 150}",
        "space.number_of_atoms=[2, 12]",
        "constraints=[]",
        "energy_model=none",
        f"cache={(folder / 'cache.db').resolve()}",
    ]
    differences: list[float] = []
    curves: dict[str, list[Floats]] = {policy: [] for policy in POLICIES}
    for seed in range(first_seed, first_seed + seeds):
        archives = {p: _run("battery.yaml", folder / f"{p}_{seed}", p, seed, changes) for p in POLICIES}
        both = hypervolume_curves(archives)
        for policy in POLICIES:
            curves[policy].append(both[policy])
        differences.append(both[POLICIES[0]][-1] - both["random"][-1])
        typer.echo(f"seed {seed}: {both[POLICIES[0]][-1]:.4f} against random {both['random'][-1]:.4f}")
    _write(out, {policy: np.array(rows) for policy, rows in curves.items()})
    low, high = bootstrap_interval(np.array(differences))
    typer.echo(
        f"paired difference {np.mean(differences):+.4f}, 95 % interval [{low:+.4f}, {high:+.4f}], {seeds} seeds"
    )


def _initial_table(path: Path, count: int, seed: int) -> Path:
    """Writes a prior-data table of `count` rows of the pool's answers, drawn by the seed alone."""
    import pandas as pd

    answers = pd.read_csv(bundled("pool_answers.csv"), keep_default_na=False, na_values=[""], comment="#")
    chosen = np.random.default_rng(seed).choice(len(answers), count, replace=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    answers.iloc[sorted(chosen)].to_csv(path, index=False)
    return path.resolve()


def _run(file: str, folder: Path, policy: str, seed: int, changes: Sequence[str]) -> Archive:
    overrides = [*changes, f"seed={seed}", f"acquisition={{kind: {policy}}}", f"name={folder.name}"]
    with Campaign(load_campaign(file, overrides).config, folder) as campaign:
        campaign.run()
        return campaign.archive()


def _write(out: Path, tables: dict[str, Floats]) -> None:
    import pandas as pd

    rows = [
        {"policy": policy, "seed_index": seed, "calls": call + 1, "hypervolume": value}
        for policy, table in tables.items()
        for seed, curve in enumerate(table)
        for call, value in enumerate(curve)
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(out, index=False)


if __name__ == "__main__":
    app()
