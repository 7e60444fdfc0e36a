"""A campaign whose candidates come from an outside program, and what its report says of those that are known."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
from campaigns import run, write_campaign
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from loop.campaign import app as campaign
from loop.report.__main__ import app as report
from materials.base import Crystal
from materials.writing import write_cif

# Writes rock salt, which everybody knows, and a chloride of potassium in layers, which nobody does; counts its runs.
PROGRAM = """
import pathlib, sys
from ase import Atoms
from ase.build import bulk
from ase.io import write
out = pathlib.Path(sys.argv[1])
with (pathlib.Path(__file__).parent / "runs").open("a") as runs:
    runs.write(sys.argv[2] + "\\n")
write(out / "salt.cif", bulk("NaCl", "rocksalt", a=5.69))
cell = Atoms("K2Cl2", cell=[4.4, 4.4, 10.5], pbc=True)
cell.set_scaled_positions([[0, 0, 0], [0.5, 0.5, 0.3], [0, 0, 0.6], [0.5, 0, 0.8]])
write(out / "layers.cif", cell)
"""


def changes(folder: Path, program: str) -> dict[str, object]:
    return {
        "space": {"elements": ["Na", "K", "Cl"], "number_of_atoms": [2, 8]},
        "generators": [
            {"kind": "command", "command": [program, str(folder / "generate.py"), "{out}", "{seed}"]}
        ],
        "objectives": [{"property": "formation_energy", "goal": "minimize"}],
        "oracles": [
            {
                "kind": "table",
                "file": "answers.csv",
                "measures": ["formation_energy"],
                "fidelity": "experiment",
            }
        ],
        "data": [],
        "budget": {"rounds": 1, "batch": 2, "pool": 2},
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("command")
    (folder / "generate.py").write_text(PROGRAM)
    file = write_campaign(folder, **changes(folder, sys.executable))
    code, output = run(file, folder / "run")
    assert code == 0, output
    return folder


def known(folder: Path) -> dict[str, str]:
    with (folder / "run" / "ranking.csv").open(newline="") as handle:
        return {row["formula"]: row["known"] for row in csv.DictReader(handle)}


def test_known_candidates_have_their_id(finished: Path) -> None:
    assert CliRunner().invoke(report, [str(finished / "run")]).exit_code == 0
    assert known(finished) == {"NaCl": "mp-22862", "KCl": ""}
    page = (finished / "run" / "report.html").read_text()
    assert "known: mp-22862" in page
    assert "<td>mp-22862</td>" in page


def test_the_users_own_structures_decide_where_given(finished: Path, tmp_path: Path) -> None:
    own = Structure(
        Lattice.tetragonal(4.5, 10.6),
        ["K", "K", "Cl", "Cl"],
        [[0, 0, 0], [0.5, 0.5, 0.3], [0, 0, 0.6], [0.5, 0, 0.8]],
    )
    write_cif(tmp_path / "made last week.cif", Crystal(own))
    result = CliRunner().invoke(report, [str(finished / "run"), "--against", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert known(finished) == {"NaCl": "", "KCl": "made last week"}
    missing = CliRunner().invoke(report, [str(finished / "run"), "--against", str(tmp_path / "none")])
    assert missing.exit_code == 2
    assert "no such file or folder" in missing.output


def test_a_finished_round_does_not_run_the_program_again(finished: Path) -> None:
    code, output = run(finished / "campaign.yaml", finished / "run")
    assert code == 0, output
    assert len((finished / "runs").read_text().splitlines()) == 1


def test_a_program_that_is_not_there_is_refused_before_the_first_round(tmp_path: Path) -> None:
    file = write_campaign(tmp_path, **changes(tmp_path, "no-such-generator"))
    result = CliRunner().invoke(campaign, [str(file), "--dir", str(tmp_path / "run"), "--dry-run"])
    assert result.exit_code == 2
    assert "'no-such-generator' is no program that can be run" in " ".join(result.output.split())
