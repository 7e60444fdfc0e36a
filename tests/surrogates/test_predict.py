"""`python -m surrogates.predict`: one row out for every row in."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner, Result

from surrogates.predict import app

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def predict(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_structures_formulas_and_broken_rows_keep_their_order(tmp_path: Path) -> None:
    mixed = SALT.copy()
    mixed.replace_species({"Na": {"Na": 0.5, "K": 0.5}})
    with (tmp_path / "in.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, ["material_id", "cif"])
        writer.writeheader()
        writer.writerow({"material_id": "salt", "cif": SALT.to(fmt="cif")})
        writer.writerow({"material_id": "broken", "cif": "data_broken\n_cell_length_a 3"})
        writer.writerow({"material_id": "mixed", "cif": mixed.to(fmt="cif")})
    result = predict(tmp_path / "in.csv", "--out", tmp_path / "out.csv")
    assert result.exit_code == 0, result.output
    assert "2 predicted, 1 not" in result.stdout
    salt, broken, disordered = rows(tmp_path / "out.csv")
    assert (salt["name"], salt["formula"], salt["band_gap basis"], salt["problem"]) == (
        "salt",
        "NaCl",
        "structure",
        "",
    )
    assert float(salt["predicted band_gap (eV)"]) == pytest.approx(5.0, abs=0.6)
    low, high = (float(salt[f"predicted formation_energy {end} % (eV/atom)"]) for end in (5, 95))
    assert low < float(salt["predicted formation_energy (eV/atom)"]) < high
    assert float(salt["band_gap distance to training data"]) < 3
    assert 5.5 < float(salt["predicted band_gap at HSE level (eV)"]) < 7.5
    assert float(salt["predicted band_gap at HSE level std (eV)"]) > 0
    assert "row 3" in broken["name"]
    assert broken["problem"]
    assert broken["predicted band_gap (eV)"] == ""
    assert disordered["band_gap basis"] == "composition"
    assert float(disordered["predicted band_gap (eV)"]) > 3


def test_formulas_alone_are_enough(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("formula\nNaCl\nCu\nNaN\n")
    result = predict(tmp_path / "in.csv", "--properties", "band_gap", "--out", tmp_path / "out.csv")
    assert result.exit_code == 0, result.output
    found = rows(tmp_path / "out.csv")
    assert [row["formula"] for row in found] == ["NaCl", "Cu", "NaN"]
    assert {row["band_gap basis"] for row in found} == {"composition"}
    assert not any("formation_energy" in column for column in found[0])


def test_what_the_potential_does_not_know_is_said(tmp_path: Path) -> None:
    polonium = Structure(Lattice.cubic(3.35), ["Po"], [[0, 0, 0]])
    polonium.to(str(tmp_path / "po.cif"))
    result = predict(tmp_path / "po.cif", "--out", tmp_path / "out.csv")
    assert "0 predicted, 1 not" in result.stdout
    (row,) = rows(tmp_path / "out.csv")
    assert "does not know Po" in row["problem"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.csv"], "missing.csv: no such file"),
        (["in.csv", "--properties", "band_gap,bandwidth"], "no head for bandwidth; known: band_gap"),
        (["in.csv", "--properties", ","], "no head for nothing"),
        (["in.csv", "--out", "no/such/folder/out.csv"], "No such file or directory"),
    ],
)
def test_bad_input_is_named(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text("formula\nNaCl\n")
    result = predict(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
