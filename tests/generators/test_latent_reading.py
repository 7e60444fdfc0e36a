"""Tables for the latent generator: cells and sites, the public layout with CIFs, and folders of splits."""

from __future__ import annotations

import csv
import lzma
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from typer.testing import CliRunner

from generators.latent import train
from generators.latent.reading import Row, TableError, read_rows
from materials.reference_table import structure_text

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
NITRIDE = Structure(Lattice.cubic(4.5), ["Na", "N"], [[0] * 3, [0.5, 0.5, 0.4321]])
PUBLIC = {"formation_energy_per_atom": "-1.5", "band_gap": "2.5", "pretty_formula": "", "e_above_hull": "0"}


def public(name: str, structure: Structure, **more: str) -> dict[str, str]:
    """A row as the public mp_20 has it: an index, the id, some figures, the CIF with the whole cell."""
    cif = str(CifWriter(structure))
    return {"": "0", "material_id": name} | PUBLIC | {"cif": cif, "spacegroup.number": "225"} | more


def written(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    with (lzma.open if path.suffix == ".xz" else open)(path, "wt", newline="") as handle:
        table = csv.DictWriter(handle, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return path


def same(row: Row, structure: Structure) -> bool:
    found = row.structure()
    return [s.specie.symbol for s in found] == [s.specie.symbol for s in structure] and np.allclose(
        found.distance_matrix, structure.distance_matrix, atol=1e-4
    )


@pytest.mark.parametrize("name", ["table.csv", "table.csv.xz"])
def test_cifs_are_read_as_cells_and_sites_are(tmp_path: Path, name: str) -> None:
    rows = list(read_rows(written(tmp_path / name, [public("mp-1", SALT), public("mp-2", NITRIDE)])))
    assert [(r.material_id, r.formula, r.number_of_atoms) for r in rows] == [
        ("mp-1", "NaCl", 8),
        ("mp-2", "NaN", 2),
    ]
    assert same(rows[0], SALT)
    assert same(rows[1], NITRIDE)
    assert rows[0].columns["band_gap"] == "2.5"
    cell, sites = structure_text(NITRIDE)
    plain = written(tmp_path / "plain.csv", [{"material_id": "mp-2", "cell": cell, "sites": sites}])
    (row,) = read_rows(plain)
    assert same(row, NITRIDE)
    assert (row.formula, row.number_of_atoms, row.split) == ("NaN", 2, "")


def test_a_cif_with_symmetry_has_all_its_atoms(tmp_path: Path) -> None:
    cif = str(CifWriter(SALT, symprec=0.01))
    (row,) = read_rows(written(tmp_path / "table.csv", [public("mp-1", SALT) | {"cif": cif}]))
    assert row.number_of_atoms == 8


def test_the_files_of_a_folder_are_its_splits(tmp_path: Path) -> None:
    written(tmp_path / "train.csv", [public("mp-1", SALT)])
    written(tmp_path / "val.csv.xz", [public("mp-2", NITRIDE)])
    written(tmp_path / "own.csv", [public("mp-3", NITRIDE, split="test")])
    assert {row.material_id: row.split for row in read_rows(tmp_path)} == {
        "mp-1": "train",
        "mp-2": "val",
        "mp-3": "test",
    }


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"material_id": "m", "cell": "1"}, r"t\.csv: no column sites; .* this one has material_id, cell"),
        (
            {"material_id": "m", "band_gap": "1"},
            r"t\.csv: no column cell, sites; .* either cif or cell and sites",
        ),
        ({"cif": "x"}, r"t\.csv: no column material_id"),
        ({"material_id": "m", "cif": "data_x"}, r"t\.csv, row 2 \(m\): the CIF is broken"),
        (
            public("m", Structure(Lattice.cubic(3), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])),
            r"t\.csv, row 2 \(m\): partial occupancies",
        ),
    ],
)
def test_a_table_without_crystals_is_named(tmp_path: Path, row: dict[str, str], told: str) -> None:
    with pytest.raises(TableError, match=told):
        list(read_rows(written(tmp_path / "t.csv", [row])))


def test_the_command_ends_with_the_sentence(tmp_path: Path) -> None:
    table = written(tmp_path / "t.csv", [public("m", SALT)])
    wrong = written(tmp_path / "wrong.csv", [{"formula": "NaCl"}])
    for words, told in (
        ([str(wrong)], "no column cell, sites, material_id"),
        ([str(tmp_path / "empty")], "no .csv and no .csv.xz in it"),
        ([str(table), "--leave-out", str(wrong)], "no column reduced_formula"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        result = CliRunner().invoke(train.app, [*words, "--out", str(tmp_path / "out")])
        assert result.exit_code == 2, result.output
        assert told in result.output.replace("\n", " ")
