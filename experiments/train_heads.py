"""Trains the heads that ship, and measures them on formulas they never saw.

    python -m experiments.training_tables TABLE --out features
    python -m experiments.train_heads band_gap TABLE --column band_gap --features features --leave-out leave_out.csv

Formulas are split by their sha256 modulo 10: 0 is reported on, 1 calibrates the intervals, the rest is learned from.
Choices (widths, passes) were made on tenth 1. Materials of the leave-out list are in none of them, so the figures are
those of the weights that ship.
"""

from __future__ import annotations

import csv
import lzma
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer

from experiments.reference_selection import GLITCHES, LOWEST_CREDIBLE_LABEL
from experiments.training_tables import (
    TEST,
    VALIDATION,
    LabelledCrystal,
    TableError,
    cached_features,
    named_errors,
    number_in,
    read_labelled,
    tenth,
)
from materials.base import Composition, Crystal
from materials.leave_out import left_out
from surrogates.descriptors import DescriptorSettings
from surrogates.heads.band_gap import METAL, BandGapHead
from surrogates.heads.base import HeadPrediction
from surrogates.heads.ensemble import Training
from surrogates.heads.formation_energy import FormationEnergyHead
from surrogates.heads.network_head import NetworkHead
from surrogates.heads.shipped import DESCRIPTORS, WEIGHTS, Basis, file_name

HEADS: Mapping[str, type[NetworkHead]] = {h.property: h for h in (BandGapHead, FormationEnergyHead)}
FEW = 10
SMALL = 20
"""Atoms; figures are given for cells up to this size and for all."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """Crystals with their descriptors [n, d] and labels [n]."""

    crystals: list[Crystal]
    descriptors: Floats
    values: Floats

    def where(self, mask: npt.NDArray[np.bool_]) -> Part:
        """The chosen rows."""
        chosen = np.flatnonzero(mask)
        return Part([self.crystals[i] for i in chosen], self.descriptors[chosen], self.values[chosen])


def main(
    property_name: Annotated[str, typer.Argument(metavar="PROPERTY", help=", ".join(HEADS))],
    table: Annotated[Path, typer.Argument(help="Structures and labels.")],
    leave_out: Annotated[Path, typer.Option(help="CSV with a column reduced_formula.")],
    column: Annotated[
        str, typer.Option(help="The label's column; of several, with commas between, the first filled.")
    ] = "",
    keep: Annotated[str, typer.Option(help="COLUMN=VALUE,VALUE: learn from these rows only.")] = "",
    labels: Annotated[Path | None, typer.Option(help="Take labels from this table, by material_id.")] = None,
    features: Annotated[Path, typer.Option(help="Folder of the descriptors.")] = Path("features"),
    out: Annotated[Path, typer.Option(help="Folder of the weights.")] = WEIGHTS,
    epochs: Annotated[int, typer.Option(help="Passes over the data.")] = Training.epochs,
    formula_only: Annotated[
        bool, typer.Option("--formula-only", help="Learn from the formula alone.")
    ] = False,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Train nothing, only measure the weights that are there.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of weights and order.")] = 0,
) -> None:
    """Trains one head, writes its weights and prints its errors."""
    torch.set_num_threads(1)
    kind = HEADS[property_name]
    basis: Basis = "composition" if formula_only else "structure"
    settings = DESCRIPTORS[basis]
    least = 0.0 if property_name == BandGapHead.property else -math.inf
    with named_errors():
        rows = kept(table, left_out(leave_out), keep)
        values = labelled(rows, column or property_name, labels, least)
        parts = split(rows, values, features, settings)
    typer.echo(", ".join(f"{name}: {len(part.values)} rows" for name, part in parts.items()))
    path = out / file_name(property_name, basis)
    if not evaluate:
        train_one(kind, parts, settings.version, Training(epochs=epochs), seed, path)
    shipped = kind.load(path)  # what is reported is what ships
    for name in ("validation", "test"):
        report(name, shipped, parts[name])


def train_one(
    kind: type[NetworkHead], parts: Mapping[str, Part], descriptor: str, how: Training, seed: int, path: Path
) -> None:
    """Trains, calibrates and writes one head."""
    began = time.monotonic()
    train, validation = parts["train"], parts["validation"]
    head = kind.fit(train.crystals, train.descriptors, train.values, descriptor, how, seed)
    head.calibrate(validation.crystals, validation.descriptors, validation.values)
    path.parent.mkdir(parents=True, exist_ok=True)
    head.save(path)
    seconds, size = time.monotonic() - began, path.stat().st_size / 1e6
    typer.echo(f"trained in {seconds:.0f} s, widening {head.widening:.2f}, {size:.1f} MB")


def labelled(
    rows: list[LabelledCrystal], column: str, table: Path | None, least: float = -math.inf
) -> Floats:
    """The labels [n]; NaN where there is none or the row is a known error of its table.

    Raises TableError for a label that is no number or lies below `least`.
    """
    by_id = None if table is None else labels_by_id(table, column, least)
    found = []
    for row in rows:
        name = row.labels.get("material_id", "")
        above_hull = row.labels.get("e_above_hull_calc") or "0"
        wrong = name in GLITCHES or float(above_hull) < LOWEST_CREDIBLE_LABEL
        if wrong:
            found.append(math.nan)
        elif by_id is None:
            found.append(number_in(row.labels, column, row.place, least))
        else:
            found.append(by_id.get(name, math.nan))
    return np.array(found)


def labels_by_id(table: Path, column: str, least: float) -> Mapping[str, float]:
    """The numbers in the column of a table, by material_id."""
    opened = lzma.open if table.suffix == ".xz" else open
    with opened(table, "rt", newline="", encoding="utf-8") as handle:
        rows = csv.DictReader(handle)
        if "material_id" not in (rows.fieldnames or ()):
            raise TableError(f"{table}: no column material_id, by which labels are found")
        return {
            row["material_id"]: number_in(row, column, f"{table}, row {number} ({row['material_id']})", least)
            for number, row in enumerate(rows, start=2)
        }


def kept(table: Path, hidden: frozenset[str], keep: str) -> list[LabelledCrystal]:
    """The rows of a table that may be learned from: COLUMN=VALUE,VALUE in `keep`, no formula in `hidden`."""
    wanted, _, allowed = keep.partition("=")
    found = []
    for row in read_labelled(table):
        if keep and wanted not in row.labels:
            raise TableError(f"{row.place}: no column {wanted}; there are {', '.join(row.labels)}")
        if row.formula not in hidden and (not keep or row.labels[wanted] in allowed.split(",")):
            found.append(row)
    return found


def split(
    rows: list[LabelledCrystal], values: Floats, features: Path, settings: DescriptorSettings
) -> dict[str, Part]:
    """Training, validation and test rows that have a label and a descriptor."""
    crystals = [row.crystal for row in rows]
    if settings.kind == "composition":
        # Without volume and density, which a formula does not have.
        described = settings.build().describe([Composition(row.formula) for row in rows])
    else:
        described = cached_features(features, settings, crystals)
    whole = Part(crystals, described.astype(np.float64), values)
    usable = np.isfinite(values) & np.isfinite(whole.descriptors).all(axis=1)
    tenths = np.array([tenth(row.formula) for row in rows])
    for i in np.flatnonzero(np.isfinite(values) & ~usable)[:FEW]:
        typer.echo(f"{rows[i].place} is left out: {settings.build().why_not(crystals[i])}")
    chosen = {"train": (tenths != TEST) & (tenths != VALIDATION), "validation": tenths == VALIDATION}
    return {name: whole.where(usable & mask) for name, mask in (chosen | {"test": tenths == TEST}).items()}


def report(name: str, head: NetworkHead, part: Part) -> None:
    """Prints the errors for small cells and for all."""
    sizes = np.array([len(crystal.structure) for crystal in part.crystals])
    for told, mask in ((f"at most {SMALL} atoms", sizes <= SMALL), ("all", sizes > 0)):
        chosen = part.where(mask)
        predicted = head.predict(chosen.crystals, chosen.descriptors)
        typer.echo(f"{name}, {told}: {errors(predicted, chosen.values)}")


def errors(predicted: HeadPrediction, values: Floats) -> str:
    """Mean absolute error, its baseline, coverage of the 90 % interval and, where told, how well metals are known."""
    from sklearn.metrics import roc_auc_score

    error = np.abs(predicted.value - values).mean()
    median = np.abs(np.median(values) - values).mean()
    inside = ((predicted.low <= values) & (values <= predicted.high)).mean()
    width = (predicted.high - predicted.low).mean()
    told = f"{len(values)} rows, MAE {error:.4f} (median of all: {median:.3f}), "
    told += f"90 % interval holds {inside:.1%}, mean width {width:.3f}"
    if "metal_probability" in predicted.extras:
        auc = roc_auc_score(values < METAL, predicted.extras["metal_probability"])
        told += f", metal or not: ROC AUC {auc:.4f}"
    return told


if __name__ == "__main__":
    typer.run(main)
