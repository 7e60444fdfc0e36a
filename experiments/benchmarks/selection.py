"""Seconds to fit the surrogate and to pick a batch from a large pool with cached features, on one core.

    OMP_NUM_THREADS=1 python -m experiments.benchmarks.selection
    OMP_NUM_THREADS=1 python -m experiments.benchmarks.selection --candidates 2000 --rows 300 --policy greedy

Candidates are formulas drawn by the seed; their features have the width of SevenNet-0's, 1,280 numbers, spread over
40 hidden directions as a potential's are; they are read from a cache on disk, as in a campaign. Two objectives and a
constraint are functions of those directions; one line in six failed, four candidates are pending.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from acquisition.base import AcquisitionSettings, Option
from acquisition.greedy import GreedySettings
from acquisition.noisy_expected_improvement import NoisyExpectedImprovementSettings
from materials.archive import Archive, Progress, Record
from materials.base import Candidate, Composition, Material, Measurement, Origin, content_hash
from materials.evaluation import Failure, FailureKind
from materials.goals import Constraint, Objective
from surrogates.descriptors import DescriptorSettings, FeatureCache
from surrogates.gaussian_process import GaussianProcessSettings

Floats = npt.NDArray[np.float64]
POLICIES: dict[str, AcquisitionSettings] = {
    s.kind: s for s in (NoisyExpectedImprovementSettings(), GreedySettings())
}
ELEMENTS = ("Li", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "O", "F", "Y", "Zr", "Br", "I")
WIDTH, DIRECTIONS, PENDING = 1280, 40, 4
GOALS = {"migration_barrier": "eV", "energy_above_hull": "eV/atom", "band_gap": "eV"}


def main(
    candidates: Annotated[int, typer.Option(help="Candidates in the pool.")] = 2000,
    rows: Annotated[int, typer.Option(help="Evaluations the archive holds.")] = 300,
    batch: Annotated[int, typer.Option(help="Candidates to pick.")] = 8,
    policy: Annotated[str, typer.Option(help=" or ".join(POLICIES))] = "noisy_expected_improvement",
    seed: int = 0,
) -> None:
    """Prints the seconds of fitting and of selecting, and the machine."""
    rng = np.random.default_rng(seed)
    everyone = formulas(candidates + rows + PENDING, rng)
    hidden = rng.normal(size=(len(everyone), DIRECTIONS)) * np.linspace(2.0, 0.2, DIRECTIONS)
    with tempfile.TemporaryDirectory() as folder:
        cache = filled_cache(Path(folder) / "features.db", everyone, hidden, rng)
        archive = some_archive(everyone[candidates:], hidden[candidates:], rng)
        surrogate = GaussianProcessSettings(prior="none").build(list(GOALS), lambda m: cached(cache, m))
        started, cpu = time.perf_counter(), time.process_time()
        surrogate.fit(archive, seed)
        fitted, fitted_cpu = time.perf_counter(), time.process_time()
        option = [Option("relax", "bond_valence", 60.0)]
        chosen = (
            POLICIES[policy]
            .build()
            .select(everyone[:candidates], surrogate, archive, batch, option, np.random.default_rng(seed))
        )
        ended, ended_cpu = time.perf_counter(), time.process_time()
    typer.echo(f"{policy}: {len(chosen)} of {candidates} candidates, {rows} rows, {len(GOALS)} properties")
    typer.echo(f"fit     {fitted - started:6.1f} s ({fitted_cpu - cpu:.1f} s of processor time)")
    typer.echo(f"select  {ended - fitted:6.1f} s ({ended_cpu - fitted_cpu:.1f} s of processor time)")
    typer.echo(f"total   {ended - started:6.1f} s ({ended_cpu - cpu:.1f} s of processor time)")
    typer.echo(f"machine: {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


def formulas(n: int, rng: np.random.Generator) -> list[Candidate]:
    """n candidates of different formulas, three elements each."""
    found: dict[str, Candidate] = {}
    while len(found) < n:
        symbols, amounts = rng.choice(ELEMENTS, 3, replace=False), rng.integers(1, 13, 3)
        text = "".join(f"{s}{a}" for s, a in zip(symbols, amounts, strict=True))
        candidate = Candidate(Composition(text), Origin("files"))
        found[candidate.id] = candidate
    return list(found.values())


def filled_cache(
    path: Path, everyone: Sequence[Candidate], hidden: Floats, rng: np.random.Generator
) -> FeatureCache:
    """A cache with a row of features for every candidate."""
    cache = FeatureCache(path, DescriptorSettings().version)
    noise = 0.05 * rng.normal(size=(len(everyone), WIDTH))
    features = np.tanh(hidden @ rng.normal(size=(DIRECTIONS, WIDTH)) / np.sqrt(DIRECTIONS)) + noise
    cache.put([content_hash(c.material.to_dict()) for c in everyone], features)
    return cache


def cached(cache: FeatureCache, materials: Sequence[Material]) -> Floats:
    """The cached rows of the materials."""
    ids = [content_hash(material.to_dict()) for material in materials]
    found, missing = cache.get(ids)
    assert not missing
    return np.array([found[i] for i in ids], dtype=float).reshape(len(ids), -1)


def some_archive(candidates: Sequence[Candidate], hidden: Floats, rng: np.random.Generator) -> Archive:
    """Records of all candidates but the last few, which are pending."""
    weights = rng.normal(size=(DIRECTIONS, len(GOALS))) / np.sqrt(DIRECTIONS)
    values = np.abs(hidden @ weights) + 0.05 * rng.normal(size=(len(candidates), len(GOALS)))
    records = []
    for i, candidate in enumerate(candidates):
        if i >= len(candidates) - PENDING:
            records.append(Record(candidate, candidate.material, Progress.PENDING))
        elif i % 6 == 5:
            failure = Failure(FailureKind.NOT_CONVERGED, "drawn by the benchmark")
            records.append(Record(candidate, candidate.material, Progress.FAILED, failure=failure))
        else:
            measured = tuple(
                Measurement(name, float(v), unit, "potential", "benchmark")
                for (name, unit), v in zip(GOALS.items(), values[i], strict=True)
            )
            records.append(Record(candidate, candidate.material, Progress.EVALUATED, measured))
    objectives = [Objective("migration_barrier", "minimize"), Objective("energy_above_hull", "minimize")]
    return Archive(records, objectives, [Constraint("band_gap", at_least=0.5)])


if __name__ == "__main__":
    typer.run(main)
