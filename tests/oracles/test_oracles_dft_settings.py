"""What a `dft` block may say, and what its answers are told apart by."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from oracles.dft.optics import OpticsSettings
from oracles.dft.oracle import DftSettings
from oracles.hull import HullSettings
from oracles.relax import RelaxSettings
from tests.oracles.dft_materials import EMT, program, pseudopotential


def _espresso(**input_data: Any) -> dict[str, Any]:
    return {"calculator": "espresso", "arguments": {"input_data": input_data}}


def _cp2k(**arguments: Any) -> dict[str, Any]:
    return {"calculator": "cp2k", "band_gap": False, "arguments": arguments}


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
        ({"arguments": {"setups": ":d,6.0"}}, "[+]U"),
        ({"arguments": {"setups": {"Ni": "paw:d,6"}}}, "[+]U"),
        ({"arguments": {"charge": 1}}, "charged"),
        ({"arguments": {"experimental": {"soc": True}}}, "spin-orbit"),
        ({"calculator": "vasp", "arguments": {"ldau": True}}, "[+]U"),
        ({"calculator": "vasp", "arguments": {"ivdw": 12}}, "dispersion"),
        ({"calculator": "vasp", "arguments": {"lsorbit": True}}, "spin-orbit"),
        ({"calculator": "vasp", "arguments": {"pp": "LDA"}}, "another functional"),
        ({"calculator": "vasp", "arguments": {"nelect": 17}}, "charged"),
        (_espresso(system={"lda_plus_u": True}), "[+]U"),
        (_espresso(system={"Hubbard_U(1)": 4.0}), "[+]U"),
        (_espresso(vdw_corr="grimme-d3"), "dispersion"),
        (_espresso(system={"tot_charge": -1}), "charged"),
        ({"calculator": "espresso", "arguments": {"additional_cards": ["HUBBARD ortho-atomic"]}}, "[+]U"),
        (_cp2k(inp="&FORCE_EVAL\n&DFT\n&XC\n&XC_FUNCTIONAL BLYP\n"), "another functional"),
        (_cp2k(pseudo_potential="GTH-BLYP"), "another functional"),
        ({"calculator": "no_such_package:Calculator"}, "no module no_such_package"),
        ({"calculator": "ase.calculators.emt:ETM"}, "holds no ETM"),
        ({"calculator": "pathlib:Path"}, "calculators"),
        (
            {"calculator": "espresso", "arguments": {"input_data": {"system": {"input_dft": "b3lyp"}}}},
            "labelled",
        ),
        ({"protocol": "careful"}, "fast"),
        ({"arguments": {"kpts": {"size": [0, 4, 4]}}}, "arguments.kpts: size"),
        ({"arguments": {"kpts": {"sise": [4, 4, 4]}}}, "arguments.kpts: unknown sise"),
        ({"arguments": {"kpts": {"density": -1}}}, "arguments.kpts: a density"),
        ({"arguments": {"kpts": "many"}}, "arguments.kpts: 'many' is no grid"),
        ({"arguments": {"kpts": [4, 4]}}, "arguments.kpts"),
        ({"arguments": {"kpts": [4.5, 4, 4]}}, "arguments.kpts"),
        ({"calculator": "vasp", "arguments": {"kpts": [0, 4, 4]}}, "arguments.kpts"),
        (EMT | {"band_gap": True}, "gives no eigenvalues; set band_gap: false"),
        (EMT | {"fidelity": None}, "fidelity: nobody but you knows"),
        (EMT | {"fidelity": "potentail"}, "no fidelity 'potentail'"),
        ({"fidelity": "HSE"}, "is asked for PBE"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(block: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        DftSettings.model_validate(block)


@pytest.mark.parametrize(
    "block",
    [
        {"calculator": "vasp", "arguments": {"ldau": False, "ivdw": 0, "xc": "pbe", "setups": {"Fe": "_pv"}}},
        {"arguments": {"charge": 0.0, "mode": {"name": "pw", "ecut": 400}, "setups": {"Fe": "paw"}}},
        _cp2k(pseudo_potential="GTH-PBE", inp="&FORCE_EVAL\n&DFT\n&SCF\n&END SCF\n&END DFT\n&END FORCE_EVAL"),
        _espresso(system={"ecutwfc": 40, "nspin": 2}),
        {"arguments": {"kpts": {"size": [4, 4, 4], "gamma": True}}},
        {"arguments": {"kpts": {"density": 3.5, "gamma": True, "even": True}}},
        {"arguments": {"kpts": [2, 2, 2]}},
        {"arguments": {"kpts": [[0, 0, 0], [0.5, 0.5, 0.5]]}},
    ],
)
def test_settings_that_leave_pbe_as_it_is_are_taken(block: dict[str, Any]) -> None:
    DftSettings.model_validate(block)


def test_another_functional_may_be_asked_for_where_it_is_the_label() -> None:
    """Of a calculator by import path; nothing but PBE is asked of the four programs."""
    block = EMT | {"calculator": "ase.calculators.vasp:Vasp", "arguments": {"xc": "r2SCAN"}}
    with pytest.raises(ValidationError, match="labelled PBE"):
        DftSettings.model_validate(block | {"fidelity": "PBE"})
    r2scan = DftSettings.model_validate(block | {"fidelity": "r2SCAN"})
    assert r2scan.fidelity == "r2SCAN"
    assert DftSettings.model_validate(r2scan.model_dump(mode="json")) == r2scan


def told_apart(block: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two blocks have other keys."""
    keys = [
        (settings.fingerprint(), settings.model_version())
        for settings in map(DftSettings.model_validate, (block, other))
    ]
    return keys[0] != keys[1]


def test_where_and_how_wide_a_program_runs_is_no_part_of_an_answers_key(tmp_path: Path) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        program(tmp_path / folder / "pw.x", "exit 1")
        pseudopotential(tmp_path / folder)

    def block(folder: str, launcher: str = "", **more: Any) -> dict[str, Any]:
        place = tmp_path / folder
        command = f"{launcher}{place / 'pw.x'}"
        named = {"pseudopotentials": {"Si": "Si.UPF"}, "pseudo_dir": str(place), "command": command}
        return {"calculator": "espresso", "arguments": named | more}

    assert not told_apart(block("here"), block("there"))
    assert not told_apart(block("here"), block("here", "nice -n 5 "))
    assert told_apart(block("here"), block("here", input_data={"system": {"ecutwfc": 40}}))
    (tmp_path / "there" / "Si.UPF").write_text("another")
    assert told_apart(block("here"), block("there"))
    pseudopotential(tmp_path / "there")
    program(tmp_path / "there" / "pw.x", "exit 2")
    assert told_apart(block("here"), block("there"))
    vasp = {"calculator": "vasp", "arguments": {"ncore": 4, "kpar": 2}}
    assert not told_apart(vasp, {"calculator": "vasp"})


def test_versions_of_programs_and_their_data_are_part_of_an_answers_key() -> None:
    pytest.importorskip("gpaw")
    assert f"gpaw-data {version('gpaw-data')}" in DftSettings().model_version()
    assert f"gpaw-data {version('gpaw-data')}" in OpticsSettings().model_version()
    emt = DftSettings.model_validate(EMT)
    assert f"ase {version('ase')}" in emt.model_version()
    assert DftSettings().meaning()["protocol"]["cutoff"] == 500.0
