"""Replays campaigns on tables and says what widening does to the intervals of their predictions.

    python -m experiments.benchmarks.widening replay TABLE --formula formula --column band_gap --out forecasts.csv
    python -m experiments.benchmarks.widening report forecasts.csv

A campaign knows 40 rows of oxides and measures 12 rounds of 8, at random or (greedy) those with the largest mean +
standard deviation of 100. In round 6 alone (returns) or from it on (stays) something changes: materials without oxygen
are measured (chemistry), or values scatter by one more standard deviation of the table (scatter). Widening changes no
choice here, so one replay serves every rule. The conductivities of an OBELiX table are read with --column
log_ionic_conductivity.
"""

from __future__ import annotations

import csv
import lzma
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg
import typer

from experiments.conductivity_table import read_conductors
from experiments.widening_rules import RULES
from loop.honesty import SMALLEST_STD, Z_50, Z_90
from materials.archive import Archive, Progress, Record
from materials.base import Candidate, Composition, Material, Measurement, Origin
from materials.goals import Objective
from surrogates.descriptors import DescriptorSettings
from surrogates.gaussian_process import GaussianProcessSettings
from surrogates.heads.shipped import CONDUCTIVITY

if TYPE_CHECKING:
    from pandas import DataFrame

KNOWN, ROUNDS, BATCH, DRAWN, JUMP = 40, 12, 8, 100, 6
MOST_ROWS = 4000
TREES = 100
SEVERAL = "formation_energy"
"""The property all values pass for: any number may be one, and the surrogate transforms nothing."""
COMPOSITION = DescriptorSettings(kind="composition")
FIELDS = ("table", "surrogate", "kind", "when", "policy", "seed", "round", "mean", "std", "value")
POLICIES = ("random", "greedy")
MEANS = ("inside_50", "inside_90", "width", "own", "score")
AS_MODELLED = "as modelled"
CLAIMS: Mapping[str, Callable[[int], float]] = {
    AS_MODELLED: lambda number: 1.0,
    "3 times too sure": lambda number: 3.0,
    "4 times too sure in rounds 4 to 6": lambda number: 4.0 if 4 <= number <= JUMP else 1.0,
}
"""By what the model's standard deviations are divided, by round."""
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
app = typer.Typer(add_completion=False, rich_markup_mode=None)


class Model(Protocol):
    """Learns from rows with values and predicts others: means and standard deviations."""

    def __call__(
        self, known: Integers, values: Floats, asked: Integers, seed: int
    ) -> tuple[Floats, Floats]: ...


class Table:
    """Formulas with one value each, in units of their standard deviation, and their composition descriptors [n, d]."""

    def __init__(self, path: Path, formula: str, column: str) -> None:
        found = list(dict(_read(path, formula, column)).items())
        chosen = np.random.default_rng(0).permutation(len(found))[:MOST_ROWS]
        materials = [Composition(found[i][0]) for i in chosen]
        self.candidates = [Candidate(material, Origin("files")) for material in materials]
        self.values = np.array([found[i][1] for i in chosen])
        self.values /= self.values.std()
        self.descriptors = self._describe(materials)
        self.oxide = np.array(["O" in pmg.Composition(found[i][0]) for i in chosen])

    def gp(self, known: Integers, values: Floats, asked: Integers, seed: int) -> tuple[Floats, Floats]:
        """The surrogate of a campaign."""
        settings = GaussianProcessSettings(descriptor="composition", prior="none")
        surrogate = settings.build((SEVERAL,), self._describe)
        records = []
        for i, value in zip(known, values, strict=True):
            told = Measurement(SEVERAL, float(value), unit="eV/atom", fidelity="PBE", oracle="table")
            candidate = self.candidates[i]
            records.append(Record(candidate, candidate.material, Progress.EVALUATED, (told,)))
        surrogate.fit(Archive(records, [Objective(SEVERAL, "maximize")]), seed)
        found = [row[0] for row in surrogate.predict([self.candidates[i] for i in asked])]
        return np.array([p.mean for p in found]), np.array([p.std for p in found])

    def _describe(self, materials: Sequence[Material]) -> Floats:
        return COMPOSITION.build().describe(materials).astype(np.float64)

    def forest(self, known: Integers, values: Floats, asked: Integers, seed: int) -> tuple[Floats, Floats]:
        """The mean and spread of extremely randomised trees: a model that is too sure."""
        from sklearn.ensemble import ExtraTreesRegressor

        model = ExtraTreesRegressor(TREES, bootstrap=True, random_state=seed)
        model.fit(self.descriptors[known], values)
        told = np.array([tree.predict(self.descriptors[asked]) for tree in model.estimators_])
        return told.mean(axis=0), told.std(axis=0)


def _read(path: Path, formula: str, column: str) -> Iterator[tuple[str, float]]:
    """Formulas and values."""
    if column == CONDUCTIVITY:
        found = read_conductors(path)
        for material, value, limit in zip(found.materials, found.values, found.at_most, strict=True):
            if not limit:
                yield material.formula, float(value)
        return
    opened = lzma.open if path.suffix == ".xz" else open
    with opened(path, "rt", newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            if row[column]:
                yield row[formula], float(row[column])


CHANGES: Mapping[str, Callable[[int], bool]] = {
    "none": lambda number: False,
    "stays": lambda number: number >= JUMP,
    "returns": lambda number: number == JUMP,
}


def campaign(
    table: Table, model: Model, kind: str, when: str, policy: str, seed: int
) -> Iterator[tuple[int, Floats]]:
    """Each round's number, and mean, std and measured value [BATCH, 3] of what it picked."""
    rng = np.random.default_rng(seed)
    order, scatter = rng.permutation(len(table.values)), rng.normal(size=len(table.values))
    oxides, others = ([i for i in order if table.oxide[i] == wanted] for wanted in (True, False))
    known = [oxides.pop() for _ in range(KNOWN)]
    values = [float(table.values[i]) for i in known]
    for number in range(1, ROUNDS + 1):
        changed = CHANGES[when](number)
        source = others if changed and kind == "chemistry" else oxides
        asked = np.array(source[-DRAWN:] if policy == "greedy" else source[-BATCH:])
        mean, std = model(np.array(known), np.array(values), asked, seed)
        picked = np.argsort(-mean - std)[:BATCH]
        rows = asked[picked]
        measured = table.values[rows] + (scatter[rows] if changed and kind == "scatter" else 0.0)
        for row in rows:
            source.remove(row)
        known += list(rows)
        values += list(measured)
        yield number, np.column_stack([mean[picked], std[picked], measured])


@app.command()
def replay(
    path: Annotated[Path, typer.Argument(metavar="TABLE", help="Formulas and values.")],
    column: Annotated[str, typer.Option(help="Of the values.")],
    formula: Annotated[str, typer.Option(help="Column of the formulas.")] = "formula",
    surrogate: Annotated[str, typer.Option(help="gp or forest.")] = "gp",
    seeds: Annotated[str, typer.Option(help="FIRST:LAST, without the last.")] = "0:4",
    out: Annotated[Path, typer.Option(help="Appended to.")] = Path("forecasts.csv"),
) -> None:
    """Writes the forecast and the outcome of every material that campaigns measured."""
    table = Table(path, formula, column)
    model: Model = table.gp if surrogate == "gp" else table.forest
    runs = [("none", "none"), *product(("chemistry", "scatter"), ("stays", "returns"))]
    new = not out.exists()
    with out.open("a", newline="") as handle:
        writer = csv.writer(handle)
        if new:
            writer.writerow(FIELDS)
        for seed, (kind, when), policy in product(range(*map(int, seeds.split(":"))), runs, POLICIES):
            about = (f"{path.name.split('.')[0]} {column}", surrogate, kind, when, policy, seed)
            for number, rows in campaign(table, model, kind, when, policy, seed):
                writer.writerows((*about, number, *(f"{x:.6g}" for x in row)) for row in rows)


@app.command()
def report(files: Annotated[list[Path], typer.Argument(help="Written by replay.")]) -> None:
    """Prints coverage, width and score of the intervals under every rule.

    Width: mean width of the 90 % intervals over that of the model's own. Score: the mean interval score of Gneiting and
    Raftery (J. Am. Stat. Assoc. 102, 359, 2007) in standard deviations of the table: small where width and misses are.
    The same campaigns are judged as modelled, and with standard deviations that a model too sure of itself would state.
    """
    import pandas as pd

    table = pd.concat([pd.read_csv(file, keep_default_na=False) for file in files])
    for told, divisor in CLAIMS.items():
        stated = table.assign(std=table["std"] / table["round"].map(divisor))
        if told != AS_MODELLED:
            stated = stated[stated["kind"] != "scatter"]
        runs = stated.groupby(list(FIELDS[:6]), sort=False)
        whole = pd.concat([judged(run.reset_index(drop=True)) for _, run in runs])
        after = whole[whole["round"] > JUMP]
        parts = {"all rounds": whole, f"nothing changes, rounds after {JUMP}": after[after["when"] == "none"]}
        for kind, when in product(("chemistry", "scatter"), ("stays", "returns")):
            chosen = (after["kind"] == kind) & (after["when"] == when)
            parts[f"{kind} {when}, rounds after {JUMP}"] = after[chosen]
        for name, part in parts.items():
            if len(part):
                means = part.groupby("rule", sort=False)[list(MEANS)].mean()
                means["width"] /= means.pop("own")
                typer.echo(
                    f"{told}; {name} ({len(part) // len(RULES)} outcomes)\n{means.round(3).to_string()}\n"
                )


def judged(run: DataFrame) -> DataFrame:
    """The forecasts of one campaign under every rule."""
    import pandas as pd

    own, found = run["std"].clip(lower=SMALLEST_STD), []
    error = (run["value"] - run["mean"]).abs()
    for name, rule in RULES.items():
        factors = np.ones(len(run))
        for number in range(2, ROUNDS + 1):
            earlier, now = run["round"] < number, run["round"] == number
            scores = (error / own)[earlier].to_numpy()
            factors[now] = rule(scores, number - run["round"][earlier].to_numpy())
        half = Z_90 * own * factors
        missed = (error - half).clip(lower=0.0)
        columns = {
            "inside_90": missed == 0,
            "inside_50": error <= Z_50 * own * factors,
            "factor": factors,
            "width": 2 * half,
            "own": 2 * Z_90 * own,
            "score": 2 * half + 20 * missed,
        }
        found.append(pd.concat([run, pd.DataFrame({"rule": name, **columns})], axis=1))
    return pd.concat(found)


if __name__ == "__main__":
    app()
