"""Oracles without a campaign: rows in, rows out, whatever happens in between."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from doubting_oracles import SuspicionSettings
from executor_oracles import RobotSettings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from measuring_parts import FORMULAS, endings, measure, outcomes, read_table, rock_salt, table, write_input

from loop.errors import CampaignError
from loop.measuring.course import Ending
from loop.measuring.results import write_results
from loop.measuring.rows import read_rows
from loop.measuring.structures import write_structures
from loop.prior import read_prior
from materials.base import Crystal
from materials.evaluation import FailureKind, Request
from materials.writing import write_cif
from oracles.base import OracleSettings
from oracles.one_by_one import Answer, FailedError, OneByOneOracle


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.sampled_from([*FORMULAS, "SrO", "Xx2", "", "not a formula"]), min_size=1, max_size=12)
)
def test_each_row_gets_a_row_and_equal_materials_are_measured_once(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    file = folder / "input.csv"
    file.write_text("\n".join(["id,formula", *(f"r{i},{row}" for i, row in enumerate(rows))]) + "\n")
    measuring = measure(file, [table(folder, "band_gap"), table(folder, "formation_energy")], folder / "work")
    write_results(folder / "out.csv", measuring.rows, measuring.courses, measuring.line)
    written = read_table(folder / "out.csv")
    assert [int(cells["row"]) for cells in written] == list(range(1, len(rows) + 1))
    for row, cells in zip(rows, written, strict=True):
        if row in FORMULAS[:-1]:
            assert (cells["status"], cells["formula"], cells["failure"]) == ("done", row, "")
            number = FORMULAS.index(row)
            assert float(cells["band_gap (eV)"]) == number + 0.5
            assert float(cells["formation_energy (eV/atom)"]) == -number
            assert cells["band_gap_fidelity"] == "experiment"
        elif row == "KBr":
            assert (cells["status"], cells["stage"]) == ("rejected", "table_2")
            assert float(cells["band_gap (eV)"]) == 4.5
            assert cells["formation_energy (eV/atom)"] == ""
        elif row == "SrO":
            assert (cells["status"], cells["stage"], cells["failure"]) == (
                "rejected",
                "table",
                "missing_answer",
            )
        else:
            assert (cells["status"], cells["failure"]) == ("rejected", "bad_input")
            assert cells["message"]
        first = rows.index(row) + 1
        readable = row in (*FORMULAS, "SrO")
        assert cells["same_as_row"] == (str(first) if readable and int(cells["row"]) != first else "")
    known = set(rows) & {*FORMULAS, "SrO"}
    assert len(outcomes(folder / "work")) == 2 * len(known) - ("SrO" in known)


def test_the_highest_fidelity_counts_and_each_oracle_has_its_columns(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    first = table(tmp_path, "band_gap", fidelity="HSE")
    second = table(other, "band_gap", fidelity="PBE", noise=0.1)
    measuring = measure(write_input(tmp_path, ["MgO"]), [first, second], tmp_path / "work")
    write_results(tmp_path / "out.csv", measuring.rows, measuring.courses, measuring.line)
    (cells,) = read_table(tmp_path / "out.csv")
    assert (cells["band_gap (eV)"], cells["band_gap_fidelity"], cells["band_gap_std (eV)"]) == (
        "2.5",
        "HSE",
        "",
    )
    assert (cells["band_gap by table (eV)"], cells["band_gap_fidelity by table_2"]) == ("2.5", "PBE")
    assert cells["band_gap by table_2 (eV)"] not in ("", "2.5")
    assert cells["band_gap_std by table_2 (eV)"] == "0.1"


def test_what_is_answered_is_not_asked_again(tmp_path: Path) -> None:
    file = write_input(tmp_path, ["Li2O", "KBr"])
    line = [table(tmp_path, "band_gap"), table(tmp_path, "formation_energy")]
    measure(file, line, tmp_path / "work")
    before = {path: path.stat().st_mtime_ns for path in outcomes(tmp_path / "work")}
    again = measure(file, line, tmp_path / "work")
    assert endings(again) == [Ending.DONE, Ending.REJECTED]
    assert {path: path.stat().st_mtime_ns for path in outcomes(tmp_path / "work")} == before
    # Another row, and another second oracle: only what is new is asked.
    changed = [line[0], table(tmp_path, "formation_energy", noise=0.1)]
    measure(write_input(tmp_path, ["Li2O", "KBr", "LiF"]), changed, tmp_path / "work")
    new = set(outcomes(tmp_path / "work")) - set(before)
    assert len(new) == 1 + 3


def test_a_gate_is_judged_anew_without_asking_again(tmp_path: Path) -> None:
    file = write_input(tmp_path, ["Li2O", "NaCl"])
    second = table(tmp_path, "formation_energy")
    gated = table(tmp_path, "band_gap", gate={"band_gap": {"at_most": 2.0}})
    measuring = measure(file, [gated, second], tmp_path / "work")
    assert endings(measuring) == [Ending.DONE, Ending.STOPPED]
    stopped = list(measuring.courses.values())[1]
    assert "band_gap" in stopped.reason
    assert len(outcomes(tmp_path / "work")) == 3
    opened = measure(file, [table(tmp_path, "band_gap"), second], tmp_path / "work")
    assert endings(opened) == [Ending.DONE, Ending.DONE]
    assert len(outcomes(tmp_path / "work")) == 4


class MendableSettings(OracleSettings):
    """A program that is missing until somebody makes `program`."""

    kind: Literal["mendable"] = "mendable"
    program: str

    @property
    def measures(self) -> tuple[str, ...]:
        return ("band_gap",)

    @property
    def fidelity(self) -> str:
        return "PBE"

    def build(self) -> Mendable:
        return Mendable(Path(self.program))


class Mendable(OneByOneOracle):
    def __init__(self, program: Path) -> None:
        self.program = program

    def measure(self, request: Request) -> Answer:
        if not self.program.exists():
            raise FailedError(FailureKind.MISSING_PROGRAM, f"{self.program} is missing; install it")
        return Answer(())


def test_a_failed_row_is_tried_again_by_the_next_run(tmp_path: Path) -> None:
    write_cif(tmp_path / "mgo.cif", Crystal(rock_salt("Mg", "O", 4.2)))
    oracle = MendableSettings(program=str(tmp_path / "program"))
    first = measure(tmp_path / "mgo.cif", [oracle], tmp_path / "work")
    (course,) = first.courses.values()
    assert course.ending is Ending.FAILED
    assert course.failure is not None
    assert course.failure.kind is FailureKind.MISSING_PROGRAM
    (tmp_path / "program").touch()
    assert endings(measure(tmp_path / "mgo.cif", [oracle], tmp_path / "work")) == [Ending.DONE]
    assert [path.parent.name for path in outcomes(tmp_path / "work")] == ["1", "2"]
    (tmp_path / "program").unlink()
    assert endings(measure(tmp_path / "mgo.cif", [oracle], tmp_path / "work")) == [Ending.DONE]


class SteadyRobotSettings(RobotSettings):
    """One whose answers do not depend on what lies on its desk."""

    def meaning(self) -> dict[str, Any]:
        return {"kind": self.kind}


def test_values_in_doubt_are_written_with_it_and_are_no_prior_knowledge(tmp_path: Path) -> None:
    folder = tmp_path / "cifs"
    folder.mkdir()
    for cation, length in {"Mg": 4.2, "Ca": 4.8}.items():
        write_cif(folder / f"{cation}O.cif", Crystal(rock_salt(cation, "O", length)))
    measuring = measure(folder, [CrystalSuspicionSettings(suspects=("Ca",))], tmp_path / "work")
    write_results(tmp_path / "out.csv", measuring.rows, measuring.courses, measuring.line)
    doubts = {row["formula"]: row["doubt"] for row in read_table(tmp_path / "out.csv")}
    assert doubts == {"CaO": "models disagree", "MgO": ""}
    for name in ("all.extxyz", "all.csv"):
        write_structures(tmp_path / name, measuring.rows, measuring.courses)
        prior = read_prior([tmp_path / name])
        assert [candidate.material.formula for candidate in prior.candidates] == ["MgO"]
        assert prior.doubted == 1
    only = measure(folder / "CaO.cif", [CrystalSuspicionSettings(suspects=("Ca",))], tmp_path / "work")
    write_structures(tmp_path / "doubted.csv", only.rows, only.courses)
    with pytest.raises(CampaignError, match="all 1 materials in it are doubted"):
        read_prior([tmp_path / "doubted.csv"])


class CrystalSuspicionSettings(SuspicionSettings):
    """Doubts crystals."""

    material_kinds: ClassVar[tuple[str, ...]] = ("crystal",)


def test_answers_from_outside_are_waited_for_across_runs(tmp_path: Path) -> None:
    write_cif(tmp_path / "mgo.cif", Crystal(rock_salt("Mg", "O", 4.2)))
    (tmp_path / "program").touch()
    line = [SteadyRobotSettings(desk=tmp_path), MendableSettings(program=str(tmp_path / "program"))]
    assert endings(measure(tmp_path / "mgo.cif", line, tmp_path / "work")) == [Ending.WAITING]
    (question,) = tmp_path.glob("*.question")
    question.with_suffix(".answer").write_text(json.dumps({**json.loads(question.read_text()), "value": 2.0}))
    answered = measure(tmp_path / "mgo.cif", line, tmp_path / "work")
    assert endings(answered) == [Ending.DONE]
    (course,) = answered.courses.values()
    assert [m.value for m in course.walk.measurements] == [2.0]


def test_a_formula_is_refused_where_a_crystal_is_needed(tmp_path: Path) -> None:
    measuring = measure(write_input(tmp_path, ["MgO"]), [MendableSettings(program="none")], tmp_path / "work")
    (course,) = measuring.courses.values()
    assert course.ending is Ending.REJECTED
    assert course.failure is not None
    assert "works on crystal" in course.failure.message


def test_a_folder_of_cifs_with_broken_ones_keeps_its_order(tmp_path: Path) -> None:
    folder = tmp_path / "cifs"
    folder.mkdir()
    write_cif(folder / "c.cif", Crystal(rock_salt("Mg", "O", 4.2)))
    (folder / "a.cif").write_text("data_broken\n_cell_length_a 3\n")
    (folder / "b.cif").mkdir()
    (folder / "d.cif").write_text("")
    rows = list(read_rows(folder))
    assert [row.name for row in rows] == ["a", "b", "c", "d"]
    assert [row.number for row in rows] == [1, 2, 3, 4]
    assert [row.failure and str(row.failure.kind) for row in rows] == [
        "bad_input", "bad_input", None, "bad_input",
    ]  # fmt: skip
