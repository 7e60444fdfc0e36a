"""Cross-validates the conductivity head against ExtraTrees on composition statistics: the same folds, the same rows.

    python -m experiments.benchmarks.conductivity TABLE --leave-out leave_out.csv --repeats 20

Five folds of whole groups of near-duplicates, dealt anew in each repeat by its seed (0, 1, ...). Upper limits are among
the training rows of both: for the head as limits, for ExtraTrees, which know no limits, as values. Errors, coverage and
rank correlation count the values only; the likelihood counts a limit by the probability of lying below it. Each
finished repeat is a line of the part file, so the command goes on where it was stopped.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from experiments.conductivity_table import Conductors, conductors_or_exit
from materials.base import Composition
from surrogates.conduction_columns import VERSION
from surrogates.element_statistics import describe_material
from surrogates.heads.ionic_conductivity import (
    ConductivityTraining,
    IonicConductivityHead,
    negative_log_likelihood,
)
from surrogates.heads.laplace import LaplaceMixture

FOLDS = 5
TREES = 300
"""Of ExtraTrees; everything else as scikit-learn has it."""
CALIBRATED_ON = 5
"""One in so many groups of a training part is held back for the intervals of split-conformal ExtraTrees."""
RESAMPLES = 10_000
BASELINE = "ExtraTrees"
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Told:
    """What one model says of unseen rows, each [n]: the median, the 90 % interval, the negative log likelihood."""

    value: Floats
    low: Floats
    high: Floats
    loss: Floats


def main(
    table: Annotated[Path, typer.Argument(help="Measured conductivities, in the layout of OBELiX.")],
    leave_out: Annotated[Path, typer.Option(help="CSV with a column reduced_formula.")],
    repeats: Annotated[int, typer.Option(help="Times that the folds are dealt.", min=2)] = 20,
    first_seed: Annotated[int, typer.Option(help="Of the first repeat.")] = 0,
    part: Annotated[Path, typer.Option(help="One line for each repeat.")] = Path(
        "runs/benchmark_conductivity.jsonl"
    ),
) -> None:
    """Runs the repeats that the part file does not hold yet, and prints the figures of all."""
    conductors = conductors_or_exit(table, leave_out)
    question = hashlib.sha256(
        table.read_bytes() + leave_out.read_bytes() + f"{VERSION} {ConductivityTraining()}".encode()
    ).hexdigest()[:12]
    seeds = range(first_seed, first_seed + repeats)
    known = _finished(part, question)
    for seed in seeds:
        if seed not in known:
            known[seed] = one_repeat(conductors, seed)
            _append(part, question, seed, known[seed])
            typer.echo(f"repeat {seed}: {_line(known[seed], conductors)}")
    for line in figures([known[seed] for seed in seeds], conductors):
        typer.echo(line)


def one_repeat(conductors: Conductors, seed: int) -> dict[str, Told]:
    """By model, what is said of every row by a fit that saw nothing of its group."""
    groups = conductors.groups
    statistics = np.array([describe_material(Composition(m.formula)) for m in conductors.materials])
    parts: dict[str, list[Told]] = {}
    order: list[npt.NDArray[np.int64]] = []
    for test in folds(groups, FOLDS, seed):
        order.append(np.flatnonzero(test))
        for basis, described in conductors.descriptors.items():
            found = _head(conductors, described, groups, test, seed)
            parts.setdefault(f"head, {basis}", []).append(found)
        parts.setdefault(BASELINE, []).append(_extra_trees(conductors, statistics, groups, test, seed))
    back = np.argsort(np.concatenate(order))
    return {
        name: Told(*(np.concatenate([getattr(p, key) for p in found])[back] for key in Told.__annotations__))
        for name, found in parts.items()
    }


def folds(groups: npt.NDArray[np.int64], count: int, seed: int) -> Iterator[Flags]:
    """`count` masks [n] of test rows; a group lies in one of them."""
    names, member = np.unique(groups, return_inverse=True)
    part = np.random.default_rng(seed).permutation(len(names)) % count
    for number in range(count):
        yield (part == number)[member]


def figures(repeats: list[dict[str, Told]], conductors: Conductors) -> Iterator[str]:
    """The errors of each model, and how much lower those of the heads are, with 95 % intervals."""
    from scipy.stats import spearmanr

    exact = ~conductors.at_most
    values = conductors.values[exact]
    off = {m: np.array([np.abs(r[m].value[exact] - values) for r in repeats]) for m in repeats[0]}
    for model, errors in off.items():
        tolds = [repeat[model] for repeat in repeats]
        inside = [((t.low[exact] <= values) & (values <= t.high[exact])).mean() for t in tolds]
        width = np.mean([(t.high - t.low)[exact].mean() for t in tolds])
        rank = np.mean([spearmanr(t.value[exact], values).statistic for t in tolds])
        loss = np.mean([t.loss.mean() for t in tolds])
        yield (
            f"{model}: MAE {errors.mean():.3f}, 90 % interval holds {np.mean(inside):.1%} (of single repeats "
            f"{min(inside):.1%} to {max(inside):.1%}), mean width {width:.2f}, negative log likelihood {loss:.3f}, "
            f"Spearman {rank:.3f}"
        )
    groups = conductors.groups[exact]
    for model in off:
        if model != BASELINE:
            lower = 1 - off[model].mean() / off[BASELINE].mean()
            over = [_interval(off[model], off[BASELINE], rows) for rows in (None, groups)]
            yield (
                f"{model}: MAE lower than that of {BASELINE} by {lower:.1%}; 95 % interval over repeats "
                f"{over[0]}, over groups of materials {over[1]}"
            )


def _interval(ours: Floats, theirs: Floats, groups: npt.NDArray[np.int64] | None) -> str:
    """Paired bootstrap of 1 - ours / theirs, of errors [repeats, n]: over repeats, or over groups of rows."""
    rng = np.random.default_rng(0)
    if groups is None:
        sums = np.stack([ours.mean(axis=1), theirs.mean(axis=1)])
    else:
        member = np.unique(groups, return_inverse=True)[1]
        sums = np.stack([np.bincount(member, weights=errors.mean(axis=0)) for errors in (ours, theirs)])
    drawn = rng.integers(sums.shape[1], size=(RESAMPLES, sums.shape[1]))
    lower = 1 - sums[0][drawn].sum(axis=1) / sums[1][drawn].sum(axis=1)
    low, high = np.quantile(lower, (0.025, 0.975))
    return f"[{low:.1%}, {high:.1%}]"


def _head(
    conductors: Conductors, described: Floats, groups: npt.NDArray[np.int64], test: Flags, seed: int
) -> Told:
    learned = np.flatnonzero(~test)
    head = IonicConductivityHead.fit(
        [conductors.materials[i] for i in learned], described[learned], conductors.values[learned],
        conductors.at_most[learned], groups[learned], "benchmark", ConductivityTraining(), seed,
    )  # fmt: skip
    mixture = head.distribution(described[test])
    loss = negative_log_likelihood(mixture, conductors.values[test], conductors.at_most[test])
    return Told(mixture.quantile(0.5), mixture.quantile(0.05), mixture.quantile(0.95), loss)


def _extra_trees(
    conductors: Conductors, statistics: Floats, groups: npt.NDArray[np.int64], test: Flags, seed: int
) -> Told:
    """Values from all training rows; intervals and likelihood (Laplace) by the residuals of rows held back.

    Split conformal: Lei et al., J. Am. Stat. Assoc. 113, 1094 (2018).
    """
    from sklearn.ensemble import ExtraTreesRegressor

    values, at_most = conductors.values, conductors.at_most
    learned = np.flatnonzero(~test)
    held = np.zeros(len(test), dtype=bool)
    held[learned] = next(folds(groups[learned], CALIBRATED_ON, seed))
    whole, most = (
        ExtraTreesRegressor(TREES, random_state=seed).fit(statistics[rows], values[rows])
        for rows in (~test, ~test & ~held)
    )
    judge = held & ~at_most
    residuals = np.sort(np.abs(most.predict(statistics[judge]) - values[judge]))
    reach = residuals[min(math.ceil(0.9 * (len(residuals) + 1)), len(residuals)) - 1]
    middle = np.asarray(most.predict(statistics[test]), dtype=float)
    spread = np.full((1, len(middle)), residuals.mean())
    mixture = LaplaceMixture(middle[None], spread, np.zeros(len(middle)))
    loss = negative_log_likelihood(mixture, values[test], at_most[test])
    value = np.asarray(whole.predict(statistics[test]), dtype=float)
    return Told(value, middle - reach, middle + reach, loss)


def _line(repeat: Mapping[str, Told], conductors: Conductors) -> str:
    exact = ~conductors.at_most
    errors = {m: np.abs(t.value - conductors.values)[exact].mean() for m, t in repeat.items()}
    return "MAE " + ", ".join(f"{model} {error:.3f}" for model, error in errors.items())


def _append(part: Path, question: str, seed: int, repeat: Mapping[str, Told]) -> None:
    models = {m: {k: np.round(v, 5).tolist() for k, v in vars(t).items()} for m, t in repeat.items()}
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps({"question": question, "seed": seed, "models": models}) + "\n")


def _finished(part: Path, question: str) -> dict[int, dict[str, Told]]:
    """The repeats of a part file, by seed; a last line cut short is dropped."""
    if not part.exists():
        return {}
    lines = part.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    if whole != lines:
        part.write_text("".join(whole), encoding="utf-8")
    rows = [json.loads(line) for line in whole]
    if any(row["question"] != question for row in rows):
        typer.echo(f"error: {part} holds repeats of another table or head; give another --part", err=True)
        raise typer.Exit(2)
    return {
        row["seed"]: {m: Told(**{k: np.array(v) for k, v in t.items()}) for m, t in row["models"].items()}
        for row in rows
    }


if __name__ == "__main__":
    typer.run(main)
