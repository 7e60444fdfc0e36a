"""Fits the conductivity law of the bvse oracle to measured lithium conductivities at room temperature.

    python -m experiments.calibrate_bond_valence OBELIX.csv.xz LEAVE_OUT.csv [--out FILE] [--pairs FILE]

OBELIX.csv.xz: the training split of OBELiX (Therrien et al., arXiv:2502.14234, CC-BY 4.0), with columns cif,
true_composition, sigma_S_cm and censored_lt (1: the conductivity is below the number). LEAVE_OUT.csv: a
column reduced_formula of materials that nothing that ships may learn from. `--pairs` keeps the barriers as
CSV, and is read instead of computing them where it exists. Takes some 20 minutes on one core.
"""

from __future__ import annotations

import argparse
import csv
import lzma
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pymatgen.core import Composition, Structure

from materials.base import Bound
from oracles.conduction.bvse import BondValenceSettings, framework_barriers
from oracles.conduction.calibration import (
    SHIPPED_FILE,
    SHIPPED_ION,
    Calibration,
    calibrate,
    write_calibration,
)
from oracles.conduction.framework import majority_framework
from oracles.one_by_one import RejectedError

ROOM_TEMPERATURE = 298.0  # K, of the measurements
FOLDS = 5
DEFAULTS = BondValenceSettings()
SOURCE = "OBELiX training split (arXiv:2502.14234, CC-BY 4.0), measured near 298 K"
OUT = Path(__file__).parent.parent / "oracles" / "data" / SHIPPED_FILE


@dataclass(frozen=True)
class Pair:
    """Barriers in eV (1D, 2D, 3D; infinite above the ceiling) and log10 of the conductivity in S/cm."""

    name: str
    formula: str
    barriers: tuple[float, float, float]
    value: float
    bound: Bound


def pairs_of(obelix: Path, leave_out: Path) -> Iterator[Pair]:
    """The pairs of all materials that can be computed; says why the others cannot."""
    with leave_out.open(newline="") as handle:
        hidden = {row["reduced_formula"] for row in csv.DictReader(handle)}
    with lzma.open(obelix, "rt", newline="") as handle:
        for row in csv.DictReader(handle):
            formula = Composition(row["true_composition"]).reduced_formula
            if not row["cif"] or formula in hidden:
                continue
            try:
                framework = majority_framework(Structure.from_str(row["cif"], fmt="cif"), SHIPPED_ION)
                barriers = framework_barriers(framework, DEFAULTS)
            except (RejectedError, ValueError) as error:
                print(f"{row['ID']} {formula}: left out: {error}", flush=True)
                continue
            bound = Bound.UPPER if row["censored_lt"] == "1" else Bound.EXACT
            pair = Pair(row["ID"], formula, barriers, math.log10(float(row["sigma_S_cm"])), bound)
            print(f"{pair.name} {formula}: {barriers} eV, {pair.value:.2f} {bound}", flush=True)
            yield pair


def read_pairs(file: Path) -> list[Pair]:
    """The pairs kept by `write_pairs`."""
    with file.open(newline="") as handle:
        return [
            Pair(
                row["name"],
                row["formula"],
                (float(row["E_1D"]), float(row["E_2D"]), float(row["E_3D"])),
                float(row["log_sigma"]),
                Bound(row["bound"]),
            )
            for row in csv.DictReader(handle)
        ]


def write_pairs(pairs: Iterable[Pair], file: Path) -> None:
    """Keeps pairs as CSV, each as soon as it is there."""
    with file.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["name", "formula", "E_1D", "E_2D", "E_3D", "log_sigma", "bound"])
        for pair in pairs:
            writer.writerow([pair.name, pair.formula, *pair.barriers, pair.value, pair.bound])
            handle.flush()


def fit(pairs: Sequence[Pair], dimensions: int) -> Calibration:
    """The law through the pairs that percolate below the ceiling."""
    return calibrate(
        [pair.barriers[dimensions - 1] for pair in pairs],
        [pair.value for pair in pairs],
        [pair.bound for pair in pairs],
        mobile_ion=SHIPPED_ION,
        dimensions=dimensions,
        temperature=ROOM_TEMPERATURE,
        source=SOURCE,
    )


def report(pairs: Sequence[Pair], dimensions: int) -> None:
    """Prints how well the law predicts formulas it was not fitted to, beside the mean of the others."""
    from scipy.stats import spearmanr

    usable = [p for p in pairs if math.isfinite(p.barriers[dimensions - 1])]
    exact = [p for p in usable if p.bound is Bound.EXACT]
    rank = spearmanr([p.barriers[dimensions - 1] for p in exact], [p.value for p in exact])
    errors, plain = [], []
    for fold in range(FOLDS):
        hidden = {f for i, f in enumerate(sorted({p.formula for p in usable})) if i % FOLDS == fold}
        known = [p for p in usable if p.formula not in hidden]
        law = fit(known, dimensions)
        mean = np.mean([p.value for p in known if p.bound is Bound.EXACT])
        for pair in exact:
            if pair.formula in hidden:
                estimate = law.estimate(pair.barriers[dimensions - 1], ROOM_TEMPERATURE)
                errors.append(pair.value - estimate)
                plain.append(pair.value - mean)
    law = fit(usable, dimensions)
    print(
        f"{dimensions}D: {len(usable)} of {len(pairs)} percolate below {DEFAULTS.ceiling:g} eV, "
        f"{law.limits} limits; Spearman {rank.statistic:.2f} (p = {rank.pvalue:.1g}); "
        f"intercept {law.intercept:.2f}, slope {law.slope:.3f}, std {law.std:.2f} decades; "
        f"cross-validated RMSE {np.sqrt(np.mean(np.square(errors))):.2f}, MAE {np.mean(np.abs(errors)):.2f}; "
        f"mean instead of law: {np.sqrt(np.mean(np.square(plain))):.2f}, {np.mean(np.abs(plain)):.2f}"
    )


def main() -> None:
    """Reads the command line, fits, reports and writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("obelix", type=Path)
    parser.add_argument("leave_out", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--pairs", type=Path, default=Path("bond_valence_pairs.csv"))
    arguments = parser.parse_args()
    if not arguments.pairs.exists():
        part = arguments.pairs.with_suffix(".part")
        write_pairs(pairs_of(arguments.obelix, arguments.leave_out), part)
        part.replace(arguments.pairs)
    pairs = read_pairs(arguments.pairs)
    for dimensions in (1, 2, 3):
        report(pairs, dimensions)
    usable = [p for p in pairs if math.isfinite(p.barriers[DEFAULTS.dimensions - 1])]
    write_calibration(fit(usable, DEFAULTS.dimensions), arguments.out)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
