"""`python -m loop.calibrate`: a conductivity law from measured tables and from run folders."""

from __future__ import annotations

import csv
import json
from itertools import product
from pathlib import Path

import pytest
import yaml
from pymatgen.core import Element, Lattice, Structure
from typer.testing import CliRunner, Result

from loop.calibrate import app
from loop.campaign import app as campaign
from oracles.conduction.bvse import BondValenceSettings, framework_barriers
from oracles.conduction.calibration import decades, read_calibration
from oracles.conduction.framework import framework_of

ANIONS = [*product(["O", "S", "Se"], ["F", "Cl", "Br", "I"])]
SLOPE, INTERCEPT = 0.5, -2.0


def antiperovskite(chalcogen: str, halogen: str) -> Structure:
    length = 2 * (Element(chalcogen).average_anionic_radius + 0.73)
    sites = [[0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [0.5, 0.5, 0.5], [0, 0, 0]]
    return Structure(Lattice.cubic(length), ["Li", "Li", "Li", chalcogen, halogen], sites)


def barrier(structure: Structure) -> float:
    return framework_barriers(framework_of(structure, "Li"), BondValenceSettings())[2]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    """Structures whose conductivity follows a law exactly."""
    found = []
    for anions in ANIONS:
        structure = antiperovskite(*anions)
        value = INTERCEPT - SLOPE * decades(barrier(structure), 298.0)
        row = {
            "material_id": "-".join(anions),
            "cif": structure.to(fmt="cif"),
            "log_ionic_conductivity": f"{value}",
        }
        found.append(row)
    return found


def write(file: Path, rows: list[dict[str, str]]) -> Path:
    with file.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


def calibrate(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_table_gives_back_its_law(rows: list[dict[str, str]], tmp_path: Path) -> None:
    hopeless = {"material_id": "nacl", "log_ionic_conductivity": "-9"}
    hopeless["cif"] = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ).to(fmt="cif")
    result = calibrate(write(tmp_path / "own.csv", [*rows, hopeless]), "--out", tmp_path / "law.json")
    assert result.exit_code == 0, result.output
    assert "NaCl: left out: " in result.stderr
    law = read_calibration(tmp_path / "law.json")
    assert (law.rows, law.limits, law.source, law.mobile_ion) == (len(rows), 0, "own.csv", "Li")
    assert law.slope == pytest.approx(SLOPE, rel=0.02)
    assert law.intercept == pytest.approx(INTERCEPT, abs=0.2)
    settings = BondValenceSettings.model_validate({"calibration": str(tmp_path / "law.json")})
    assert settings.law() == law


def test_too_few_measurements_are_refused(rows: list[dict[str, str]], tmp_path: Path) -> None:
    result = calibrate(write(tmp_path / "own.csv", rows[:5]), "--out", tmp_path / "law.json")
    assert result.exit_code == 2
    assert "at least 8" in result.stderr
    assert not (tmp_path / "law.json").exists()


def test_an_unreadable_table_is_named(tmp_path: Path) -> None:
    result = calibrate(tmp_path / "nothing.csv", "--out", tmp_path / "law.json")
    assert result.exit_code == 2
    assert "nothing.csv" in result.stderr


def test_a_run_folder_gives_what_its_lab_measured(
    rows: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "answers.csv", [{k: row[k] for k in row if k != "cif"} for row in rows])
    write(tmp_path / "pool.csv", [{k: row[k] for k in ("material_id", "cif")} for row in rows])
    answers = {"kind": "table", "file": "answers.csv", "measures": ["log_ionic_conductivity"]}
    document = {
        "name": "lab",
        "space": {
            "elements": ["Li", *sorted({anion for pair in ANIONS for anion in pair})],
            "required": ["Li"],
            "number_of_atoms": [5, 5],
        },
        "objectives": [{"property": "log_ionic_conductivity", "goal": "maximize", "fidelity": "experiment"}],
        "generators": [{"kind": "files", "path": "pool.csv"}],
        "acquisition": {"kind": "random"},
        "oracles": [{"kind": "bvse"}, answers],
        "executor": {"kind": "serial"},
        "tracking": None,
        "budget": {"rounds": 1, "batch": len(rows), "pool": len(rows)},
    }
    (tmp_path / "lab.yaml").write_text(yaml.safe_dump(document))
    ended = CliRunner().invoke(campaign, ["lab.yaml"])
    assert ended.exit_code == 0, ended.output
    result = calibrate("runs/lab", "--out", "law.json")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "law.json").read_text())["slope"] == pytest.approx(SLOPE, rel=0.02)
