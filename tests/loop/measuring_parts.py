"""What the tests of measuring without a campaign share: a table of answers, input files, and a run of rows."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from pymatgen.core import Lattice, Structure

from loop.executors.serial import SerialDispatcher
from loop.line import build_line
from loop.measuring.course import Ending, Measuring
from loop.measuring.rows import read_rows
from oracles.base import OracleSettings
from oracles.table import TableSettings

FORMULAS = ("Li2O", "LiF", "MgO", "NaCl", "KBr")
Cells = dict[str, str]


def write_answers(folder: Path) -> Path:
    """Gaps for all formulas, formation energies for all but KBr."""
    lines = [f"{formula},{number}.5,{-number}" for number, formula in enumerate(FORMULAS)]
    lines[-1] = "KBr,4.5,"
    file = folder / "answers.csv"
    file.write_text("\n".join(["formula,band_gap,formation_energy", *lines]) + "\n")
    return file


def table(folder: Path, measures: str, **more: object) -> TableSettings:
    return TableSettings.model_validate({"file": write_answers(folder), "measures": [measures], **more})


def write_input(folder: Path, formulas: Sequence[str]) -> Path:
    file = folder / "input.csv"
    file.write_text("\n".join(["formula", *formulas]) + "\n")
    return file


def measure(file: Path, oracles: Sequence[OracleSettings], work: Path) -> Measuring:
    measuring = Measuring(list(read_rows(file)), build_line(oracles), work / "evaluations")
    with SerialDispatcher(work / "evaluations", 60) as dispatcher:
        measuring.run(dispatcher)
    return measuring


def endings(measuring: Measuring) -> list[Ending]:
    return [course.ending for course in measuring.courses.values()]


def outcomes(work: Path) -> list[Path]:
    return sorted(work.glob("evaluations/*/*/outcome.json"))


def read_table(file: Path) -> list[Cells]:
    with file.open(newline="") as handle:
        return list(csv.DictReader(handle))


def rock_salt(cation: str, anion: str, length: float) -> Structure:
    cubic = Structure.from_spacegroup("Fm-3m", Lattice.cubic(length), [cation, anion], [[0.5] * 3, [0] * 3])
    return cubic.get_primitive_structure()
