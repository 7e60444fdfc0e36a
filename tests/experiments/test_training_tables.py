"""Tables to train on: both layouts, the split by formula, and descriptors that are kept."""

from __future__ import annotations

import csv
import lzma
from pathlib import Path

import numpy as np
import pytest
import typer
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from experiments.train_heads import labelled, main, split
from experiments.training_tables import TableError, cached_features, describe, read_labelled, tenth
from surrogates.descriptors import DescriptorSettings

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture
def mp20(tmp_path: Path) -> Path:
    path = tmp_path / "mp20.csv"
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, ["material_id", "band_gap", "cif"])
        writer.writeheader()
        writer.writerow({"material_id": "a", "band_gap": "5.0", "cif": SALT.to(fmt="cif")})
        writer.writerow({"material_id": "none", "band_gap": "1.0", "cif": ""})
        lithium = Structure(Lattice.cubic(3.4), ["Li"], [[0, 0, 0]])
        writer.writerow({"material_id": "b", "band_gap": "", "cif": lithium.to(fmt="cif")})
    return path


def test_both_layouts_give_crystals_and_labels(mp20: Path, tmp_path: Path) -> None:
    salt, lithium = read_labelled(mp20)
    assert (salt.formula, salt.labels) == ("NaCl", {"material_id": "a", "band_gap": "5.0"})
    assert lithium.labels["band_gap"] == ""
    assert [row.formula for row in read_labelled(mp20, most_atoms=1)] == ["Li"]
    with lzma.open(tmp_path / "t.csv.xz", "wt") as handle:
        handle.write("material_id,cell,sites\nx,3 3 3 90 90 90,Na 0 0 0 0.5 0.5 0;N 0.5 0.5 0.5 0 0 0.5\n")
    (nitride,) = read_labelled(tmp_path / "t.csv.xz")
    assert nitride.formula == "NaN"


def test_the_split_is_by_formula_and_even() -> None:
    tenths = [tenth(f"Li{i}O{j}") for i in range(1, 40) for j in range(1, 40)]
    assert tenth("NaCl") == tenth("NaCl")
    assert np.bincount(tenths, minlength=10).min() > 0.07 * len(tenths)


def test_descriptors_are_computed_once_and_missing_ones_are_named(mp20: Path, tmp_path: Path) -> None:
    crystals = [row.crystal for row in read_labelled(mp20)]
    settings = DescriptorSettings(kind="composition")
    with pytest.raises(KeyError, match="2 of 2 crystals are not described"):
        cached_features(tmp_path / "features", settings, crystals)
    describe(mp20, tmp_path / "features", "composition")
    rows = cached_features(tmp_path / "features", settings, crystals)
    np.testing.assert_array_equal(rows, settings.build().describe(crystals))


def written(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


GOOD = {
    "material_id": "mp-1",
    "band_gap": "5.0",
    "cell": "3 3 3 90 90 90",
    "sites": "Na 0 0 0;Cl 0.5 0.5 0.5",
}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            {"band_gap": "-0.1"},
            r"bad\.csv, row 3 \(mp-2\): band_gap is -0.1, below 0, which is impossible; mend it",
        ),
        (
            {"band_gap": "wide"},
            r"row 3 \(mp-2\): band_gap is 'wide', which is no number; mend it, or leave it empty",
        ),
        ({"band_gap": "inf"}, "band_gap is 'inf', which is no number"),
        ({"cell": "3 3 3"}, r"row 3 \(mp-2\): the structure cannot be read .* mend it, or empty its cells"),
        ({"sites": "Qq 0 0 0"}, r"row 3 \(mp-2\): Qq.* is no element; mend the structure"),
    ],
)
def test_a_bad_row_is_named_with_its_remedy(row: dict[str, str], words: str, tmp_path: Path) -> None:
    path = written(tmp_path / "bad.csv", [GOOD, GOOD | {"material_id": "mp-2"} | row])
    with pytest.raises(TableError, match=words):
        labelled(list(read_labelled(path)), "band_gap", None, 0.0)


def test_an_empty_label_is_missing_and_a_missing_column_is_named(tmp_path: Path) -> None:
    rows = list(read_labelled(written(tmp_path / "t.csv", [GOOD, GOOD | {"band_gap": ""}])))
    assert np.isnan(labelled(rows, "band_gap", None, 0.0)).tolist() == [False, True]
    with pytest.raises(TableError, match="no column gap; there are material_id, band_gap"):
        labelled(rows, "gap", None)
    (tmp_path / "flat.csv").write_text("material_id,band_gap\nmp-1,1\n")
    with pytest.raises(
        TableError, match=r"flat\.csv: no structures; a column cif, or the columns cell and sites"
    ):
        list(read_labelled(tmp_path / "flat.csv"))


def test_the_commands_end_with_the_sentence(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    path = written(tmp_path / "bad.csv", [GOOD | {"band_gap": "-3"}])
    hidden = tmp_path / "hidden.csv"
    hidden.write_text("reduced_formula\nKCl\n")
    result = CliRunner().invoke(
        app, ["band_gap", str(path), "--leave-out", str(hidden), "--out", str(tmp_path)]
    )
    assert result.exit_code == 2
    assert "error: " in result.stderr
    assert "row 2 (mp-1): band_gap is -3" in result.stderr
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_structure_without_a_descriptor_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "po.csv", [GOOD, GOOD | {"material_id": "mp-2", "sites": "Po 0 0 0"}])
    describe(path, tmp_path / "features", kind="sevennet")
    rows = list(read_labelled(path))
    parts = split(rows, np.array([5.0, 0.0]), tmp_path / "features", DescriptorSettings(kind="sevennet"))
    assert sum(len(part.values) for part in parts.values()) == 1
    assert "row 3 (mp-2) is left out: Po: 7net-0 does not know Po" in capsys.readouterr().out
