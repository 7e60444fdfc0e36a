"""The energy model against what it replaces, on candidates of formulas it has not seen.

    python -m experiments.benchmarks.energy_model --pairs experiments/energy_pairs.csv.xz

Five folds by formula. Baselines on the same candidates: the single point, a line through it, five LBFGS steps, and the
energy the model's first look ends at. Cost is counted in evaluations of the potential with forces.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from experiments.relaxed_pairs import FOLDS, TABLE, Pairs, converged_rows, folds, out_of_fold, read_pairs
from materials.potential import load_potential
from materials.relaxation import RelaxationError, relax
from surrogates.early_look import STEPS
from surrogates.energy_model import EnergyModel, RelaxedEnergies

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
NEAR = 0.5  # eV/atom; candidates whose single point lies within are compared
RECALL = 0.95
MANY = 15  # candidates of one formula, to rank them
REFITTED = 500
LEAST_CHANCES = (0.02, 0.08, 0.2, 0.4)
SAME = 0.005  # eV/atom; relaxations that end closer have found the same minimum


def through_a_line(pairs: Pairs, near: Mask) -> Floats:
    """The single point corrected by a line, fitted to near candidates of other formulas."""
    fold = folds(pairs)
    start, answer = pairs.looks[:, 0], np.full(len(fold), np.nan)
    for number in range(FOLDS):
        train, test = near & (fold != number), fold == number
        answer[test] = np.polyval(np.polyfit(start[train], pairs.relaxed[train], 1), start[test])
    return answer


def rank_correlation(pairs: Pairs, answer: Floats) -> tuple[float, int]:
    """Median Spearman correlation within formulas of MANY candidates, and how many such formulas there are."""
    from scipy.stats import spearmanr

    names = np.array(pairs.formulas)
    found = [
        float(spearmanr(answer[names == name], pairs.relaxed[names == name])[0])
        for name in sorted(set(pairs.formulas))
        if np.sum(names == name) >= MANY
    ]
    return float(np.median(found)), len(found)


def savings(pairs: Pairs, chance: Floats) -> str:
    """What a screen keeps and saves when it loses 1 - RECALL of what is worth relaxing."""
    known = np.isfinite(pairs.threshold) & np.isfinite(chance)
    worth = known & (pairs.relaxed <= pairs.threshold)
    limit = np.quantile(chance[worth], 1 - RECALL)
    kept = known & (chance >= limit)
    full = pairs.steps + 1
    look = np.minimum(pairs.steps, STEPS) + 1
    without, anew = full[known].sum(), look[known].sum() + full[kept].sum()
    taken_up = look[known & ~kept].sum() + full[kept].sum()
    return (
        f"{known.sum()} candidates, {worth.sum()} worth relaxing; {kept.sum()} kept at {RECALL:.0%} recall "
        f"(from {limit:.3f}): relaxations saved {1 - kept.sum() / known.sum():.1%}; evaluations saved, net of looks, "
        f"{1 - anew / without:.1%}, or {1 - taken_up / without:.1%} where relaxations do not repeat their looks"
    )


def by_least_chance(pairs: Pairs, chance: Floats) -> Iterator[str]:
    """What a screen keeps and saves that refuses smaller chances, where relaxations do not repeat their looks."""
    known = np.isfinite(pairs.threshold) & np.isfinite(chance)
    worth = known & (pairs.relaxed <= pairs.threshold)
    whole, look = pairs.steps + 1, np.minimum(pairs.steps, STEPS) + 1
    for least in LEAST_CHANCES:
        kept = known & (chance >= least)
        spent = look[known & ~kept].sum() + whole[kept].sum()
        yield (
            f"least chance {least}: {(kept & worth).sum() / worth.sum():.1%} of what is worth it kept, "
            f"{(kept & worth).sum() / kept.sum():.1%} of the kept worth it (all: {worth.sum() / known.sum():.1%}), "
            f"evaluations saved {1 - spent / whole[known].sum():.1%}"
        )


def restarted(path: Path, number: int, seed: int) -> str:
    """Whether a relaxation that goes on from its look takes more steps than a whole one, and ends as low."""
    potential = load_potential()
    structures = converged_rows(path)[1]
    drawn = np.random.default_rng(seed).permutation(len(structures))[:number]
    rows = []
    for i in drawn:
        try:
            whole = relax(structures[i], potential)
            look = relax(structures[i], potential, steps=STEPS)
            rest = relax(look.structure, potential)
        except RelaxationError:
            continue
        rows.append((whole.steps, look.steps, rest.steps, whole.energy_per_atom - rest.energy_per_atom))
    steps, looks, rests, lower = np.array(rows).T
    return (
        f"{len(rows)} of {number} relaxations: whole {steps.sum():.0f} steps, looks {looks.sum():.0f} and from there "
        f"{rests.sum():.0f}; more steps in the median {np.median(looks + rests - steps):.0f}; {np.sum(lower > SAME)} "
        f"end more than {SAME:g} eV/atom lower, {np.sum(lower < -SAME)} higher"
    )


def seconds_to_refit(pairs: Pairs, seed: int) -> float:
    """A refit on REFITTED relaxations, and predictions with it."""
    model = EnergyModel.fit(pairs.looks[REFITTED:], pairs.relaxed[REFITTED:], seed)
    began = time.perf_counter()
    model.refitted(pairs.looks[:REFITTED], pairs.relaxed[:REFITTED]).predict(pairs.looks[:REFITTED])
    return time.perf_counter() - began


def main(
    pairs: Annotated[Path, typer.Option(help="Table of experiments.energy_pairs.")] = TABLE,
    seed: Annotated[int, typer.Option(help="Of the rows that hyperparameters are fitted on.")] = 0,
    restarts: Annotated[int, typer.Option(help="Relax so many candidates whole, and from their looks.")] = 0,
) -> None:
    """Prints errors, rank correlations, coverage and savings."""
    if restarts:
        typer.echo(restarted(pairs, restarts, seed))
        return
    found = read_pairs(pairs)
    near = found.looks[:, 0] - found.relaxed < NEAR
    model = RelaxedEnergies(found.looks[:, STEPS], *out_of_fold(found, seed, calibrate=True))
    answers: Mapping[str, Floats] = {
        "single point": found.looks[:, 0],
        "line through the single point": through_a_line(found, near),
        "five LBFGS steps": found.looks[:, 5],
        f"{STEPS} LBFGS steps": found.looks[:, STEPS],
        "energy model": model.median,
    }
    kinds = sorted(set(found.generators))
    typer.echo(
        f"{len(near)} converged candidates, {near.sum()} near; MAE (eV/atom) of these, by generator: {kinds}"
    )
    for name, answer in answers.items():
        error = np.abs(answer - found.relaxed)
        parts = [error[near & (np.array(found.generators) == kind)].mean() for kind in kinds]
        ranked, formulas = rank_correlation(found, answer)
        told = " ".join(f"{part:.4f}" for part in parts)
        typer.echo(
            f"{name:30} {error[near].mean():.4f} ({told}); Spearman {ranked:.3f} in {formulas} formulas"
        )
    inside = (model.quantile(0.05) <= found.relaxed) & (found.relaxed <= model.quantile(0.95))
    typer.echo(f"90 % intervals hold {inside.mean():.1%}, {inside[near].mean():.1%} of the near")
    typer.echo(f"model: {savings(found, model.chance_below(found.threshold))}")
    for line in by_least_chance(found, model.chance_below(found.threshold)):
        typer.echo(line)
    typer.echo(f"single point: {savings(found, found.threshold - found.looks[:, 0])}")
    typer.echo(f"five steps: {savings(found, found.threshold - found.looks[:, 5])}")
    typer.echo(f"refit with {REFITTED} relaxations: {seconds_to_refit(found, seed):.1f} s")


if __name__ == "__main__":
    typer.run(main)
