"""The DFT oracle's ground states with GPAW, and its relaxations with ASE's own calculators."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from materials.base import Crystal
from materials.evaluation import FailureKind, Status
from materials.potential import to_atoms
from tests.oracles.dft_materials import (
    COARSE,
    EMT,
    ask,
    kind_of,
    silicon,
    strained_copper,
    structure_of,
    values,
)


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
    assert outcome.doubt is None
    assert json.loads((tmp_path / "ground_state" / "input.json").read_text())["symbols"] == ["Si", "Si"]
    assert "Converged after" in (tmp_path / "ground_state" / "gpaw.txt").read_text()


@pytest.mark.slow
def test_fast_tells_the_direct_gap_of_a_hard_oxide(tmp_path: Path) -> None:
    """At a cutoff of 340 eV magnesium oxide was indirect, by 0.1 eV."""
    pytest.importorskip("gpaw")
    outcome = ask(structure_of(bulk("MgO", "rocksalt", a=4.21)), tmp_path)
    found, edges = values(outcome), outcome.provenance["band_edges"]
    assert edges["gap_is"] == "direct"
    assert found["band_gap"] == pytest.approx(4.72, abs=0.02)  # `standard`


def test_a_metal_has_no_gap(tmp_path: Path) -> None:
    pytest.importorskip("gpaw")
    aluminium = ask(structure_of(bulk("Al")), tmp_path / "Al", arguments=COARSE)
    assert values(aluminium)["band_gap"] == values(aluminium)["direct_band_gap"] == 0


@pytest.mark.slow
def test_spins_are_polarised_where_the_elements_ask_for_it(tmp_path: Path) -> None:
    pytest.importorskip("gpaw")
    iron = ask(structure_of(bulk("Fe")), tmp_path, arguments=COARSE | {"convergence": {"energy": 0.01}})
    assert values(iron)["band_gap"] == 0
    assert iron.provenance["magnetic_moment"] > 1.0


def test_any_ase_calculator_answers_by_its_import_path(tmp_path: Path) -> None:
    from ase.calculators import emt

    structure = strained_copper()
    atoms = to_atoms(structure)
    atoms.calc = emt.EMT()
    found = values(ask(structure, tmp_path, **EMT))
    assert found["energy_per_atom"] == pytest.approx(atoms.get_potential_energy() / len(atoms))
    assert found["max_force"] == pytest.approx(np.linalg.norm(atoms.get_forces(), axis=1).max())
    made = "tests.oracles.dft_materials:effective_medium"  # a function, of which nothing is known beforehand
    without = ask(structure, tmp_path, **EMT | {"calculator": made, "band_gap": True, "fidelity": "PBE"})
    assert kind_of(without) == (Status.REJECTED, FailureKind.BAD_RESULT)
    assert "gives no eigenvalues" in str(without.failure)
    assert "set band_gap: false" in str(without.failure)


def test_what_no_dft_program_gave_is_not_labelled_pbe(tmp_path: Path) -> None:
    answer = ask(strained_copper(), tmp_path, **EMT)
    assert {m.fidelity for m in answer.measurements} == {"potential"}


def test_a_relaxation_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    structure = strained_copper()
    whole = ask(structure, tmp_path / "whole", relax=True, **EMT)
    assert whole.doubt is None
    assert isinstance(whole.material, Crystal)
    assert values(whole)["max_force"] == pytest.approx(values(ask(structure, **EMT))["max_force"])
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


def test_a_calculator_without_moments_calculates_magnetic_elements() -> None:
    nickel = ask(structure_of(bulk("Ni")), **EMT)
    assert values(nickel)["max_force"] < 1e-6
    assert nickel.provenance["magnetic_moment"] is None
