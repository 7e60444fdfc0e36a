from __future__ import annotations

import csv
import logging
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from generator_cases import Evaluated, propose
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from generators.files import FilesSettings
from materials.archive import Archive
from materials.base import Crystal
from materials.space import Space
from materials.writing import write_cif

CRYSTALS = Space(elements=["Na", "Cl"])
FORMULAS = Space(kind="composition", elements=["Na", "Cl"])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "pool.csv"
    path.write_text("\n".join(["formula", *(f"Na{i}Cl{i + 1}" for i in range(1, 601))]) + "\n")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(4):
        cell = Structure(Lattice.cubic(3 + i), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
        write_cif(tmp_path / f"{i}.cif", Crystal(cell))
    return tmp_path


def test_every_row_comes_once(table: Path, empty: Archive) -> None:
    candidates = propose(FilesSettings(path=table).build(FORMULAS), 1000, empty)
    assert len({c.id for c in candidates}) == len(candidates) == 600
    assert candidates[0].origin.generator == "files"
    assert "row" in candidates[0].origin.note


def test_what_the_archive_holds_is_skipped(table: Path, empty: Archive, evaluated: Evaluated) -> None:
    generator = FilesSettings(path=table).build(FORMULAS)
    first = propose(generator, 200, empty)
    rest = propose(generator, 1000, evaluated(first), seed=1)
    assert len(rest) == 400
    assert not {c.id for c in first} & {c.id for c in rest}


def test_the_given_order_is_kept(table: Path, folder: Path, empty: Archive) -> None:
    rows = propose(FilesSettings(path=table, order="given").build(FORMULAS), 3, empty)
    assert [c.origin.note.split(" of ")[1] for c in rows] == [f"pool.csv, row {i}" for i in (2, 3, 4)]
    cells = propose(FilesSettings(path=folder, order="given").build(CRYSTALS), 9, empty)
    assert [c.origin.note for c in cells] == [f"{i} of {i}.cif" for i in range(4)]


def test_a_random_order_is_fair_and_decided_by_the_seed(table: Path, empty: Archive) -> None:
    generator = FilesSettings(path=table).build(FORMULAS)
    assert [c.id for c in propose(generator, 9, empty, 1)] == [c.id for c in propose(generator, 9, empty, 1)]
    firsts = Counter(
        int(c.origin.note.rsplit(" ", 1)[1]) <= 301
        for seed in range(40)
        for c in propose(generator, 5, empty, seed)
    )
    # 200 draws, half of them expected in the upper half of the file: five standard deviations are 35.
    assert abs(firsts[True] - 100) < 35


def test_a_broken_file_is_passed_over_and_reported_once(
    folder: Path, empty: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "1.cif").write_text("data_broken\n_cell_length_a 3.")
    generator = FilesSettings(path=folder).build(CRYSTALS)
    with caplog.at_level(logging.WARNING):
        assert len(propose(generator, 9, empty)) == 3
        assert len(propose(generator, 9, empty)) == 3
    assert [r.message.count("1.cif") for r in caplog.records] == [1]


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="no such file or folder"):
        FilesSettings(path=tmp_path / "nowhere.csv")


def test_a_large_table_is_not_held_in_memory(tmp_path: Path, empty: Archive) -> None:
    path = tmp_path / "large.csv"
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["formula", "remark"])
        writer.writerows([f"Na{i}Cl{i + 1}", "x" * 2000] for i in range(1, 10_001))
    tracemalloc.start()
    generator = FilesSettings(path=path).build(FORMULAS)
    assert len(propose(generator, 50, empty)) == 50
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 20e6
    assert peak < 5e6
