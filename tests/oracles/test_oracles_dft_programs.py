"""How Quantum ESPRESSO, VASP and CP2K are asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ase.build import bulk

from oracles.dft.codes import Code, code_for
from oracles.dft.protocols import PROTOCOLS
from oracles.one_by_one import FailedError
from tests.oracles.dft_materials import SILICON, ask, needs_espresso, program, silicon, values


@needs_espresso
def test_silicon_with_quantum_espresso(tmp_path: Path) -> None:
    outcome = ask(silicon(), tmp_path, calculator="espresso", arguments=SILICON)
    assert values(outcome)["band_gap"] == pytest.approx(0.62, abs=0.1)
    assert values(outcome)["direct_band_gap"] == pytest.approx(2.55, abs=0.15)
    kept = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert kept == {"input.json", "espresso.pwi", "espresso.pwo", "espresso.err"}


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


UPF = '<PP_HEADER functional="{functional}" wfc_cutoff="{wave:.12e}" rho_cutoff="{density:.12e}" />'


def cutoffs(folder: Path, header: str, **input_data: Any) -> tuple[float, float]:
    """Of wave functions and density (Ry), as pw.x is told for silicon with a pseudopotential of that header."""
    (folder / "Si.UPF").write_text(header)
    arguments = {
        "command": program(folder / "pw", "exit 1"),
        "pseudo_dir": str(folder),
        "pseudopotentials": {"Si": "Si.UPF"},
        "input_data": input_data,
    }
    code_for("espresso", PROTOCOLS["fast"], arguments).calculator(bulk("Si"), folder)
    system = json.loads((folder / "input.json").read_text())["parameters"]["input_data"]["system"]
    return system["ecutwfc"], system["ecutrho"]


def test_a_pseudopotential_gets_the_cutoff_it_asks_for(tmp_path: Path) -> None:
    zeros = UPF.format(functional="PBE", wave=0, density=0)
    hard = UPF.format(functional="PBE", wave=60, density=700)
    soft = "Suggested minimum cutoff for wavefunctions:  18. Ry\n" + zeros
    fast = PROTOCOLS["fast"].cutoff / 13.6057
    assert cutoffs(tmp_path, hard) == (60, 700)
    assert cutoffs(tmp_path, soft) == pytest.approx((fast, 8 * fast), rel=1e-4)
    assert cutoffs(tmp_path, hard, system={"ecutwfc": 30, "ecutrho": 300}) == (30, 300)
    assert cutoffs(tmp_path, zeros, system={"ecutwfc": 30, "ecutrho": 120}) == (30, 120)
    with pytest.raises(FailedError, match="ecutwfc"):
        cutoffs(tmp_path, zeros)


def test_a_pseudopotential_of_another_functional_is_refused(tmp_path: Path) -> None:
    for functional in ("SLA  PZ   NOGX NOGC", "PBESOL"):
        with pytest.raises(FailedError, match="made for"):
            cutoffs(tmp_path, UPF.format(functional=functional, wave=40, density=160))
    assert cutoffs(tmp_path, UPF.format(functional=" SLA  PW   PBX  PBC", wave=40, density=160))[0] == 40


@pytest.mark.parametrize(("asks", "told"), [(700, 700), (245, 500)])
def test_vasp_gets_the_cutoff_that_its_potentials_ask_for(
    asks: float, told: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    potential = tmp_path / "potpaw_PBE" / "Si"
    potential.mkdir(parents=True)
    (potential / "POTCAR").write_text(f" PAW_PBE Si\n ENMAX  =  {asks:.3f}; ENMIN  =  184.009 eV\n")
    monkeypatch.setenv("VASP_PP_PATH", str(tmp_path))
    command = program(tmp_path / "vasp", "exit 1")

    def cutoff(**arguments: float) -> float:
        code = code_for("vasp", PROTOCOLS["fast"], {"command": command, **arguments})
        return float(code.calculator(bulk("Si"), tmp_path).float_params["encut"])

    assert cutoff() == told
    assert cutoff(encut=450) == 450
