"""What a transferred prior is worth: GP with it, GP without it, and the head alone, after a few measurements.

    python -m experiments.benchmarks.prior TABLE --features features --leave-out leave_out.csv --out prior.csv
    python -m experiments.benchmarks.prior TABLE --labels mp_labels_by_id.csv.xz --column gap_hse ... --out hse.csv

Band gaps of formulas the head has never seen (tenth 0). Each seed takes the materials with one anion, measures some of
them and predicts others. With `--labels` the gaps of that column are what is wanted (HSE), and one more model learns
from PBE gaps of the pool beside them. Run again, it goes on where it stopped.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from experiments.train_heads import labelled
from experiments.training_tables import TEST, cached_features, read_labelled, tenth
from materials.archive import Archive, Progress, Record
from materials.base import Candidate, Crystal, Material, Measurement, Origin, Prediction
from materials.goals import Objective
from materials.leave_out import left_out
from surrogates.descriptors import DescriptorSettings
from surrogates.gaussian_process import GaussianProcessSettings
from surrogates.heads.shipped import shipped_head

ANIONS = ("O", "S", "Se", "Te", "F", "Cl", "Br", "I", "N", "P")
UNION = DescriptorSettings(kind="union")
SMALLEST_STD = 0.02
"""eV; no prediction counts as surer, because gaps are tabulated no finer."""
CHEAP = 200
MOST_TESTED = 300
COLUMNS = ("seed", "pool", "measured", "model", "rows", "mae", "nll", "coverage", "spearman")
Floats = npt.NDArray[np.float64]


def main(
    table: Annotated[Path, typer.Argument(help="Structures with a column band_gap.")],
    leave_out: Annotated[Path, typer.Option(help="CSV with a column reduced_formula.")],
    features: Annotated[Path, typer.Option(help="Folder of the descriptors.")] = Path("features"),
    labels: Annotated[Path | None, typer.Option(help="Table of dearer gaps by material_id.")] = None,
    column: Annotated[str, typer.Option(help="Its column.")] = "gap_hse",
    part: Annotated[int, typer.Option(help="Tenth of the formulas: 0 to report on, 1 to choose by.")] = TEST,
    seeds: Annotated[int, typer.Option(help="How many.")] = 10,
    measured: Annotated[
        str, typer.Option(help="Numbers of measurements, with commas between.")
    ] = "10,30,100",
    out: Annotated[Path, typer.Option(help="Results, one row each.")] = Path("prior.csv"),
) -> None:
    """Writes one row per seed, number of measurements and model, and prints the means."""
    bench = Benchmark(table, leave_out, features, labels, column, part)
    append_missing(out, seeds, measured, bench.rows)
    print_means(out)


class Benchmark:
    """Crystals of one tenth with both gaps (eV) and descriptors."""

    def __init__(
        self, table: Path, leave_out: Path, features: Path, labels: Path | None, column: str, part: int
    ) -> None:
        hidden = left_out(leave_out)
        found = [r for r in read_labelled(table) if r.formula not in hidden and tenth(r.formula) == part]
        described = cached_features(features, UNION, [r.crystal for r in found])
        self.pbe = labelled(found, "band_gap", None)
        self.wanted = self.pbe if labels is None else labelled(found, column, labels)
        self.dear = None if labels is None else "HSE"
        self.usable = np.isfinite(self.pbe) & np.isfinite(described).all(axis=1)
        self.candidates = [Candidate(r.crystal, Origin("files")) for r in found]
        self._by_digest = {r.crystal.digest: row for r, row in zip(found, described, strict=True)}

    def features(self, materials: list[Material]) -> Floats:
        """The cached descriptors."""
        return np.array([self._by_digest[m.digest] for m in materials if isinstance(m, Crystal)], dtype=float)

    def rows(self, seed: int, number: int) -> Iterator[Mapping[str, object]]:
        """One row per model; nothing where the pool is too small."""
        rng = np.random.default_rng(seed)
        anion = ANIONS[seed % len(ANIONS)]
        inside = [i for i in np.flatnonzero(self.usable).tolist() if self.dear or anion in self._symbols(i)]
        pool = rng.permutation([i for i in inside if np.isfinite(self.wanted[i])])
        test, train = pool[: len(pool) // 2][:MOST_TESTED], pool[len(pool) // 2 :][:number]
        if len(train) < number:
            return
        about = {"seed": seed, "pool": "all" if self.dear else anion, "measured": number, "rows": len(test)}
        asked = [self.candidates[i] for i in test]
        for model, predicted in self._models(train, test, inside, asked, seed):
            yield {**about, "model": model, **figures(predicted, self.wanted[test])}

    def _models(
        self,
        train: npt.NDArray[np.intp],
        test: npt.NDArray[np.intp],
        inside: list[int],
        asked: list[Candidate],
        seed: int,
    ) -> Iterator[tuple[str, list[Prediction]]]:
        materials = [c.material for c in asked]
        head = shipped_head("band_gap", "structure").predict(materials, self.features(materials))
        yield (
            "head alone",
            [Prediction("band_gap", m, s) for m, s in zip(head.value, head.std, strict=True)],
        )
        dear = self.dear or "PBE"
        known = [(i, self.wanted[i], dear) for i in train]
        others = [i for i in np.random.default_rng(seed + 1000).permutation(inside) if i not in set(test)]
        cheap = [(i, self.pbe[i], "PBE") for i in others[:CHEAP]] if self.dear else []
        for prior in ("none", "heads"):
            settings = GaussianProcessSettings.model_validate({"descriptor": "union", "prior": prior})
            told = "GP without prior" if prior == "none" else "GP with prior"
            for more, name in (([], told), (cheap, f"{told}, and {CHEAP} PBE gaps")):
                if more or name == told:
                    surrogate = settings.build(("band_gap",), self.features)  # type: ignore[arg-type]
                    surrogate.fit(self._archive([*known, *more], dear), seed)
                    if surrogate.properties:
                        yield name, [row[0] for row in surrogate.predict(asked)]

    def _archive(self, known: list[tuple[int, float, str]], fidelity: str) -> Archive:
        by_candidate: dict[int, list[Measurement]] = {}
        for i, value, level in known:
            measurement = Measurement("band_gap", float(value), unit="eV", fidelity=level, oracle="table")
            by_candidate.setdefault(int(i), []).append(measurement)
        records = [
            Record(self.candidates[i], self.candidates[i].material, Progress.EVALUATED, tuple(found))
            for i, found in by_candidate.items()
        ]
        return Archive(records, [Objective("band_gap", "maximize", fidelity=fidelity)])

    def _symbols(self, i: int) -> set[str]:
        material = self.candidates[i].material
        assert isinstance(material, Crystal)
        return {element.symbol for element in material.structure.composition.elements}


def figures(predicted: list[Prediction], values: Floats) -> Mapping[str, float]:
    """Mean absolute error, negative log likelihood, what the 90 % interval holds, rank correlation."""
    from scipy.stats import norm, spearmanr

    mean = np.array([p.mean for p in predicted])
    std = np.maximum([p.std for p in predicted], SMALLEST_STD)
    return {
        "mae": float(np.abs(mean - values).mean()),
        "nll": float(-norm.logpdf(values, mean, std).mean()),
        "coverage": float((np.abs(mean - values) <= norm.ppf(0.95) * std).mean()),
        "spearman": float(spearmanr(mean, values).statistic),
    }


def done_parts(out: Path, *columns: str) -> set[tuple[str, ...]]:
    """What of a table of results, named by these columns, an earlier run left; nothing before the first."""
    if not out.exists():
        return set()
    with out.open(newline="") as handle:
        return {tuple(row[column] for column in columns) for row in csv.DictReader(handle)}


def append_missing(
    out: Path, seeds: int, measured: str, rows: Callable[[int, int], Iterable[Mapping[str, object]]]
) -> None:
    """Appends the rows of every seed and number of measurements (with commas between) that are not there yet."""
    done = done_parts(out, "seed", "measured")
    for seed in range(seeds):
        for number in map(int, measured.split(",")):
            if (str(seed), str(number)) not in done:
                append_rows(out, list(rows(seed, number)))


def append_rows(out: Path, rows: list[Mapping[str, object]]) -> None:
    """Appends rows with COLUMNS to a CSV."""
    new = not out.exists()
    with out.open("a", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerows(rows)


def print_means(out: Path) -> None:
    """Prints the mean of every figure by number of measurements and model."""
    import pandas as pd

    means = pd.read_csv(out).groupby(["measured", "model"])[list(COLUMNS[5:])]
    typer.echo(means.mean().join(means.size().rename("seeds")).round(3).to_string())


if __name__ == "__main__":
    typer.run(main)
