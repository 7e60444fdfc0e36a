"""Tables of measured conductivities: what is read from them, and that every impossible row is named."""

from __future__ import annotations

import csv
import lzma
from pathlib import Path

import numpy as np
import pytest
import typer
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from experiments.benchmarks.conductivity import folds
from experiments.conductivity_table import Conductors, TableError, near_duplicates, read_conductors
from experiments.train_conductivity import main
from surrogates.conduction_columns import CELL

CHLORIDE = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.13), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
GOOD = {
    "ID": "abc",
    "true_composition": "Li4Cl4",
    "sigma_S_cm": "1e-7",
    "censored_lt": "0",
    "spacegroup": "225",
    "cif": "",
} | dict.fromkeys("abc", "5.13") | dict.fromkeys(("alpha", "beta", "gamma"), "90")  # fmt: skip


def write(path: Path, *rows: dict[str, str]) -> Path:
    opened = lzma.open if path.suffix == ".xz" else open
    with opened(path, "wt", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(GOOD))
        writer.writeheader()
        writer.writerows(rows)
    return path


def read(folder: Path, *rows: dict[str, str]) -> Conductors:
    return read_conductors(write(folder / "table.csv", *(GOOD | row for row in rows)))


def test_values_limits_and_cells_are_read(tmp_path: Path) -> None:
    mixed = CHLORIDE.copy()
    mixed.replace_species({"Li": {"Li": 0.5, "Na": 0.5}})
    found = read_conductors(
        write(
            tmp_path / "table.csv.xz",
            GOOD,
            GOOD | {"cif": CHLORIDE.to(fmt="cif"), "sigma_S_cm": "1e-9", "censored_lt": "1"},
            GOOD | {"cif": mixed.to(fmt="cif"), "true_composition": "Li2Na2Cl4"},
            GOOD | {"cif": mixed.to(fmt="cif")},  # not the CIF of this formula
        )
    )
    assert found.values.tolist() == [-7.0, -9.0, -7.0, -7.0]
    assert found.at_most.tolist() == [False, True, False, False]
    assert found.basis == ["lattice parameters", "structure", "disordered structure", "lattice parameters"]
    assert [m.formula for m in found.materials][:3] == ["LiCl", "LiCl", "NaLiCl2"]
    structure, formula = found.descriptors["structure"], found.descriptors["composition"]
    assert structure.shape[1] == formula.shape[1] + len(CELL)
    # A table of lattice parameters and a CIF of the same crystal come to the same columns.
    assert structure[0] == pytest.approx(structure[1], rel=1e-3)


def test_left_out_formulas_are_not_learned_from(tmp_path: Path) -> None:
    table = write(tmp_path / "table.csv", GOOD, GOOD | {"true_composition": "Li4Br4"})
    assert len(read_conductors(table, frozenset({"LiCl"})).values) == 1
    with pytest.raises(TableError, match="all are left out"):
        read_conductors(table, frozenset({"LiCl", "LiBr"}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sigma_S_cm": ""}, "sigma_S_cm is '', not a number; fill it in"),
        ({"sigma_S_cm": "nan"}, "sigma_S_cm is nan, not a finite number"),
        ({"sigma_S_cm": "0"}, "sigma_S_cm is 0, not between 0 and 1000 S/cm"),
        ({"sigma_S_cm": "-1e-5"}, "sigma_S_cm is -1e-05, not between"),
        ({"sigma_S_cm": "1e5"}, "not between 0 and 1000 S/cm; give it in S/cm"),
        ({"censored_lt": "yes"}, "censored_lt is 'yes'; give 0 for a value and 1 for an upper limit"),
        ({"true_composition": "Li4Qq4"}, "true_composition 'Li4Qq4'"),
        ({"true_composition": ""}, "true_composition ''"),
        ({"true_composition": "Na4Cl4"}, "NaCl holds no Li"),
        ({"spacegroup": "231"}, "spacegroup is 231, not a number from 1 to 230"),
        ({"a": "-5"}, "no cell has the lengths -5, 5.13, 5.13"),
        ({"alpha": "10", "beta": "150"}, "no cell has the lengths"),
        ({"a": "513"}, "cubic angstrom per atom are not between 3 and 60"),
        ({"cif": "data_broken\n_cell_length_a 3"}, "cif cannot be read"),
    ],
)
def test_every_bad_row_is_named(change: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(TableError) as caught:
        read(tmp_path, {}, change, {"censored_lt": "2", "ID": "last"})
    message = str(caught.value)
    assert "table.csv, row 3 (abc): " in message
    assert words in message
    assert "table.csv, row 4 (last): censored_lt" in message
    assert "row 2" not in message


def test_training_stops_with_the_reasons(tmp_path: Path) -> None:
    table = write(tmp_path / "table.csv", GOOD | {"sigma_S_cm": "much"})
    hidden = tmp_path / "leave_out.csv"
    hidden.write_text("reduced_formula\nLiF\n")
    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, [str(table), "--leave-out", str(hidden), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "row 2 (abc): sigma_S_cm is 'much', not a number" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("true_composition,sigma_S_cm\nLiCl,1e-7\n")
    with pytest.raises(TableError, match="no column censored_lt, spacegroup"):
        read_conductors(tmp_path / "table.csv")


def test_near_duplicates_share_a_group_and_a_fold() -> None:
    fractions = np.array([[0.5, 0.5, 0.0], [0.52, 0.48, 0.0], [0.7, 0.3, 0.0], [0.5, 0.48, 0.02]])
    groups = near_duplicates(fractions)
    assert groups[0] == groups[1]
    assert len(set(groups.tolist())) == 3
    many = np.repeat(np.arange(40), 3)
    parts = list(folds(many, 5, seed=1))
    assert np.sum(parts, axis=0).tolist() == [1] * 120
    for part in parts:
        assert not set(many[part]) & set(many[~part])
