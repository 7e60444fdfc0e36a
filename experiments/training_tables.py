"""Tables of structures and labels to train on, and their descriptors, kept on disk.

    python -m experiments.training_tables TABLE.csv.xz --out features

A table is in the layout of the public mp_20 set (a column `cif`), or has the columns `cell` and `sites`; plain or
xz-compressed. Describing uses every core, keeps what is done, and goes on there when run again.
"""

from __future__ import annotations

import csv
import hashlib
import lzma
import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from pymatgen.core import Structure

from loop.events import Listener, Stopwatch
from loop.executors.local import LocalExecutorSettings
from loop.features import CampaignFeatures
from materials.base import Crystal
from materials.leave_out import LeaveOutError
from materials.reference_table import structure_from_text
from surrogates.descriptors import DescriptorSettings
from surrogates.element_statistics import unknown_symbols
from surrogates.feature_cache import FeatureCache
from surrogates.heads.base import HeadError

BLOCK = 1000
LONGEST_TASK = 3600.0
TEST, VALIDATION = 0, 1
"""Tenths of the formulas: one to report on and one to choose by; the other eight are learned from."""

csv.field_size_limit(sys.maxsize)


class TableError(ValueError):
    """A table that cannot be learned from: the file, the row, what is wrong, and what to do."""


@dataclass(frozen=True)
class LabelledCrystal:
    """A row of a table: its crystal, its reduced formula, every other column as text, and where it stands."""

    crystal: Crystal
    formula: str
    labels: Mapping[str, str]
    place: str


def read_labelled(path: Path, most_atoms: int = sys.maxsize) -> Iterator[LabelledCrystal]:
    """The rows with a structure of at most `most_atoms` atoms. `NaN` is sodium nitride, an empty cell is missing.

    Raises TableError for a table without structures and for a structure that cannot be read.
    """
    opened = lzma.open if path.suffix == ".xz" else open
    with opened(path, "rt", newline="", encoding="utf-8") as handle:
        table = csv.DictReader(handle)
        columns = set(table.fieldnames or ())
        if not ("cif" in columns or {"cell", "sites"} <= columns):
            raise TableError(
                f"{path}: no structures; a column cif, or the columns cell and sites, is needed, but it has "
                f"{', '.join(sorted(columns)) or 'none'}"
            )
        for number, row in enumerate(table, start=2):
            place = f"{path}, row {number} ({row.get('material_id') or 'no material_id'})"
            structure = _structure(row, place)
            if structure is not None and len(structure) <= most_atoms:
                labels = {k: v for k, v in row.items() if k not in ("cif", "cell", "sites")}
                formula = str(structure.composition.reduced_formula)
                yield LabelledCrystal(Crystal(structure), formula, labels, place)


def _structure(row: Mapping[str, str], place: str) -> Structure | None:
    """The structure of a row; None where its cells are empty."""
    try:
        if row.get("cif"):
            structure = Structure.from_str(row["cif"], fmt="cif")
        elif row.get("cell") and row.get("sites"):
            structure = structure_from_text(row["cell"], row["sites"])
        else:
            return None
    except Exception as error:  # pymatgen raises nearly anything on a damaged text
        raise TableError(
            f"{place}: the structure cannot be read ({error}); mend it, or empty its cells"
        ) from error
    unknown = unknown_symbols(Crystal(structure))
    if unknown:
        raise TableError(
            f"{place}: {', '.join(unknown)} is no element; mend the structure, or empty its cells"
        )
    return structure


def number_in(row: Mapping[str, str], column: str, place: str, least: float = -math.inf) -> float:
    """The number in a row's column; of several columns, with commas between, in the first filled one; NaN in none.

    Raises TableError for a missing column, a word, an infinite number, and one below `least`.
    """
    names = column.split(",")
    unknown = [name for name in names if name not in row]
    if unknown:
        raise TableError(f"{place}: no column {', '.join(unknown)}; there are {', '.join(map(str, row))}")
    name = next((name for name in names if row[name]), None)
    if name is None:
        return math.nan
    try:
        value = float(row[name])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise TableError(f"{place}: {name} is {row[name]!r}, which is no number; mend it, or leave it empty")
    if value < least:
        raise TableError(
            f"{place}: {name} is {value:g}, below {least:g}, which is impossible; mend it, or leave it empty"
        )
    return value


@contextmanager
def named_errors() -> Iterator[None]:
    """Ends a command with exit code 2 and the sentence of an error in what it was given."""
    try:
        yield
    except (TableError, LeaveOutError, HeadError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


def tenth(formula: str) -> int:
    """Which tenth of the formulas one belongs to: its sha256 modulo 10, so polymorphs stay together."""
    return int(hashlib.sha256(formula.encode()).hexdigest(), 16) % 10


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
    with named_errors():
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
