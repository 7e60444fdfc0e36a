"""What measuring tells a person: right counts, remedies, units and conditions, and places that can be written."""

from __future__ import annotations

from pathlib import Path

import pytest
from measuring_parts import FORMULAS, write_answers, write_input
from typer.testing import CliRunner

from loop.measure import app
from loop.terminal import counted, measured_text
from materials.base import Measurement


def invoke(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--set", "executor.kind=serial"])
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("name", "value", "unit", "conditions", "told"),
    [
        ("dielectric_constant", 13.459, "1", {}, "eps_inf = 13.459"),
        ("log_ionic_conductivity", -5.311, "log10(S/cm)", {"temperature": 300.0}, "log10 sigma (S/cm) = -5.311"),
        ("log_ionic_conductivity", -2.0, "log10(S/cm)", {"temperature": 600.0},
         "log10 sigma (S/cm) = -2.000 at 600 K"),
        ("energy_per_atom", -5.927, "eV/atom", {"pressure": 20.0}, "E = -5.927 eV/atom at 20 GPa"),
        ("energy_per_atom", -5.927, "eV/atom", {"strain_xy": 0.02}, "E = -5.927 eV/atom at strain_xy 0.02"),
        ("energy_per_atom", -5.927, "eV/atom", {"pressure": 0.0}, "E = -5.927 eV/atom"),
    ],
)  # fmt: skip
def test_values_have_their_units_and_conditions(
    name: str, value: float, unit: str, conditions: dict[str, float], told: str
) -> None:
    assert measured_text([Measurement(name, value, unit, "PBE", "o", conditions=conditions)]) == told


def test_one_thing_is_no_plural() -> None:
    assert [counted(n, "row") for n in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]


def test_formulas_for_an_oracle_of_crystals_get_the_reason_and_a_remedy(tmp_path: Path) -> None:
    file, structures = write_input(tmp_path, FORMULAS[:2]), tmp_path / "relaxed.extxyz"
    code, output = invoke(file, "--oracle", "relax", "--out", tmp_path / "o.csv", "--structures", structures)
    assert code == 0
    assert "earlier run" not in output
    assert output.count("relax works on crystal, but this is a composition; give structures") == 2
    assert "learned" in (tmp_path / "o.csv").read_text()
    assert not structures.exists()
    assert f"{structures}: not written" in " ".join(output.split())


def test_rows_answered_by_an_earlier_run_are_counted(tmp_path: Path) -> None:
    oracle = f"table: {{file: {write_answers(tmp_path)}, measures: [band_gap]}}"
    command = (write_input(tmp_path, FORMULAS[:1]), "--oracle", oracle, "--out", tmp_path / "o.csv")
    first, second = invoke(*command)[1], invoke(*command)[1]
    assert "earlier run" not in first
    assert "1 row answered by earlier runs" in second
    assert "1 row, 1 different material;" in second


@pytest.mark.parametrize("option", ["--out", "--structures", "--dir"])
def test_a_place_that_cannot_be_written_is_named_before_anything_is_measured(
    tmp_path: Path, option: str
) -> None:
    places = {"--out": tmp_path / "o.csv", option: Path("/proc/nowhere/o.csv")}
    given = [part for pair in places.items() for part in pair]
    oracle = f"table: {{file: {write_answers(tmp_path)}, measures: [band_gap]}}"
    code, output = invoke(write_input(tmp_path, FORMULAS[:1]), "--oracle", oracle, *given)
    assert code == 2
    assert f"error: {option} /proc/nowhere/o.csv" in output
    assert "Nothing was measured" in output
    assert not list(tmp_path.glob("**/outcome.json"))
