"""The file format of reference energies: known phases of one tier, all from one source.

A text file (`.csv`, or `.csv.xz` compressed). Its first line is `# matloop reference 1`, its second `# ` and
a JSON object: potential, version and correction (the source; energies of different sources are never mixed),
tier, settings, and for single points their error by geometry. Then a CSV table with the columns of COLUMNS.
Energies are in eV/atom; cell is `a b c alpha beta gamma` in angstrom and degrees; sites is `Element x y z x y
z ...;Element ...` in fractional coordinates.
"""

from __future__ import annotations

import csv
import json
import lzma
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pymatgen.core as pmg

TITLE = "# matloop reference 1"
COLUMNS = (
    "id",
    "formula",
    "nsites",
    "spacegroup",
    "energy_per_atom",
    "correction_per_atom",
    "geometry",
    "converged",
    "cell",
    "sites",
)
TIERS = ("relaxed", "single_point")


class ReferenceFileError(ValueError):
    """A reference file that cannot be used; the message names the file, the line and the remedy."""


@dataclass(frozen=True)
class EnergySource:
    """What must be equal for two energies to be compared on one hull."""

    potential: str
    version: str
    correction: str

    def __str__(self) -> str:
        return f"{self.potential} ({self.version}), correction {self.correction}"


@dataclass(frozen=True)
class GeometricError:
    """How far single points lie above relaxed energies, over phases that have both; eV/atom."""

    median: float
    percentile_90: float
    phases: int = 0

    @property
    def std(self) -> float:
        """One number for both, eV/atom: bias and spread in squares, the spread as if normal."""
        spread = (self.percentile_90 - self.median) / 1.2816
        return math.hypot(self.median, spread)


@dataclass(frozen=True, slots=True)
class ReferenceEntry:
    """One known phase: reduced formula, energies in eV/atom, the uncorrected one and what is added to it."""

    id: str
    formula: str
    nsites: int
    spacegroup: int
    energy_per_atom: float
    correction_per_atom: float
    geometry: str
    converged: bool
    cell: str
    sites: str
    tier: str

    @property
    def elements(self) -> frozenset[str]:
        """Symbols of the phase's elements."""
        return _elements(self.formula)

    @property
    def corrected_energy_per_atom(self) -> float:
        return self.energy_per_atom + self.correction_per_atom

    def structure(self) -> pmg.Structure:
        """The phase's ordered structure."""
        return structure_from_text(self.cell, self.sites)


@dataclass(frozen=True)
class ReferenceTable:
    """The content of one reference file; errors: how far its energies lie too high, by the entries' geometry."""

    source: EnergySource
    tier: str
    entries: tuple[ReferenceEntry, ...]
    errors: Mapping[str, GeometricError] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def ids(self) -> frozenset[str]:
        return frozenset(entry.id for entry in self.entries)


@cache
def _elements(formula: str) -> frozenset[str]:
    return frozenset(re.findall("[A-Z][a-z]?", formula))


def read_table(path: Path) -> ReferenceTable:
    """Reads one reference file. Raises ReferenceFileError, naming file and line, where it is malformed."""
    if not path.is_file():
        raise ReferenceFileError(f"{path}: no such reference file; make one with `python -m loop.hull add`")
    try:
        with _open(path, "r") as handle:
            title, header = handle.readline().rstrip("\n"), handle.readline()
            if title != TITLE:
                raise ReferenceFileError(f"{path}, line 1: expected {TITLE!r}, found {title[:60]!r}")
            return _parse(path, json.loads(header.removeprefix("#")), csv.reader(handle))
    except (lzma.LZMAError, EOFError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ReferenceFileError(
            f"{path}: truncated or not a reference file ({error}); make it again"
        ) from error


def _parse(path: Path, header: Mapping[str, Any], reader: Iterable[list[str]]) -> ReferenceTable:
    missing = {"potential", "version", "correction", "tier"} - set(header)
    if missing or header["tier"] not in TIERS:
        raise ReferenceFileError(
            f"{path}, line 2: {sorted(missing) or header['tier']!r} missing or unknown (tier: {TIERS})"
        )
    lines = iter(reader)
    columns = tuple(next(lines, ()))
    if columns != COLUMNS:
        raise ReferenceFileError(f"{path}, line 3: the columns are {columns}, expected {COLUMNS}")
    tier = header["tier"]
    entries = []
    for number, row in enumerate(lines, start=4):
        try:
            entry = _entry(row, tier)
        except ValueError as error:
            raise ReferenceFileError(
                f"{path}, line {number}: {error}; correct or delete this line"
            ) from error
        entries.append(entry)
    source = EnergySource(header["potential"], header["version"], header["correction"])
    errors = {name: GeometricError(**values) for name, values in header.get("errors", {}).items()}
    return ReferenceTable(source, tier, tuple(entries), errors, header.get("settings", {}))


def _entry(row: list[str], tier: str) -> ReferenceEntry:
    if len(row) != len(COLUMNS):
        raise ValueError(f"{len(row)} fields, expected {len(COLUMNS)}")
    identifier, formula, nsites, spacegroup, energy, correction, geometry, converged, cell, sites = row
    numbers = float(energy), float(correction)
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{identifier}: the energy or correction is not a finite number")
    return ReferenceEntry(
        identifier,
        formula,
        int(nsites),
        int(spacegroup),
        *numbers,
        geometry,
        converged == "True",
        cell,
        sites,
        tier,
    )


def write_table(path: Path, table: ReferenceTable) -> None:
    """Writes one reference file, compressed where the name ends in .xz; an existing one is replaced whole."""
    header = {
        "potential": table.source.potential,
        "version": table.source.version,
        "correction": table.source.correction,
        "tier": table.tier,
        "settings": dict(table.settings),
        "errors": {name: vars(error) for name, error in table.errors.items()},
    }
    part = path.with_name(f".{path.name}.part" + (".xz" if path.suffix == ".xz" else ""))
    with _open(part, "w") as handle:
        handle.write(f"{TITLE}\n# {json.dumps(header)}\n")
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(COLUMNS)
        for entry in table.entries:
            writer.writerow([_text(getattr(entry, column)) for column in COLUMNS])
    part.replace(path)


def _text(value: object) -> str:
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def _open(path: Path, mode: str) -> Any:
    if path.suffix == ".xz":
        return lzma.open(path, f"{mode}t", encoding="utf-8", newline="")
    return path.open(mode, encoding="utf-8", newline="")


def structure_from_text(cell: str, sites: str) -> pmg.Structure:
    """The structure written by `structure_text`."""
    species: list[str] = []
    coordinates: list[list[float]] = []
    for group in sites.split(";"):
        element, *numbers = group.split()
        values = [float(number) for number in numbers]
        for start in range(0, len(values), 3):
            species.append(element)
            coordinates.append(values[start : start + 3])
    return pmg.Structure(pmg.Lattice.from_parameters(*map(float, cell.split())), species, coordinates)


def structure_text(structure: pmg.Structure, decimals: int = 5) -> tuple[str, str]:
    """(cell, sites) of an ordered structure; 5 decimals keep the energy to within 1e-5 eV/atom."""
    cell = " ".join(f"{value:.{decimals}f}" for value in structure.lattice.parameters)
    groups: dict[str, list[str]] = {}
    for site in structure:
        groups.setdefault(site.specie.symbol, []).extend(
            f"{value:.{decimals}f}" for value in site.frac_coords
        )
    return cell, ";".join(f"{element} {' '.join(values)}" for element, values in groups.items())
