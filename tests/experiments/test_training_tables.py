"""Tables to train on: both layouts, the split by formula, and descriptors that are kept."""

from __future__ import annotations

import csv
import lzma
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from experiments.training_tables import cached_features, describe, left_out, read_labelled, tenth
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


def test_left_out_formulas_are_reduced(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("material_id,reduced_formula\nm,Na4Cl4\nn,NaN\n")
    assert left_out(tmp_path / "out.csv") == {"NaCl", "NaN"}


def test_descriptors_are_computed_once_and_missing_ones_are_named(mp20: Path, tmp_path: Path) -> None:
    crystals = [row.crystal for row in read_labelled(mp20)]
    settings = DescriptorSettings(kind="composition")
    with pytest.raises(KeyError, match="2 of 2 crystals are not described"):
        cached_features(tmp_path / "features", settings, crystals)
    describe(mp20, tmp_path / "features", "composition")
    rows = cached_features(tmp_path / "features", settings, crystals)
    np.testing.assert_array_equal(rows, settings.build().describe(crystals))
