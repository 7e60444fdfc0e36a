"""`python -m loop.hull`, as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pymatgen.core as pmg
import pytest

# The servers are shared with the tests of materials.sources.
sys.path.append(str(Path(__file__).parents[1] / "materials"))

from reference_servers import MaterialsProject, Optimade, rocksalt

from materials.base import Crystal
from materials.hull import ReferenceHull
from materials.reference_table import read_table
from materials.writing import write_cif

LITHIUM = pmg.Structure(pmg.Lattice.cubic(3.4), ["Li"], [[0, 0, 0]])


def hull(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "loop.hull", *arguments]
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_own_files_become_a_reference_that_extends_the_hull(tmp_path: Path) -> None:
    cifs = tmp_path / "cifs"
    cifs.mkdir()
    write_cif(cifs / "wide.cif", Crystal(rocksalt(("Li", "Cl"), 5.4)))
    write_cif(cifs / "polonium.cif", Crystal(pmg.Structure(pmg.Lattice.cubic(3.4), ["Po"], [[0, 0, 0]])))
    first = hull("add", "mine.csv.xz", "--files", "cifs", "--workers", "1", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "1 phases, 1 of them added now; 1 failed" in first.stdout
    assert "does not know Po" in first.stderr
    shipped = ReferenceHull.shipped()
    both = ReferenceHull.shipped([tmp_path / "mine.csv.xz"])
    assert len(both) == len(shipped) + 1
    entry = read_table(tmp_path / "mine.csv.xz").entries[0]
    assert entry.converged
    assert entry.correction_per_atom == pytest.approx(-0.307)
    # Relaxed from a stretched cell, rock salt comes back to the shipped phase.
    known = {phase.id: phase for phase in shipped.known_phases("LiCl")}
    match = known[str(shipped.matching_phase(entry.structure()))]
    assert entry.corrected_energy_per_atom == pytest.approx(match.corrected_energy_per_atom, abs=2e-3)

    write_cif(cifs / "lithium.cif", Crystal(LITHIUM))
    second = hull("add", "mine.csv.xz", "--files", "cifs", "--workers", "1", folder=tmp_path)
    assert "2 phases, 1 of them added now" in second.stdout
    shown = hull("show", "mine.csv.xz", folder=tmp_path)
    assert "2 phases, relaxed, 7net-0" in shown.stdout
    assert "Cl-Li: 1" in shown.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cifs", "mine.csv.xz"]


@pytest.mark.slow
def test_optimade_and_the_materials_project_fill_a_file(tmp_path: Path) -> None:
    structures = {"mp-77": rocksalt(("Li", "Cl"), 5.1), "mp-78": rocksalt(("Na", "Cl"), 5.6)}
    with Optimade(structures).running() as server:
        result = hull("add", "a.csv", "--optimade", server.url, "--elements", "Li,Cl", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert [entry.formula for entry in read_table(tmp_path / "a.csv").entries] == ["LiCl"]
    with MaterialsProject(structures).running() as server:
        result = hull(
            *("add", "b.csv", "--materials-project", "--elements", "Na,Cl", "--endpoint", server.url),
            folder=tmp_path,
            MP_API_KEY=MaterialsProject.key,
        )
    assert result.returncode == 0, result.stderr
    assert [entry.id for entry in read_table(tmp_path / "b.csv").entries] == ["mp-78"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name one source"),
        (("--files", "here", "--optimade", "http://x"), "name one source"),
        (("--optimade", "http://127.0.0.1:9"), "--elements"),
        (("--optimade", "http://127.0.0.1:9", "--elements", "Li"), "check the address"),
        (("--materials-project", "--elements", "Li"), "MP_API_KEY"),
        (("--files", "nowhere"), "nowhere"),
        (("--files", "one.cif", "--potential", "8net"), "8net"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    write_cif(tmp_path / "one.cif", Crystal(LITHIUM))
    result = hull("add", "mine.csv", *arguments, folder=tmp_path, MP_API_KEY="")
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "mine.csv").exists()


def test_a_file_of_another_potential_is_not_extended(tmp_path: Path) -> None:
    write_cif(tmp_path / "one.cif", Crystal(LITHIUM))
    assert hull("add", "mine.csv", "--files", "one.cif", "--workers", "1", folder=tmp_path).returncode == 0
    before = (tmp_path / "mine.csv").read_text()
    result = hull("add", "mine.csv", "--files", "one.cif", "--potential", "7net-l3i5", folder=tmp_path)
    assert result.returncode == 2
    assert "write to another file" in result.stderr
    assert (tmp_path / "mine.csv").read_text() == before


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    cifs = tmp_path / "cifs"
    cifs.mkdir()
    for edge in (4.9, 5.0, 5.1, 5.2, 5.3, 5.4, 5.5, 5.6):
        write_cif(cifs / f"salt{edge}.cif", Crystal(rocksalt(("Li", "Cl"), edge)))
    command = [sys.executable, "-m", "loop.hull", "add", "mine.csv", "--files", "cifs", "--workers", "1"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)
    part: list[Path] = []
    for _ in range(600):
        part = list(tmp_path.glob(".mine.csv.*.jsonl"))
        if part and part[0].stat().st_size:
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = [json.loads(line)["id"] for line in part[0].read_text().splitlines() if line.endswith("}")]
    assert 0 < len(kept) < 8
    result = hull("add", "mine.csv", "--files", "cifs", "--workers", "1", folder=tmp_path)
    assert f"of {8 - len(kept)} in" in result.stdout
    assert len(read_table(tmp_path / "mine.csv").entries) == 8
