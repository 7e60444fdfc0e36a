"""The command `python -m loop.measure`: what it refuses, what a kill leaves, and what real oracles give."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from measuring_parts import (
    FORMULAS,
    outcomes,
    read_table,
    rock_salt,
    write_answers,
    write_input,
)
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from loop.line import build_line
from loop.loading import ConfigError
from loop.lock import DriverLock
from loop.measure import app
from loop.measuring.plan import plan_of, plan_of_campaign
from loop.prior import read_prior
from materials.base import Crystal
from materials.reading import read_materials
from materials.writing import write_cif


def arguments(file: Path, out: Path, answers: Path, **more: object) -> list[str]:
    settings = f"table: {{file: {answers}, measures: [band_gap], delay: {more.pop('delay', 0.0)}}}"
    return [str(file), "--oracle", settings, "--out", str(out), *(str(word) for word in more.values())]


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
    assert "rows answered by earlier runs" in last.stdout
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
    prior = read_prior([structures])
    assert len(prior.candidates) == 2
    assert all(prior.measurements.values())


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
