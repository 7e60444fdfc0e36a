"""Tables of structures and labels to train on, and their descriptors, kept on disk.

    python -m experiments.training_tables TABLE.csv.xz --out features

A table is in the layout of the public mp_20 set (a column `cif`), or has the columns `cell` and `sites`; plain or
xz-compressed. Describing uses every core, keeps what is done, and goes on there when run again.
"""

from __future__ import annotations

import csv
import hashlib
import lzma
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from pymatgen.core import Composition, Structure

from loop.events import Listener, Stopwatch
from loop.executors.local import LocalExecutorSettings
from loop.features import CampaignFeatures
from materials.base import Crystal
from materials.reference_table import structure_from_text
from surrogates.descriptors import DescriptorSettings
from surrogates.feature_cache import FeatureCache

BLOCK = 1000
LONGEST_TASK = 3600.0
TEST, VALIDATION = 0, 1
"""Tenths of the formulas: one to report on and one to choose by; the other eight are learned from."""

csv.field_size_limit(sys.maxsize)


@dataclass(frozen=True)
class LabelledCrystal:
    """A row of a table: its crystal, its reduced formula, and every other column as text."""

    crystal: Crystal
    formula: str
    labels: Mapping[str, str]


def read_labelled(path: Path, most_atoms: int = sys.maxsize) -> Iterator[LabelledCrystal]:
    """The rows with a structure of at most `most_atoms` atoms. `NaN` is sodium nitride, an empty cell is missing."""
    opened = lzma.open if path.suffix == ".xz" else open
    with opened(path, "rt", newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            if row.get("cif"):
                structure = Structure.from_str(row["cif"], fmt="cif")
            elif row.get("cell") and row.get("sites"):
                structure = structure_from_text(row["cell"], row["sites"])
            else:
                continue
            if len(structure) <= most_atoms:
                labels = {k: v for k, v in row.items() if k not in ("cif", "cell", "sites")}
                formula = str(structure.composition.reduced_formula)
                yield LabelledCrystal(Crystal(structure), formula, labels)


def tenth(formula: str) -> int:
    """Which tenth of the formulas one belongs to: its sha256 modulo 10, so polymorphs stay together."""
    return int(hashlib.sha256(formula.encode()).hexdigest(), 16) % 10


def left_out(path: Path) -> frozenset[str]:
    """Reduced formulas that nothing which ships may learn from: the column `reduced_formula` of a CSV."""
    with path.open(newline="", encoding="utf-8") as handle:
        return frozenset(
            Composition(row["reduced_formula"]).reduced_formula for row in csv.DictReader(handle)
        )


def cached_features(
    folder: Path, settings: DescriptorSettings, crystals: list[Crystal]
) -> npt.NDArray[np.float32]:
    """Descriptors [n, d] of crystals described before. Raises KeyError for one that was not."""
    found, missing = FeatureCache(folder / "features.db", settings.version).get([c.digest for c in crystals])
    if missing:
        raise KeyError(
            f"{len(missing)} of {len(crystals)} crystals are not described in {folder}; "
            "run  python -m experiments.training_tables  first"
        )
    return np.array([found[c.digest] for c in crystals])


def describe(
    table: Annotated[Path, typer.Argument(help="The table.")],
    out: Annotated[Path, typer.Option(help="Folder of the descriptors.")] = Path("features"),
    kind: Annotated[str, typer.Option(help="sevennet, composition or union.")] = "union",
    most_atoms: Annotated[int, typer.Option(help="Larger cells are left out.")] = 200,
) -> None:
    """Computes the descriptors of every structure of a table."""
    settings = DescriptorSettings.model_validate({"kind": kind})
    crystals = [row.crystal for row in read_labelled(table, most_atoms)]
    typer.echo(f"{len(crystals)} structures")
    began = time.monotonic()
    with LocalExecutorSettings().build(out / "work", LONGEST_TASK) as dispatcher:
        features = CampaignFeatures(settings, out, dispatcher, Stopwatch(Listener()))
        for start in range(0, len(crystals), BLOCK):
            features(crystals[start : start + BLOCK])
            typer.echo(
                f"{min(start + BLOCK, len(crystals))} described after {time.monotonic() - began:.0f} s"
            )


if __name__ == "__main__":
    typer.run(describe)
