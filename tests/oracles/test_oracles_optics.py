"""Optical properties with GPAW, against published values of the same picture."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.units import Ha
from pymatgen.core import Structure

from materials.base import Candidate, Crystal, Origin
from materials.evaluation import FailureKind, Outcome, Request, Status
from oracles.dft.optics import OpticsSettings, Transitions
from oracles.one_by_one import RejectedError

gpaw = pytest.importorskip("gpaw")
basic = pytest.importorskip("gpaw.nlopt.basic")


def ask(atoms: Atoms, folder: Path | None = None, **options: Any) -> Outcome:
    symbols = atoms.get_chemical_symbols()
    structure = Structure(atoms.cell.array, symbols, atoms.positions, coords_are_cartesian=True)
    candidate = Candidate(Crystal(structure), Origin("test"))
    request = Request("key", candidate, candidate.material, "optics", folder=folder)
    (outcome,) = OpticsSettings.model_validate({"protocol": "fast", **options}).build().evaluate([request])
    return outcome


def test_a_metal_has_no_optics() -> None:
    arguments = {"mode": {"name": "pw", "ecut": 200}, "kpts": {"size": [2, 2, 2], "gamma": True}}
    outcome = ask(bulk("Al"), arguments=arguments)
    assert outcome.status is Status.REJECTED
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.UNSUPPORTED_MATERIAL


@pytest.mark.slow
@pytest.mark.parametrize(
    ("atoms", "constant", "tolerance", "onset"),
    [
        # Without local fields LDA gives 14.08 (Gajdos et al., Phys. Rev. B 73, 045112 (2006)); PBE's gaps are a little
        # wider, so its constants are smaller. Of MgO, measured 2.96 (n = 1.72), PBE's small gap makes a little more.
        (bulk("Si", a=5.43), 13.2, 0.9, 2.55),
        (bulk("MgO", "rocksalt", a=4.21), 3.1, 0.2, 4.75),
    ],
    ids=["Si", "MgO"],
)
def test_published_constants_are_met(
    atoms: Atoms, constant: float, tolerance: float, onset: float, tmp_path: Path
) -> None:
    outcome = ask(atoms, tmp_path)
    assert outcome.status is Status.DONE, outcome.failure
    found = {m.property: m.value for m in outcome.measurements}
    assert found["dielectric_constant"] == pytest.approx(constant, abs=tolerance)
    assert found["refractive_index"] ** 2 == pytest.approx(found["dielectric_constant"])
    assert found["absorption_onset"] == pytest.approx(onset, abs=0.3)
    with Path(outcome.artifacts["spectrum"]["path"]).open() as handle:
        rows = list(csv.DictReader(handle))
    assert float(rows[0]["epsilon real"]) == pytest.approx(found["dielectric_constant"], rel=0.02)
    transparent = [float(row["absorption (1/cm)"]) for row in rows if 0 < float(row["photon (eV)"]) < 1]
    opaque = [float(row["absorption (1/cm)"]) for row in rows if 3 < float(row["photon (eV)"]) - onset < 6]
    assert max(transparent) < 0.1 * min(opaque)


def test_a_crystal_that_no_light_excites_is_rejected_for_ever() -> None:
    def bands(strength: float) -> Any:
        """Two bands 5 eV apart at one k-point."""
        energies = np.array([[[0.0, 5.0]]]) / Ha
        momenta = strength * np.ones((1, 1, 3, 2, 2), dtype=complex)
        return basic.NLOData(np.ones((1, 1)), np.array([[[1.0, 0.0]]]), energies, momenta, gpaw.mpi.world)

    def onset(strength: float) -> float:
        return Transitions(bands(strength), bands(strength), (1,), bulk("Si")).onset()

    assert onset(1.0) == pytest.approx(5.0)
    with pytest.raises(RejectedError, match="no strong transition") as caught:
        onset(1e-4)
    assert caught.value.failure.kind is FailureKind.BAD_RESULT
