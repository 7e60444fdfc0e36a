"""The energy model: looks at real relaxations, and what it foretells from them."""

from __future__ import annotations

import csv
import lzma
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from scipy.stats import spearmanr

from materials.base import Crystal
from materials.corrections import correction_per_atom
from materials.potential import load_potential
from materials.reference_table import structure_from_text
from materials.relaxation import relax
from surrogates.early_look import COLUMNS, STEPS, look_at, look_row
from surrogates.energy_model import EnergyModel, RelaxedEnergies
from surrogates.heads.base import HeadError

TABLE = Path(__file__).parents[2] / "experiments" / "energy_pairs.csv.xz"
FITTED = 300


@pytest.fixture(scope="module")
def pairs() -> tuple[np.ndarray, np.ndarray]:
    with lzma.open(TABLE, "rt", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["converged"] == "1"][:800]
    atoms = [len(structure_from_text(row["cell"], row["sites"])) for row in rows]
    looks = [look_row([float(e) for e in r["energies"].split()], n) for r, n in zip(rows, atoms, strict=True)]
    return np.array(looks), np.array([float(row["relaxed"]) for row in rows])


@pytest.fixture(scope="module")
def model(pairs: tuple[np.ndarray, np.ndarray]) -> EnergyModel:
    looks, relaxed = pairs
    return EnergyModel.fit(looks[:FITTED], relaxed[:FITTED], seed=0)


def test_a_look_is_the_beginning_of_the_relaxation() -> None:
    stretched = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.6), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    crystal = Crystal(stretched.get_primitive_structure())
    look = look_at(crystal, load_potential())
    found = relax(crystal.structure, load_potential(), fmax=0.03, steps=STEPS)
    assert look.row.shape == (COLUMNS,)
    assert look.row[0] == pytest.approx(found.start_energy_per_atom, abs=1e-5)
    assert look.row[STEPS] == pytest.approx(found.energy_per_atom, abs=1e-5)
    assert look.row[-1] == 2
    assert look.correction == pytest.approx(correction_per_atom(found.structure))
    assert len(look.frames) == found.steps + 1


def test_what_falls_apart_has_no_look() -> None:
    collapsed = Crystal(Structure(Lattice.cubic(3.0), ["Li", "Cl"], [[0, 0, 0], [0.05, 0, 0]]))
    look = look_at(collapsed, load_potential())
    assert np.isnan(look.row).all()
    assert np.isnan(look.correction)


def test_it_foretells_better_than_the_look_itself(
    model: EnergyModel, pairs: tuple[np.ndarray, np.ndarray]
) -> None:
    looks, relaxed = pairs[0][FITTED:], pairs[1][FITTED:]
    found = model.predict(looks)
    error = np.abs(found.median - relaxed)
    assert np.median(error) < 0.7 * np.median(np.abs(looks[:, STEPS] - relaxed))
    # It knows where it does not know.
    assert spearmanr(found.std, error)[0] > 0.5


def test_calibrated_intervals_hold_what_they_promise(
    model: EnergyModel, pairs: tuple[np.ndarray, np.ndarray]
) -> None:
    looks, relaxed = pairs[0][FITTED:], pairs[1][FITTED:]
    found = model.calibrated(looks[::2], relaxed[::2]).predict(looks[1::2])
    inside = (found.quantile(0.05) <= relaxed[1::2]) & (relaxed[1::2] <= found.quantile(0.95))
    assert 0.84 < inside.mean() < 0.96


def test_a_refit_learns_from_a_campaigns_own_relaxations(
    model: EnergyModel, pairs: tuple[np.ndarray, np.ndarray]
) -> None:
    """Where relaxations stop at once, unlike everything before, it says so after a refit."""
    looks = pairs[0][FITTED : FITTED + 200]
    relaxed = looks[:, STEPS]
    before, after = model.predict(looks[::2]), model.refitted(looks[1::2], relaxed[1::2]).predict(looks[::2])
    assert np.abs(after.median - relaxed[::2]).mean() < 0.6 * np.abs(before.median - relaxed[::2]).mean()


def test_saved_and_loaded_it_says_the_same(model: EnergyModel, pairs, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "energy_model.safetensors"
    model.save(path)
    looks = pairs[0][FITTED : FITTED + 20]
    looks[3] = np.nan
    again = EnergyModel.load(path).predict(looks)
    np.testing.assert_allclose(again.median, model.predict(looks).median, rtol=1e-9)
    assert np.isnan(again.median[3])
    assert np.isfinite(np.delete(again.median, 3)).all()


def test_a_damaged_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "energy_model.safetensors"
    path.write_bytes(b"not weights")
    with pytest.raises(HeadError, match=r"energy_model\.safetensors"):
        EnergyModel.load(path)


@settings(deadline=None)
@given(st.floats(-8, 1), st.floats(0.05, 3), st.floats(-9, 0), st.floats(0.01, 0.99))
def test_chances_and_quantiles_are_of_one_distribution(
    center: float, spread: float, reached: float, probability: float
) -> None:
    found = RelaxedEnergies(np.array([reached]), np.array([center]), np.array([spread]))
    energy = found.quantile(probability)
    assert energy[0] <= reached
    if energy[0] < reached - 1e-6:
        assert found.chance_below(energy)[0] == pytest.approx(probability, abs=1e-3)
    assert found.chance_below(np.array([reached]))[0] == 1.0
