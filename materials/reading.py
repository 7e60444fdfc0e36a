"""Reads materials, and what was measured on them, from CIF files, extended XYZ and CSV tables; writes CIF."""

from __future__ import annotations

import csv
import sys
import warnings
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pymatgen.core as pmg

from materials.base import Composition, Crystal, Material, Measurement, content_hash
from materials.chemistry import element_amounts
from materials.columns import MeasuredColumns

if TYPE_CHECKING:
    from ase import Atoms

ID_COLUMNS = ("material_id", "id")
# Occupancies in published files add up to 1.001 now and then.
OCCUPANCY_TOLERANCE = 1.02
# Sites and stated formula may differ by rounded occupancies, not by a missing atom.
FORMULA_TOLERANCE = 0.02
# A key no column can have: where csv puts the cells beyond the header.
_TOO_MANY = "\n"


@dataclass(frozen=True)
class Entry:
    """One material of a file: its name there, what was measured on it, and the place it came from.

    `doubt` is why nothing measured on it is believed, empty where nothing says so; its measurements are left out.
    """

    name: str
    material: Material
    measurements: tuple[Measurement, ...] = ()
    source: str = ""
    doubt: str = ""


@dataclass(frozen=True)
class Problem:
    """One material that could not be read. `place` is a row of a table (the header is row 1) or a frame."""

    file: Path
    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}{', ' if self.place else ''}{self.place}: {self.reason}"


class ReadingError(ValueError):
    """A file, or one material in it, could not be read; the message names file, row, reason and remedy."""


class _BrokenEntryError(ValueError):
    """One broken material among others; its place is known, the file is added by the caller."""

    def __init__(self, place: str, reason: object) -> None:
        self.place = place
        super().__init__(str(reason))


def read_materials(path: Path) -> list[Entry]:
    """All materials of a file or folder; raises ReadingError at the first that cannot be read.

    Formats as in `stream_materials`.
    """
    return list(stream_materials(path))


def stream_materials(
    path: Path, problems: list[Problem] | None = None, only: Container[int] | None = None
) -> Iterator[Entry]:
    """Yields the materials of a file or folder one at a time, in a fixed order.

    `only` names the places in that order, from 0, to read; the others are passed over without being understood.

    A folder: all .cif files in and below it, by path. A .cif file: its first structure. An .extxyz or .xyz
    file: every frame; a frame's info may hold an id and values of properties. A .csv file: a column `cif`
    (the layout of the public mp_20 set) or `formula`, optionally `material_id` or `id`, and measurements as
    `MeasuredColumns` reads them; a text under `doubt` takes them away. Partial occupancies are kept. Every cell
    is text first: the formula NaN is sodium nitride.

    With `problems`, a broken material is noted there and reading goes on. Without, ReadingError is raised. A
    file that cannot be read at all raises in either case. One name for two different materials is a problem.
    """
    path = Path(path)
    count = 0
    names: dict[str, str] = {}
    for file in _files(path):
        for read in _entries(file, path):
            count += 1
            if only is not None and count - 1 not in only:
                continue
            found = read()
            if isinstance(found, Entry):
                first = names.setdefault(found.name, content_hash(found.material.to_dict()))
                if first == content_hash(found.material.to_dict()):
                    yield found
                    continue
                found = _BrokenEntryError(
                    found.source.removeprefix(file.name).removeprefix(", "),
                    f"the name {found.name!r} is taken by another material; rename one",
                )
            problem = Problem(file, found.place, str(found))
            if problems is None:
                raise ReadingError(str(problem)) from found
            problems.append(problem)
    if not count:
        raise ReadingError(f"{path}: no materials in it; expected .cif, .extxyz or .csv content")


def count_materials(path: Path) -> int:
    """How many materials, broken ones included, `stream_materials` finds in a file or folder."""
    return sum(1 for file in _files(path) for _ in _entries(file, path))


Found = Iterator[Callable[[], Entry | _BrokenEntryError]]
"""Materials not yet understood: to count or skip one costs little."""


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise ReadingError(f"{path}: no such file or folder")
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.suffix.lower() == ".cif")
    return [path]


def _entries(file: Path, root: Path) -> Found:
    suffix = file.suffix.lower()
    if suffix == ".cif":
        return _from_cif(file, root)
    if suffix in (".extxyz", ".xyz"):
        return _from_extxyz(file)
    if suffix == ".csv":
        return _from_csv(file)
    raise ReadingError(
        f"{file}: unknown format {suffix!r}; use a folder of .cif files, .cif, .extxyz or .csv"
    )


def _from_cif(file: Path, root: Path) -> Found:
    yield partial(_read_cif, file, root)


def _read_cif(file: Path, root: Path) -> Entry | _BrokenEntryError:
    name = (file.relative_to(root) if file != root else Path(file.name)).with_suffix("").as_posix()
    try:
        return Entry(
            name, crystal_from_cif(file.read_text(encoding="utf-8", errors="replace")), source=file.name
        )
    except (ValueError, OSError) as error:
        return _BrokenEntryError("", error)


def crystal_from_cif(text: str) -> Crystal:
    """The first structure of a CIF text. Raises ValueError saying what is wrong and what to do."""
    from pymatgen.io.cif import CifParser

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parser = CifParser.from_str(text, occupancy_tolerance=OCCUPANCY_TOLERANCE)
            structure = parser.parse_structures(primitive=False)[0]
    except Exception as error:  # pymatgen answers broken text with whatever the text breaks
        raise ValueError("the CIF is broken or truncated; replace it or take it out") from error
    _check_finite(structure)
    block = next(iter(parser.as_dict().values()))
    _check_formula(structure, block.get("_chemical_formula_sum"))
    return Crystal(structure)


def _check_finite(structure: pmg.Structure) -> None:
    if not (np.isfinite(structure.lattice.matrix).all() and np.isfinite(structure.frac_coords).all()):
        raise ValueError("the cell or a coordinate is not a finite number; correct it")
    if structure.volume < 1e-3:
        raise ValueError("the cell has no volume; correct its lengths and angles")


def _check_formula(structure: pmg.Structure, stated: Any) -> None:
    """Raises ValueError when the sites do not add up to the stated formula: a truncated list of atoms."""
    try:
        expected = pmg.Composition(str(stated or "").strip("'\"")).fractional_composition
    except ValueError:
        return
    if expected and not expected.almost_equals(
        structure.composition.element_composition.fractional_composition, atol=FORMULA_TOLERANCE
    ):
        raise ValueError(
            f"its sites add up to {structure.composition.reduced_formula}, its formula says {stated}: "
            "atoms are missing or wrong; correct the file or take it out"
        )


def _from_extxyz(file: Path) -> Found:
    from ase.io import iread

    frames = enumerate(iread(file, index=":", format="extxyz"), 1)
    while True:
        try:
            number, atoms = next(frames)
        except StopIteration:
            return
        except Exception as error:  # ase answers a broken file with whatever breaks
            raise ReadingError(f"{file}: not extended XYZ, or truncated ({error}); write it again") from error
        yield partial(_read_frame, atoms, f"frame {number}", file)


def _read_frame(atoms: Atoms, place: str, file: Path) -> Entry | _BrokenEntryError:
    from pymatgen.io.ase import AseAtomsAdaptor

    try:
        if not all(atoms.pbc):
            raise ValueError('not periodic in three directions; give it a Lattice and pbc="T T T"')
        info = {str(k): str(v) for k, v in atoms.info.items()}
        structure = AseAtomsAdaptor.get_structure(atoms)
        _check_finite(structure)
        return _entry(info, place, file, Crystal(structure), MeasuredColumns(list(info)))
    except ValueError as error:
        return _BrokenEntryError(place, error)


def _from_csv(file: Path) -> Found:
    csv.field_size_limit(sys.maxsize)
    with file.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.DictReader(handle, restkey=_TOO_MANY)
        try:
            columns = _columns_of(list(reader.fieldnames or ()))
            for number, row in enumerate(reader, 2):
                yield partial(_from_row, row, f"row {number}", file, columns)
        except (csv.Error, ValueError) as error:
            raise ReadingError(f"{file}: {error}") from error


def _columns_of(header: Sequence[str]) -> MeasuredColumns:
    if not {"cif", "formula"} & set(header):
        raise ValueError(f"no column named cif or formula; its columns are {', '.join(header) or 'none'}")
    repeated = sorted({column for column in header if header.count(column) > 1})
    if repeated:
        raise ValueError(f"several columns named {', '.join(repeated)}; rename or drop them")
    return MeasuredColumns(header)


def _from_row(
    row: Mapping[str, str], place: str, file: Path, columns: MeasuredColumns
) -> Entry | _BrokenEntryError:
    try:
        if _TOO_MANY in row or None in row.values():
            raise ValueError("more or fewer cells than the header has columns; quote cells that hold commas")
        return _entry(row, place, file, material_of_row(row), columns)
    except ValueError as error:
        return _BrokenEntryError(place, error)


def material_of_row(row: Mapping[str, str]) -> Material:
    """The material in the cells `cif` or `formula`. Raises ValueError saying what is wrong and what to do."""
    formula = row.get("formula", "").strip()
    cif = row.get("cif", "").strip()
    if not cif and not formula:
        raise ValueError("neither a cif nor a formula; fill one in or drop the row")
    if not cif:
        return Composition(_checked_formula(formula))
    crystal = crystal_from_cif(cif)
    if formula:
        _check_formula(crystal.structure, formula)
    return crystal


def _checked_formula(formula: str) -> str:
    try:
        if not element_amounts(pmg.Composition(formula, strict=True)):
            raise ValueError("it is empty")
    except ValueError as error:
        raise ValueError(f"{formula!r} is no chemical formula ({error}); correct it") from error
    return formula


def _entry(
    row: Mapping[str, str], place: str, file: Path, material: Material, columns: MeasuredColumns
) -> Entry:
    given = next((row[column] for column in ID_COLUMNS if row.get(column)), "")
    doubt = row.get("doubt", "").strip()
    measured = columns.measurements(row)  # read in any case: a broken cell is told
    name, source = given or f"{file.stem}, {place}", f"{file.name}, {place}"
    return Entry(name, material, () if doubt else measured, source, doubt)
