"""What goes wrong in a DFT calculation, by its name, and who may try again."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from ase.build import bulk

from loop.executors.local import LocalExecutorSettings
from loop.executors.tasks import evaluate
from materials.evaluation import FailureKind, Outcome, Status
from oracles.dft.oracle import DftSettings
from tests.oracles.dft_materials import (
    COARSE,
    EMT,
    SILICON,
    ask,
    kind_of,
    needs_espresso,
    program,
    pseudopotential,
    request_for,
    silicon,
    strained_copper,
    structure_of,
    values,
)


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


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("echo nonsense", (Status.REJECTED, FailureKind.BAD_RESULT)),
        ("echo '!    total energy = NaN Ry'", (Status.REJECTED, FailureKind.BAD_RESULT)),
        ("exit 3", (Status.FAILED, FailureKind.BAD_RESULT)),
        ("kill -9 $$", (Status.FAILED, FailureKind.BAD_RESULT)),
        ("exec no_such_program", (Status.FAILED, FailureKind.MISSING_PROGRAM)),
        ("exec /etc/hostname", (Status.FAILED, FailureKind.MISSING_PROGRAM)),
    ],
)
@pytest.mark.parametrize("relax", [False, True])
def test_a_program_without_an_answer_fails_where_the_machine_may_have_done_it(
    tmp_path: Path, text: str, ends: tuple[Status, FailureKind], relax: bool
) -> None:
    arguments = {"command": program(tmp_path / "pw", text), **pseudopotential(tmp_path)}
    outcome = ask(silicon(), tmp_path / "work", calculator="espresso", arguments=arguments, relax=relax)
    assert kind_of(outcome) == ends
    assert "Si" in str(outcome.failure)


def vasp(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> dict[str, Any]:
    """A `dft` block for a program in VASP's place, with a potential of silicon that asks for 245 eV."""
    potential = folder / "potpaw_PBE" / "Si"
    potential.mkdir(parents=True)
    (potential / "POTCAR").write_text(
        " PAW_PBE Si\n 4.00000000000000\n ENMAX  =  245.345; ENMIN  =  184.009 eV\n"
    )
    monkeypatch.setenv("VASP_PP_PATH", str(folder))
    return {"calculator": "vasp", "arguments": {"command": program(folder / "vasp", text)}}


@pytest.mark.parametrize(("text", "kind"), [("exit 127", "missing_program"), ("exit 2", "bad_result")])
def test_a_program_that_fails_in_a_relaxation_is_no_explosion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, kind: str
) -> None:
    outcome = ask(silicon(), tmp_path / "work", relax=True, **vasp(tmp_path, monkeypatch, text))
    assert kind_of(outcome) == (Status.FAILED, FailureKind(kind))


def test_a_missing_potcar_is_missing_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = vasp(tmp_path, monkeypatch, "exit 1")
    outcome = ask(structure_of(bulk("Al")), **block)
    assert kind_of(outcome) == (Status.FAILED, FailureKind.MISSING_DATA)
    assert "POTCAR" in str(outcome.failure)


def test_a_launcher_without_a_program_is_a_missing_program() -> None:
    arguments = {"command": "env -i no_such_pw.x -nk 4"}
    outcome = ask(silicon(), calculator="espresso", arguments=arguments)
    assert kind_of(outcome) == (Status.FAILED, FailureKind.MISSING_PROGRAM)
    assert "no_such_pw.x" in str(outcome.failure)


def test_a_missing_pseudopotential_is_missing_data(tmp_path: Path) -> None:
    command = program(tmp_path / "pw", "exit 1")
    for named in ({}, {"Si": "absent.UPF"}):
        arguments = {"command": command, "pseudopotentials": named, "pseudo_dir": str(tmp_path)}
        outcome = ask(silicon(), calculator="espresso", arguments=arguments)
        assert kind_of(outcome) == (Status.FAILED, FailureKind.MISSING_DATA)


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


def with_gap(gap: float) -> Outcome:
    block = {
        "calculator": "tests.oracles.dft_materials:TwoBands",
        "fidelity": "PBE",
        "arguments": {"gap": gap},
    }
    return ask(structure_of(bulk("Cu")), **block)


def test_a_gap_that_no_crystal_has_is_rejected_for_ever() -> None:
    assert values(with_gap(3.0))["band_gap"] == pytest.approx(3.0)
    assert kind_of(with_gap(100.0)) == (Status.REJECTED, FailureKind.BAD_RESULT)


@pytest.mark.parametrize("evaluations", [0, 3])
def test_missing_self_consistency_in_a_relaxation_is_tried_again_and_no_explosion(
    evaluations: int, tmp_path: Path
) -> None:
    path, arguments = "tests.oracles.dft_materials:NeverConverged", {"evaluations": evaluations}
    outcome = ask(
        strained_copper(), tmp_path, relax=True, **EMT | {"calculator": path, "arguments": arguments}
    )
    assert kind_of(outcome) == (Status.REJECTED, FailureKind.NOT_CONVERGED)
    assert list(outcome.provenance["attempts"]) == ["ground_state", "ground_state_robust"]


def test_an_odd_number_of_paired_electrons_has_no_gap_of_zero(tmp_path: Path) -> None:
    pytest.importorskip("gpaw")
    outcome = ask(structure_of(bulk("Al")), tmp_path, arguments=COARSE | {"spinpol": False, "hund": False})
    assert kind_of(outcome) == (Status.REJECTED, FailureKind.BAD_RESULT)
    assert "spin-paired" in str(outcome.failure)
