"""How Quantum ESPRESSO, VASP and CP2K are asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ase.build import bulk

from oracles.dft.codes import Code, code_for
from oracles.dft.protocols import PROTOCOLS
from tests.oracles.dft_materials import SILICON, ask, needs_espresso, silicon, values


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
