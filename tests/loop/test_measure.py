"""Oracles without a campaign: rows in, rows out, whatever happens in between."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from executor_oracles import RobotSettings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from loop.executors.serial import SerialDispatcher
from loop.line import build_line
from loop.loading import ConfigError
from loop.lock import DriverLock
from loop.measure import app
from loop.measuring.course import Ending, Measuring
from loop.measuring.plan import plan_of, plan_of_campaign
from loop.measuring.results import write_results
from loop.measuring.rows import read_rows
from loop.prior import read_prior
from materials.base import Crystal
from materials.evaluation import FailureKind, Request
from materials.reading import read_materials, write_cif
from oracles.base import OracleSettings
from oracles.one_by_one import Answer, FailedError, OneByOneOracle
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


def arguments(file: Path, out: Path, answers: Path, **more: object) -> list[str]:
    settings = f"table: {{file: {answers}, measures: [band_gap], delay: {more.pop('delay', 0.0)}}}"
    return [str(file), "--oracle", settings, "--out", str(out), *(str(word) for word in more.values())]


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


@pytest.mark.parametrize(
    ("oracles", "changes", "told"),
    [
        (["relaxx"], [], "--oracle 'relaxx': unknown kind 'relaxx'; did you mean 'relax'?"),
        (["relax: {fmx: 0.1}"], [], "fmx: unknown key; did you mean 'fmax'?"),
        (["relax: {fmax: -1}"], [], "fmax"),
        (["relax: [0.1]"], [], "not a kind with its settings"),
        (["relax: {fmax: 0.1"], [], "no valid YAML"),
        (["hull"], [], "hull needs energy_per_atom"),
        (["hull", "relax"], [], "put the oracle that measures it first"),
        (["relax: {potential: 7net-l3i5}", "hull"], [], "cannot be compared"),
        (["bvse: {gate: {band_gap: {at_most: 1}}}"], [], "band_gap is not measured up to this stage"),
        (["relax"], ["executor.wokers=2"], "executor.wokers: unknown key; did you mean 'workers'?"),
        (["relax"], ["limits.seconds_per_evaluation='3'"], "a number is expected here"),
    ],
)
def test_a_wrong_line_is_refused_with_its_place(oracles: list[str], changes: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_of(oracles, changes)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_three_ways_to_write_an_oracle_agree() -> None:
    plans = [plan_of([text], []) for text in ("relax: {fmax: 0.1}", "{kind: relax, fmax: 0.1}")]
    assert plans[0] == plans[1]
    assert plan_of(["relax"], []) == plan_of(["relax:"], [])


def test_the_oracles_of_a_campaign_file_have_the_keys_of_the_campaign() -> None:
    from loop.loading import load_campaign

    config = load_campaign("battery.yaml").config
    plan = plan_of_campaign("battery.yaml", ["limits.seconds_per_evaluation=5"])
    assert plan.limits.seconds_per_evaluation == 5
    assert [s.key("x") for s in build_line(plan.oracles)] == [s.key("x") for s in build_line(config.oracles)]


def test_one_run_at_a_time_and_no_input_is_overwritten(tmp_path: Path) -> None:
    file, answers = write_input(tmp_path, ["MgO"]), write_answers(tmp_path)
    run = CliRunner().invoke
    with DriverLock(tmp_path / "out.csv.work"):
        held = run(app, arguments(file, tmp_path / "out.csv", answers))
    assert held.exit_code == 2
    assert "already driven by process" in held.output
    same = run(app, arguments(file, file, answers))
    assert same.exit_code == 2
    assert "this is the input" in same.output
    assert file.read_text() == "formula\nMgO\n"
    none = run(app, [str(file), "--out", str(tmp_path / "out.csv")])
    assert none.exit_code == 2
    assert "--oracle" in none.output
    missing = run(app, arguments(tmp_path / "no.csv", tmp_path / "out.csv", answers))
    assert missing.exit_code == 2
    assert "no such file" in missing.output


@pytest.fixture(name="process")
def _process() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_a_killed_and_an_interrupted_run_go_on_where_they_stopped(
    tmp_path: Path, process: list[subprocess.Popen[str]]
) -> None:
    file, answers, out = write_input(tmp_path, FORMULAS), write_answers(tmp_path), tmp_path / "out.csv"
    work = tmp_path / "out.csv.work"
    more = {"delay": 0.4, "option": "--workers", "value": 1}
    command = [sys.executable, "-m", "loop.measure", *arguments(file, out, answers, **more)]
    for ends_by, wanted in ((signal.SIGKILL, 1), (signal.SIGINT, 3)):
        process.append(
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ
            )
        )
        end = time.monotonic() + 240
        while len(outcomes(work)) < wanted:
            assert process[-1].poll() is None, process[-1].communicate()[0]
            assert time.monotonic() < end
            time.sleep(0.02)
        process[-1].send_signal(ends_by)
        process[-1].communicate()
        written = read_table(out)  # the first kind of end leaves what was known at the beginning
        assert len(written) == len(FORMULAS)
        assert written[-1]["status"] == "not_measured"
        assert "run the same command again" in written[-1]["message"]
    assert process[-1].returncode == 130
    assert sum(cells["status"] == "done" for cells in written) >= 3
    last = subprocess.run(command, capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr
    assert "rows were answered by earlier runs" in last.stdout
    assert [cells["status"] for cells in read_table(out)] == ["done"] * len(FORMULAS)
    per_key = [
        len(list(key.glob("*/outcome.json"))) for key in (work / "evaluations").iterdir() if key.is_dir()
    ]
    assert per_key == [1] * len(FORMULAS)


@pytest.mark.parametrize("suffix", [".extxyz", ".csv"])
def test_real_oracles_give_structures_that_a_campaign_reads(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "cifs"
    folder.mkdir()
    for name, structure in {"lif": rock_salt("Li", "F", 4.0), "mgo": rock_salt("Mg", "O", 4.2)}.items():
        write_cif(folder / f"{name}.cif", Crystal(structure))
    half = Structure(Lattice.cubic(4), [{"Li": 0.5, "Na": 0.5}, "F"], [[0] * 3, [0.5] * 3])
    write_cif(folder / "half.cif", Crystal(half))
    out, structures = tmp_path / "out.csv", tmp_path / f"relaxed{suffix}"
    oracles = ["--oracle", "relax: {fmax: 0.1}", "--oracle", "hull", "--oracle", "bvse"]
    result = CliRunner().invoke(
        app,
        [
            str(folder),
            *oracles,
            "--out",
            str(out),
            "--structures",
            str(structures),
            "--set",
            "executor.kind=serial",
        ],
    )
    assert result.exit_code == 0, result.output
    cells = {row["id"]: row for row in read_table(out)}
    assert [cells[name]["status"] for name in ("half", "lif", "mgo")] == ["rejected", "done", "rejected"]
    assert (cells["mgo"]["stage"], cells["mgo"]["failure"]) == ("bvse", "unsupported_material")
    assert abs(float(cells["lif"]["energy_above_hull (eV/atom)"])) < 0.01
    entries = {entry.name: entry for entry in read_materials(structures)}
    assert set(entries) == {"lif", "mgo"}
    measured = {m.property: m for m in entries["lif"].measurements}
    conductivity = measured["log_ionic_conductivity"]
    assert conductivity.conditions == {"temperature": 300.0}
    assert cells["lif"]["log_ionic_conductivity_temperature (K)"] == "300"
    assert cells["mgo"]["log_ionic_conductivity_temperature (K)"] == ""
    barrier = measured["migration_barrier"]
    assert (barrier.fidelity, f"{barrier.value:.9g}") == (
        "bond_valence",
        cells["lif"]["migration_barrier (eV)"],
    )
    relaxed = entries["lif"].material
    assert isinstance(relaxed, Crystal)
    assert relaxed.structure.volume != pytest.approx(rock_salt("Li", "F", 4.0).volume, rel=1e-3)
    candidates, prior = read_prior([structures])
    assert len(candidates) == 2
    assert all(prior.values())


def test_structures_with_partial_occupancies_keep_them_where_the_format_can(tmp_path: Path) -> None:
    half = Structure(Lattice.cubic(4), [{"Li": 0.5, "Na": 0.5}, "F"], [[0] * 3, [0.5] * 3])
    write_cif(tmp_path / "half.cif", Crystal(half))
    (tmp_path / "answers.csv").write_text("id,band_gap\nhalf,2.0\n")
    for target, told in (("all.csv", False), ("all", False), ("all.extxyz", True)):
        oracle = f"table: {{file: {tmp_path / 'answers.csv'}, measures: [band_gap]}}"
        options = ["--out", str(tmp_path / "out.csv"), "--structures", str(tmp_path / target)]
        result = CliRunner().invoke(
            app, [str(tmp_path / "half.cif"), "--oracle", oracle, *options, "--set", "executor.kind=serial"]
        )
        assert result.exit_code == 0, result.output
        assert ("partial occupancies" in result.output) is told
        if not told:
            (entry,) = read_materials(tmp_path / target)
            assert isinstance(entry.material, Crystal)
            assert not entry.material.is_ordered
