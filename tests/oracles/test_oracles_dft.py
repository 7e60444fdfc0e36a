"""The DFT oracle with real programs: GPAW, pw.x where it is installed, and ASE's own calculators."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from ase import Atoms
from ase.build import bulk
from pydantic import ValidationError
from pymatgen.core import Structure

from loop.executors.local import LocalExecutorSettings
from loop.executors.tasks import evaluate
from materials.base import Candidate, Crystal, Origin
from materials.evaluation import FailureKind, Outcome, Request, Status
from materials.potential import to_atoms
from oracles.dft.codes import Code, code_for
from oracles.dft.oracle import DftSettings
from oracles.dft.protocols import PROTOCOLS
from oracles.hull import HullSettings
from oracles.relax import RelaxSettings

COARSE: dict[str, Any] = {"mode": {"name": "pw", "ecut": 200}, "kpts": {"size": [2, 2, 2], "gamma": True}}
PSEUDOPOTENTIALS = Path("/usr/share/espresso/pseudo")
SILICON: dict[str, Any] = {
    "pseudopotentials": {"Si": "Si.pbe-rrkj.UPF"},
    "input_data": {"system": {"ecutwfc": 16, "ecutrho": 64}},
}
needs_espresso = pytest.mark.skipif(
    shutil.which("pw.x") is None or not (PSEUDOPOTENTIALS / "Si.pbe-rrkj.UPF").is_file(),
    reason="pw.x or its pseudopotentials are not installed (apt install quantum-espresso)",
)
EMT: dict[str, Any] = {"calculator": "ase.calculators.emt:EMT", "band_gap": False}


def structure_of(atoms: Atoms) -> Structure:
    symbols = atoms.get_chemical_symbols()
    return Structure(atoms.cell.array, symbols, atoms.positions, coords_are_cartesian=True)


def silicon(displacement: float = 0.0) -> Structure:
    atoms = bulk("Si", a=5.469)
    atoms.positions[1] += [displacement, 0, 0]
    return structure_of(atoms)


def request_for(structure: Structure, folder: Path | None) -> Request:
    candidate = Candidate(Crystal(structure), Origin("test"))
    return Request("key", candidate, candidate.material, "dft", folder=folder)


def ask(structure: Structure, folder: Path | None = None, **options: Any) -> Outcome:
    settings = DftSettings.model_validate({"protocol": "fast", **options})
    (outcome,) = settings.build().evaluate([request_for(structure, folder)])
    return outcome


def values(outcome: Outcome) -> dict[str, float]:
    assert outcome.status is Status.DONE, outcome.failure
    return {m.property: m.value for m in outcome.measurements}


def kind_of(outcome: Outcome) -> tuple[Status, FailureKind]:
    assert outcome.failure is not None
    return outcome.status, outcome.failure.kind


@pytest.mark.slow
def test_silicon_has_its_indirect_gap(tmp_path: Path) -> None:
    pytest.importorskip("gpaw")
    outcome = ask(silicon(), tmp_path, arguments=COARSE | {"kpts": {"size": [4, 4, 4], "gamma": True}})
    found, edges = values(outcome), outcome.provenance["band_edges"]
    assert found["band_gap"] == pytest.approx(0.62, abs=0.1)  # PBE, mp-149
    assert found["direct_band_gap"] == pytest.approx(2.55, abs=0.15)
    assert edges["gap_is"] == "indirect"
    assert edges["valence_kpoint"] == (0, 0, 0)
    assert sorted(np.abs(edges["conduction_kpoint"])) == pytest.approx([0, 0.42, 0.42], abs=0.03)
    assert outcome.doubt == ""
    assert json.loads((tmp_path / "ground_state" / "input.json").read_text())["symbols"] == ["Si", "Si"]
    assert "Converged after" in (tmp_path / "ground_state" / "gpaw.txt").read_text()
    assert Outcome.from_dict(json.loads(json.dumps(outcome.to_dict()))).doubt == ""


def test_a_metal_has_no_gap_and_a_force_keeps_a_doubt(tmp_path: Path) -> None:
    pytest.importorskip("gpaw")
    aluminium = ask(structure_of(bulk("Al")), tmp_path / "Al", arguments=COARSE)
    assert values(aluminium)["band_gap"] == values(aluminium)["direct_band_gap"] == 0
    moved = ask(silicon(0.2), tmp_path / "Si", arguments=COARSE, band_gap=False)
    assert set(values(moved)) == {"energy_per_atom", "max_force"}
    assert values(moved)["max_force"] > 1.0
    assert moved.doubt
    assert "eV/angstrom" in moved.doubt
    assert ask(silicon(0.2), None, arguments=COARSE, band_gap=False, confirms=10.0).doubt == ""


@pytest.mark.slow
def test_spins_are_polarised_where_the_elements_ask_for_it(tmp_path: Path) -> None:
    pytest.importorskip("gpaw")
    iron = ask(structure_of(bulk("Fe")), tmp_path, arguments=COARSE | {"convergence": {"energy": 0.01}})
    assert values(iron)["band_gap"] == 0
    assert iron.provenance["magnetic_moment"] > 1.0


def test_what_does_not_converge_is_tried_again_and_then_rejected_by_name(tmp_path: Path) -> None:
    pytest.importorskip("gpaw")
    outcome = ask(silicon(), tmp_path, arguments=COARSE | {"maxiter": 2}, band_gap=False)
    assert kind_of(outcome) == (Status.REJECTED, FailureKind.NOT_CONVERGED)
    assert list(outcome.provenance["attempts"]) == ["ground_state", "ground_state_robust"]
    for attempt in outcome.provenance["attempts"]:
        assert (tmp_path / attempt / "gpaw.txt").stat().st_size > 0
        assert (tmp_path / attempt / "input.json").is_file()


def test_the_second_attempt_counts(tmp_path: Path) -> None:
    pytest.importorskip("gpaw")
    outcome = ask(silicon(), tmp_path, arguments=COARSE | {"maxiter": 8}, band_gap=False)
    assert values(outcome)["energy_per_atom"] < 0
    assert outcome.provenance["attempts"] == ["ground_state", "ground_state_robust"]


def test_an_element_without_paw_data_is_missing_data(tmp_path: Path) -> None:
    pytest.importorskip("gpaw")
    outcome = ask(structure_of(bulk("Tc")), tmp_path, arguments=COARSE)
    assert kind_of(outcome) == (Status.FAILED, FailureKind.MISSING_DATA)
    assert "Tc.PBE" in str(outcome.failure)
    assert "GPAW_SETUP_PATH" in str(outcome.failure)


def test_a_missing_gpaw_is_a_missing_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpaw", None)  # how Python marks what cannot be imported
    outcome = ask(silicon())
    assert kind_of(outcome) == (Status.FAILED, FailureKind.MISSING_PROGRAM)
    assert "pip install 'matloop[dft]'" in str(outcome.failure)


@pytest.mark.parametrize("calculator", ["espresso", "vasp", "cp2k"])
def test_a_program_that_is_not_on_the_path_is_named(
    calculator: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = ask(silicon(), calculator=calculator, band_gap=False)
    assert kind_of(outcome) == (Status.FAILED, FailureKind.MISSING_PROGRAM)
    assert "arguments: command" in str(outcome.failure)


def test_an_import_path_that_leads_nowhere_is_a_missing_program() -> None:
    outcome = ask(silicon(), calculator="no_such_package:Calculator", band_gap=False)
    assert kind_of(outcome) == (Status.FAILED, FailureKind.MISSING_PROGRAM)


def program(path: Path, text: str) -> str:
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def pseudopotential(folder: Path) -> dict[str, Any]:
    (folder / "Si.UPF").write_text("")
    return {"pseudopotentials": {"Si": "Si.UPF"}, "pseudo_dir": str(folder)}


@pytest.mark.parametrize(
    "text", ["echo nonsense", "echo '!    total energy = NaN Ry'", "exit 3", "kill -9 $$"]
)
def test_a_program_that_writes_garbage_gives_a_bad_result(tmp_path: Path, text: str) -> None:
    arguments = {"command": program(tmp_path / "pw", text), **pseudopotential(tmp_path)}
    outcome = ask(silicon(), tmp_path / "work", calculator="espresso", arguments=arguments)
    assert kind_of(outcome) == (Status.FAILED, FailureKind.BAD_RESULT)
    assert "Si" in str(outcome.failure)


def test_a_missing_pseudopotential_is_missing_data(tmp_path: Path) -> None:
    command = program(tmp_path / "pw", "exit 1")
    for named in ({}, {"Si": "absent.UPF"}):
        arguments = {"command": command, "pseudopotentials": named, "pseudo_dir": str(tmp_path)}
        outcome = ask(silicon(), calculator="espresso", arguments=arguments)
        assert kind_of(outcome) == (Status.FAILED, FailureKind.MISSING_DATA)


@needs_espresso
def test_silicon_with_quantum_espresso(tmp_path: Path) -> None:
    outcome = ask(silicon(), tmp_path, calculator="espresso", arguments=SILICON)
    assert values(outcome)["band_gap"] == pytest.approx(0.62, abs=0.1)
    assert values(outcome)["direct_band_gap"] == pytest.approx(2.55, abs=0.15)
    kept = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert kept == {"input.json", "espresso.pwi", "espresso.pwo", "espresso.err"}


@needs_espresso
def test_quantum_espresso_that_does_not_converge_is_rejected(tmp_path: Path) -> None:
    arguments = SILICON | {"input_data": {**SILICON["input_data"], "electrons": {"electron_maxstep": 1}}}
    outcome = ask(silicon(), tmp_path, calculator="espresso", arguments=arguments, band_gap=False)
    assert kind_of(outcome) == (Status.REJECTED, FailureKind.NOT_CONVERGED)
    assert (tmp_path / "ground_state_robust" / "espresso.pwo").is_file()


def dies(pid: int) -> bool:
    """Whether a process has ended, or does within 10 s: a signal takes its time on a busy machine.

    One that was killed and that nobody waited for has ended.
    """
    for _ in range(100):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.1)
    return False


def test_a_killed_worker_takes_its_program_along(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    command = program(tmp_path / "pw", f"echo $$ > {mark}; exec sleep 600")
    arguments = {"command": command, **pseudopotential(tmp_path)}
    settings = DftSettings.model_validate(
        {"protocol": "fast", "calculator": "espresso", "arguments": arguments, "walltime": 15}
    )
    with LocalExecutorSettings(workers=1).build(tmp_path / "evaluations", 600) as dispatcher:
        dispatcher.submit(settings, request_for(silicon(), None), attempt=1)
        outcomes = []
        while dispatcher.running():
            outcomes += dispatcher.wait(60)
    assert kind_of(outcomes[0])[1] is FailureKind.TIMEOUT
    assert dies(int(mark.read_text()))


def test_a_full_disk_is_said_to_be_full(tmp_path: Path) -> None:
    disk = tmp_path / "evaluations"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("a small disk can only be mounted by root")
    try:
        command = program(tmp_path / "pw", "cat /dev/zero | head -c 9000000 > filler; exit 1")
        arguments = {"command": command, **pseudopotential(tmp_path)}
        settings = DftSettings.model_validate({"calculator": "espresso", "arguments": arguments})
        outcome = evaluate(settings, request_for(silicon(), None), disk, 1)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert kind_of(outcome) == (Status.FAILED, FailureKind.DISK_FULL)


def strained_copper() -> Structure:
    atoms = bulk("Cu", cubic=True) * (1, 1, 2)
    atoms.set_cell(atoms.cell * 1.03, scale_atoms=True)
    atoms.rattle(0.1, seed=1)
    return structure_of(atoms)


def test_any_ase_calculator_answers_by_its_import_path(tmp_path: Path) -> None:
    from ase.calculators import emt

    structure = strained_copper()
    atoms = to_atoms(structure)
    atoms.calc = emt.EMT()
    found = values(ask(structure, tmp_path, **EMT))
    assert found["energy_per_atom"] == pytest.approx(atoms.get_potential_energy() / len(atoms))
    assert found["max_force"] == pytest.approx(np.linalg.norm(atoms.get_forces(), axis=1).max())
    without = ask(structure, tmp_path, calculator="ase.calculators.emt:EMT")
    assert kind_of(without) == (Status.FAILED, FailureKind.BAD_RESULT)


def test_a_relaxation_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    structure = strained_copper()
    whole = ask(structure, tmp_path / "whole", relax=True, **EMT)
    assert whole.doubt is None
    assert isinstance(whole.material, Crystal)
    assert whole.material.structure.volume < structure.volume
    frames = sorted((tmp_path / "whole").rglob("*.npz"))
    assert len(frames) > 4
    begun = tmp_path / "begun" / frames[0].parent.relative_to(tmp_path / "whole")
    begun.mkdir(parents=True)
    for frame in frames[:3]:
        shutil.copy(frame, begun)
    before = {path: path.stat().st_mtime_ns for path in begun.iterdir()}
    again = ask(structure, tmp_path / "begun", relax=True, **EMT)
    assert values(again) == pytest.approx(values(whole))
    assert len(list(begun.iterdir())) == len(frames)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_relaxation_out_of_steps_is_not_converged(tmp_path: Path) -> None:
    outcome = ask(strained_copper(), tmp_path, relax=True, steps=1, **EMT)
    assert kind_of(outcome) == (Status.REJECTED, FailureKind.NOT_CONVERGED)


def test_dft_energies_are_refused_by_the_hull() -> None:
    misfit = HullSettings().misfit([RelaxSettings(), DftSettings()])
    assert misfit is not None
    assert "cannot be compared" in misfit
    assert HullSettings().misfit([DftSettings(), RelaxSettings()]) is None
    assert DftSettings().energy_source != DftSettings(protocol="tight").energy_source


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ({"calculator": "gpwa"}, "none of gpaw"),
        ({"calculator": "cp2k"}, "band_gap: false"),
        ({"arguments": {"xc": "HSE06"}}, "labelled"),
        (
            {"calculator": "espresso", "arguments": {"input_data": {"system": {"input_dft": "b3lyp"}}}},
            "labelled",
        ),
        ({"protocol": "careful"}, "fast"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(block: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        DftSettings.model_validate(block)


def made(name: str, arguments: dict[str, Any] | None = None) -> Code:
    return code_for(name, PROTOCOLS["standard"], arguments or {})


@pytest.mark.parametrize("robust", [False, True])
def test_asks_vasp_in_words_that_ase_knows(robust: bool, tmp_path: Path) -> None:
    from ase.calculators.vasp import Vasp

    code = made("vasp", {"ncore": 4})
    atoms = bulk("Fe")
    atoms.set_initial_magnetic_moments([5.0])
    parameters = code.parameters(atoms, robust)  # type: ignore[attr-defined]
    calculator = Vasp(directory=str(tmp_path), **parameters)
    assert calculator.float_params["encut"] == 500
    assert calculator.int_params["ispin"] == 2
    assert calculator.int_params["ncore"] == 4
    assert calculator.bool_params["lwave"] is False
    calculator.write_kpoints(atoms, str(tmp_path))
    assert "Gamma" in (tmp_path / "KPOINTS").read_text()


@pytest.mark.parametrize("robust", [False, True])
def test_asks_cp2k_in_words_that_ase_knows(robust: bool) -> None:
    from ase.calculators.cp2k import CP2K, parse_input

    parameters = made("cp2k").parameters(bulk("Si"), robust)  # type: ignore[attr-defined]
    assert set(parameters) <= set(CP2K.default_parameters)
    root = parse_input(parameters["inp"])
    assert "MONKHORST-PACK" in "\n".join(root.write())
