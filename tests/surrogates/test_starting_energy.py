"""The prior of the energy above the hull: from single points of unrelaxed crystals to what relaxation and hull say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from materials.base import Composition, Crystal
from materials.hull import ReferenceHull
from surrogates.element_statistics import NUMBER_OF_COLUMNS
from surrogates.heads import shipped
from surrogates.heads.base import HeadError
from surrogates.starting_energy import ENERGY, Heights, StartingEnergyModel
from surrogates.starting_energy_prior import StartingEnergyPrior

VERSION = "made up"


def magnesia(a: float) -> Crystal:
    """MgO with a cubic cell of a angstrom; 4.25 at rest."""
    whole = Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), ["Mg", "O"], [[0, 0, 0], [0.5] * 3])
    return Crystal(whole.get_primitive_structure())


def made_up(seed: int, number: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Descriptors, offsets and relaxed energies: the first column tells what share of the height is lost."""
    rng = np.random.default_rng(seed)
    descriptors = rng.normal(size=(number, NUMBER_OF_COLUMNS + 8))
    descriptors[:, 9:] = 0.0
    offsets = rng.uniform(3, 5, number)
    height = rng.lognormal(-0.5, 0.8, number)
    descriptors[:, ENERGY] = height - offsets
    share = 1 / (1 + np.exp(-1.5 * descriptors[:, 0] - rng.normal(0, 0.4, number)))
    return descriptors, offsets, height * (1 - share) - offsets


@pytest.fixture(scope="module")
def model() -> StartingEnergyModel:
    return StartingEnergyModel.fit(*made_up(0), VERSION, seed=0).calibrated(*made_up(1))


@pytest.fixture(scope="module")
def prior() -> StartingEnergyPrior:
    return StartingEnergyPrior(ReferenceHull.shipped(), shipped.starting_energy_model())


def described(*materials: Crystal) -> np.ndarray:
    return shipped.shipped_descriptor("structure").describe(materials).astype(float)


def test_it_foretells_better_than_the_single_point_and_its_intervals_hold(model: StartingEnergyModel) -> None:
    descriptors, offsets, relaxed = made_up(2, 600)
    found = model.predict(descriptors, offsets)
    off = np.abs(found.median - relaxed - offsets)
    assert off.mean() < 0.4 * np.abs(descriptors[:, ENERGY] - relaxed).mean()
    assert 0.85 < (off <= 1.6449 * found.std).mean() < 0.95


def test_what_cannot_be_described_or_has_no_hull_has_no_answer(model: StartingEnergyModel) -> None:
    descriptors, offsets, _ = made_up(3, 4)
    whole = model.predict(descriptors, offsets)
    descriptors[1, 3], offsets[2] = np.nan, np.nan
    found = model.predict(descriptors, offsets)
    assert np.isnan([found.median, found.std]).tolist() == [[False, True, True, False]] * 2
    np.testing.assert_allclose(found.median[[0, 3]], whole.median[[0, 3]], rtol=1e-9)


def test_saved_and_loaded_it_says_the_same(model: StartingEnergyModel, tmp_path: Path) -> None:
    model.save(tmp_path / "energy.safetensors")
    again = StartingEnergyModel.load(tmp_path / "energy.safetensors")
    descriptors, offsets, _ = made_up(3, 20)
    before, after = model.predict(descriptors, offsets), again.predict(descriptors, offsets)
    np.testing.assert_allclose(after.median, before.median, rtol=1e-6)
    np.testing.assert_allclose(after.std, before.std, rtol=1e-6)


def test_weights_of_another_kind_or_descriptor_are_refused_by_name(
    model: StartingEnergyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HeadError, match=r"band_gap_HSE\.safetensors.*is needed"):
        StartingEnergyModel.load(shipped.WEIGHTS / shipped.HSE_CORRECTION)
    model.save(tmp_path / shipped.STARTING_ENERGY)
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path)
    shipped.starting_energy_model.cache_clear()
    with pytest.raises(HeadError, match=r"starting_energy\.safetensors: made for descriptor made up"):
        shipped.starting_energy_model()


@settings(deadline=None, max_examples=25)
@given(st.floats(-0.3, 6), st.floats(-5, 5), st.floats(0.05, 3))
def test_the_normal_told_holds_nine_tenths_of_the_distribution(
    start: float, center: float, spread: float
) -> None:
    found = Heights(*(np.array([v]) for v in (start, center, spread)))
    middle, half = found.median, 1.6449 * found.std
    ends = [found.quantile(p) for p in (np.arange(400) + 0.5) / 400]
    inside = np.abs(np.array(ends) - middle) <= half
    assert np.mean(inside) == pytest.approx(0.9, abs=0.01)
    assert middle < start


def test_a_stretched_salt_relaxes_onto_the_hull_and_a_hopeless_nitride_does_not(
    prior: StartingEnergyPrior,
) -> None:
    salt = magnesia(4.35)
    nitride = Crystal(Structure(Lattice.cubic(4.6), ["Mg", "N", "N"], [[0, 0, 0], [0.25] * 3, [0.75] * 3]))
    materials = [salt, nitride]
    mean, std = prior.predict("energy_above_hull", materials, described(*materials))
    assert abs(mean[0]) < 0.15
    assert mean[0] + std[0] < 0.3 < mean[1]


def test_both_properties_differ_by_the_formation_energy_of_the_hull(prior: StartingEnergyPrior) -> None:
    salt = magnesia(4.5)
    rows = described(salt)
    above, formation = (prior.predict(name, [salt], rows) for name in prior.properties)
    hull = ReferenceHull.shipped()
    ends = hull.formation_energy("MgO", 0.0) - hull.energy_above_hull("MgO", 0.0).value
    assert formation[0] - above[0] == pytest.approx(ends)
    assert formation[1] == above[1]


def test_formulas_and_partial_occupancies_have_no_answer(prior: StartingEnergyPrior) -> None:
    half = Crystal(Structure(Lattice.cubic(4.2), [{"Mg": 0.5, "Ca": 0.5}, "O"], [[0, 0, 0], [0.5] * 3]))
    salt = magnesia(4.3)
    rows = np.concatenate([np.full((2, 1380), np.nan), described(salt)])
    mean, std = prior.predict("energy_above_hull", [Composition("MgO"), half, salt], rows)
    assert np.isnan(mean).tolist() == np.isnan(std).tolist() == [True, True, False]


def test_an_uncorrected_hull_has_no_formation_energy() -> None:
    hull = ReferenceHull.shipped(correction="none")
    prior = StartingEnergyPrior(hull, shipped.starting_energy_model())
    assert prior.properties == ("energy_above_hull",)
    salt = magnesia(4.3)
    assert abs(prior.predict("energy_above_hull", [salt], described(salt))[0][0]) < 0.2
