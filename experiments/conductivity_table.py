"""Measured ionic conductivities of lithium conductors, in the layout of the OBELiX table (Therrien et al., CC BY 4.0).

Columns: true_composition (the contents of a cell), sigma_S_cm, censored_lt (1: less than that), spacegroup (number), a,
b, c (angstrom), alpha, beta, gamma (degrees); where known also cif and ID. Plain or xz-compressed CSV.
"""

from __future__ import annotations

import csv
import lzma
import math
import sys
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg
import typer

from materials.base import Composition, Crystal, Material
from materials.leave_out import left_out
from surrogates.conduction_columns import Cell, atomic_fractions, columns, describe_material, why_not
from surrogates.element_statistics import LAST_ELEMENT
from surrogates.heads.shipped import Basis

Floats = npt.NDArray[np.float64]
LENGTHS, ANGLES = ("a", "b", "c"), ("alpha", "beta", "gamma")
NEEDED = ("true_composition", "sigma_S_cm", "censored_lt", "spacegroup", *LENGTHS, *ANGLES)
HIGHEST_CONDUCTIVITY = 1e3
"""S/cm; no ion conductor comes near, a value in other units does."""
CREDIBLE_VOLUMES = (3.0, 60.0)
"""Cubic angstrom per atom."""
FORMULA_TOLERANCE = 0.02
"""Sum of the absolute differences of atomic fractions up to which a CIF is that of its row's formula."""
NEAR = 0.1
"""The same sum below which two formulas of the same elements are near-duplicates."""
OCCUPANCY_TOLERANCE = 1.2

csv.field_size_limit(sys.maxsize)


class TableError(ValueError):
    """A table with rows that cannot be measurements; every one of them is named, with what to do."""


@dataclass(frozen=True)
class Conductors:
    """Measured conductors.

    materials: crystals where the table has a CIF of the stated formula, else the formula alone. values [n]: log10 of
    S/cm. at_most [n]: the value is an upper limit. descriptors: by basis, [n, d]; a row without a usable CIF has its
    cell from the lattice parameters. basis [n]: what its structure columns were made of.
    """

    materials: list[Material]
    values: Floats
    at_most: npt.NDArray[np.bool_]
    descriptors: Mapping[Basis, Floats]
    basis: list[str]

    @property
    def groups(self) -> npt.NDArray[np.int64]:
        """[n], a number that near-duplicates share."""
        return near_duplicates(self.descriptors["composition"][:, :LAST_ELEMENT])


def read_conductors(path: Path, hidden: frozenset[str] = frozenset()) -> Conductors:
    """The rows of a table whose reduced formula is not in `hidden`. Raises TableError naming every bad row."""
    opened = lzma.open if path.suffix == ".xz" else open
    with opened(path, "rt", newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        missing = [name for name in NEEDED if name not in (reader.fieldnames or ())]
        if missing:
            raise TableError(f"{path}: no column {', '.join(missing)}; needed are {', '.join(NEEDED)}")
        rows = list(reader)
    found, problems = [], []
    for number, row in enumerate(rows, start=2):
        try:
            conductor = _read(row)
        except ValueError as error:
            name = f" ({row['ID']})" if row.get("ID") else ""
            problems.append(f"{path}, row {number}{name}: {error}")
            continue
        if conductor.formula not in hidden:
            found.append(conductor)
    if problems or not found:
        raise TableError("\n".join(problems) or f"{path}: no rows to learn from; all are left out")
    structure = np.array([conductor.columns for conductor in found])
    formula = np.array([columns(conductor.fractions, None) for conductor in found])
    return Conductors(
        [conductor.material for conductor in found],
        np.array([math.log10(conductor.conductivity) for conductor in found]),
        np.array([conductor.at_most for conductor in found]),
        {"structure": structure, "composition": formula},
        [conductor.basis for conductor in found],
    )


def near_duplicates(fractions: Floats) -> npt.NDArray[np.int64]:
    """[n], groups of rows [n, elements] of the same elements whose fractions differ by less than NEAR in all."""
    from scipy.sparse.csgraph import connected_components

    present = fractions > 0
    alike = (present[:, None] == present[None]).all(axis=2)
    close = np.abs(fractions[:, None] - fractions[None]).sum(axis=2) < NEAR
    _, groups = connected_components(alike & close, directed=False)
    return np.asarray(groups, dtype=np.int64)


def told(conductors: Conductors) -> str:
    """What a table holds, in a line."""
    bases = ", ".join(f"{count} {basis}" for basis, count in sorted(Counter(conductors.basis).items()))
    return (
        f"{len(conductors.values)} conductors, {conductors.at_most.sum()} of them upper limits, in "
        f"{len(set(conductors.groups.tolist()))} groups of near-duplicates; cells from: {bases}"
    )


def conductors_or_exit(table: Path, leave_out: Path) -> Conductors:
    """What a command learns from, with a line about it; an unusable table ends the command with exit code 2."""
    try:
        conductors = read_conductors(table, left_out(leave_out))
    except TableError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(told(conductors))
    return conductors


@dataclass(frozen=True)
class _Conductor:
    material: Material
    formula: str
    fractions: Mapping[str, float]
    columns: Floats
    conductivity: float
    at_most: bool
    basis: str


def _read(row: Mapping[str, str]) -> _Conductor:
    """One row. Raises ValueError saying what is wrong and what to do."""
    composition = _composition(row["true_composition"])
    conductivity = _number(row, "sigma_S_cm")
    if not 0 < conductivity <= HIGHEST_CONDUCTIVITY:
        raise ValueError(
            f"sigma_S_cm is {conductivity:g}, not between 0 and {HIGHEST_CONDUCTIVITY:g} S/cm; "
            "give it in S/cm, a limit with censored_lt = 1, or delete the row"
        )
    if row["censored_lt"] not in ("0", "1"):
        raise ValueError(
            f"censored_lt is {row['censored_lt']!r}; give 0 for a value and 1 for an upper limit"
        )
    cell = _cell(row, composition.num_atoms)
    fractions = atomic_fractions(composition.get_el_amt_dict())
    material: Material = Composition(composition.formula.replace(" ", ""))
    described, basis = columns(fractions, cell), "lattice parameters"
    crystal = _crystal(row.get("cif", ""))
    if crystal is not None and _difference(crystal, fractions) <= FORMULA_TOLERANCE:
        basis = "structure" if crystal.is_ordered else "disordered structure"
        material, described = crystal, describe_material(crystal)
    formula = str(composition.reduced_formula)
    return _Conductor(material, formula, fractions, described, conductivity, row["censored_lt"] == "1", basis)


def _composition(text: str) -> pmg.Composition:
    try:
        composition = pmg.Composition(text)
    except ValueError as error:
        raise ValueError(
            f"true_composition {text!r} cannot be read ({error}); write it like Li6PS5Cl"
        ) from error
    reason = why_not(Composition(text)) if composition else "no elements"
    if reason is not None:
        raise ValueError(f"true_composition {text!r}: {reason}; correct the formula or delete the row")
    return composition


def _number(row: Mapping[str, str], name: str) -> float:
    try:
        value = float(row[name])
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {row[name]!r}, not a number; fill it in or delete the row") from None
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}, not a finite number; fill it in or delete the row")
    return value


def _cell(row: Mapping[str, str], atoms: float) -> Cell:
    lengths, angles = [_number(row, name) for name in LENGTHS], [_number(row, name) for name in ANGLES]
    group = _number(row, "spacegroup")
    if group not in range(1, 231):
        raise ValueError(f"spacegroup is {group:g}, not a number from 1 to 230; look it up")
    x, y, z = (math.cos(math.radians(angle)) for angle in angles)
    flat = 1 - x * x - y * y - z * z + 2 * x * y * z <= 0
    if min(lengths) <= 0 or not all(0 < angle < 180 for angle in angles) or flat:
        raise ValueError(
            f"no cell has the lengths {', '.join(f'{n:g}' for n in lengths)} and the angles "
            f"{', '.join(f'{n:g}' for n in angles)}; correct them (angstrom, degrees)"
        )
    cell = Cell.of_lattice(pmg.Lattice.from_parameters(*lengths, *angles), atoms, int(group))
    low, high = CREDIBLE_VOLUMES
    if not low < cell.volume_per_atom < high:
        raise ValueError(
            f"{cell.volume_per_atom:.1f} cubic angstrom per atom are not between {low:g} and {high:g}; "
            "true_composition must be the contents of the cell a, b, c, alpha, beta, gamma"
        )
    return cell


def _crystal(text: str) -> Crystal | None:
    if not text:
        return None
    from pymatgen.io.cif import CifParser

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            parser = CifParser.from_str(text, occupancy_tolerance=OCCUPANCY_TOLERANCE)
            return Crystal(parser.parse_structures(primitive=False)[0])
        except (ValueError, KeyError, IndexError) as error:
            raise ValueError(f"cif cannot be read ({error}); correct it or leave the cell empty") from error


def _difference(crystal: Crystal, fractions: Mapping[str, float]) -> float:
    found = atomic_fractions(crystal.structure.composition.get_el_amt_dict())
    return sum(abs(found.get(s, 0.0) - fractions.get(s, 0.0)) for s in set(found) | set(fractions))
