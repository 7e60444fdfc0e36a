"""The gap from eigenvalues, on bands whose edges are known, and the k-points among which they are looked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st

from oracles.dft.band_edges import METAL, Bands, band_edges, filled_bands
from oracles.dft.protocols import (
    PROTOCOLS,
    gap_kpoints,
    grid_size,
    initial_moments,
    shifted_grid,
)

KPOINTS = np.linspace(0, 0.5, 6)[:, None] * np.array([1.0, 0, 0])


def two_bands(gap: float, bottom: int, spins: int = 1) -> Bands:
    """A valence band with its top at Gamma and a conduction band with its bottom at k-point `bottom`."""
    places = np.arange(len(KPOINTS))
    valence, conduction = -0.3 * places, gap + 0.5 * np.abs(places - bottom)
    return Bands(KPOINTS, np.repeat(np.stack([valence, conduction], axis=1)[None], spins, axis=0))


@given(gap=st.floats(0.01, 10), bottom=st.integers(0, 5), zero=st.floats(-50, 50), seed=st.integers(0, 99))
def test_edges_are_found_wherever_energies_start_and_points_stand(
    gap: float, bottom: int, zero: float, seed: int
) -> None:
    bands = two_bands(gap, bottom)
    order = np.random.default_rng(seed).permutation(len(KPOINTS))
    edges = band_edges(Bands(KPOINTS[order], bands.eigenvalues[:, order] + zero), (1,))
    assert edges.gap == pytest.approx(gap, abs=1e-9)
    assert edges.direct_gap == pytest.approx(gap + 0.3 * bottom, abs=1e-9)
    assert edges.valence_kpoint == (0, 0, 0)
    assert edges.conduction_kpoint == (pytest.approx(0.1 * bottom), 0, 0)
    assert edges.is_direct == (bottom == 0)  # every step away from Gamma costs 0.3 eV


def test_gaps_nearer_than_the_noise_of_plane_waves_are_one_direct_gap() -> None:
    """Rock salt oxides seemed indirect by 0.01 eV, because k-points beside Gamma get other numbers of plane waves."""
    bands = two_bands(4.7, 0)
    bands.eigenvalues[0, 1, 0] = 0.01
    edges = band_edges(bands, (1,))
    assert edges.valence_kpoint != edges.conduction_kpoint
    assert edges.to_dict()["gap_is"] == "direct"
    bands.eigenvalues[0, 1, 0] = 0.05
    assert band_edges(bands, (1,)).to_dict()["gap_is"] == "indirect"


def test_bands_that_overlap_between_k_points_make_a_metal() -> None:
    assert band_edges(two_bands(-0.1, 3), (1,)) == METAL
    assert METAL.gap == METAL.direct_gap == 0
    assert band_edges(two_bands(-0.1, 3), (1,)).is_direct is None


def test_the_gap_of_two_spins_is_the_smallest_over_both() -> None:
    up, down = two_bands(2.0, 0).eigenvalues, two_bands(1.0, 0).eigenvalues - 0.5
    edges = band_edges(Bands(KPOINTS, np.concatenate([up, down])), (1, 1))
    assert edges.gap == pytest.approx(0.5)
    half_metal = band_edges(Bands(KPOINTS, np.concatenate([up, down - 2.0])), (1, 1))
    assert half_metal == METAL


def test_an_empty_band_is_needed() -> None:
    with pytest.raises(ValueError, match="no empty band"):
        band_edges(two_bands(1.0, 0), (2,))


def test_electrons_that_fill_no_whole_bands_make_a_metal() -> None:
    assert filled_bands(8.0, None) == (4,)
    with pytest.raises(ValueError, match="cannot be paired"):
        filled_bands(3.0, None)
    assert filled_bands(10.0, 2.003) == (6, 4)
    assert filled_bands(10.0, 2.4) is None  # iron has 2.2
    assert filled_bands(10.0, 1.0) is None  # ten electrons cannot have one unpaired
    assert band_edges(two_bands(1.0, 0), None) == METAL


@pytest.mark.parametrize("protocol", PROTOCOLS.values())
@given(a=st.floats(2, 20), b=st.floats(2, 20))
def test_a_grid_is_as_dense_as_promised(protocol: object, a: float, b: float) -> None:
    spacing = protocol.spacing  # type: ignore[attr-defined]
    size = grid_size(Atoms("H", cell=[a, b, 5], pbc=True), spacing)
    for length, count in zip((a, b, 5), size, strict=True):
        assert 2 * math.pi / length / count <= spacing * 1.01
        assert count == 1 or count % 2 == 0


def test_edges_are_looked_for_at_special_points_and_between_them() -> None:
    points = gap_kpoints(bulk("Si", a=5.43), 0.3)
    assert any(np.allclose(point, 0) for point in points)
    assert any(np.allclose(sorted(point), [0, 0.5, 0.5]) for point in points)  # X
    on_delta = [p for p in points if math.isclose(p[0], p[2], abs_tol=1e-9) and abs(p[1]) < 1e-9]
    assert any(0.38 < abs(p[0]) < 0.45 for p in on_delta)  # silicon's conduction band minimum


@pytest.mark.parametrize(
    "atoms",
    [
        bulk("Si", a=5.43),
        bulk("Mg"),
        bulk("Sn", "bct", a=5.8, c=3.2),
        Atoms("LiH", [[0, 0, 0], [1, 1.2, 1.7]], cell=[3, 4, 5], pbc=True),
    ],
    ids=["cubic", "hexagonal", "tetragonal", "no symmetry"],
)
def test_irreducible_points_stand_for_the_whole_grid(atoms: Atoms) -> None:
    """A function with the symmetry of the crystal has the same mean over both."""
    points = shifted_grid(atoms, 0.5)
    size = np.array(points.size)
    whole = (np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1).reshape(-1, 3) + 0.5) / size
    shells = atoms.cell.array
    images = np.stack(np.meshgrid(*[range(-2, 3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    damping = np.exp(-(np.linalg.norm(images @ shells, axis=1) ** 2) / 20)

    def symmetric(kpoints: np.ndarray) -> np.ndarray:
        return np.asarray((np.cos(2 * np.pi * kpoints @ images.T) * damping).sum(axis=1) ** 2)

    assert points.weights.sum() == pytest.approx(1)
    mean = float(points.weights @ symmetric(points.kpoints))
    assert mean == pytest.approx(float(symmetric(whole).mean()), rel=1e-3)
    assert len(points.kpoints) <= len(whole) // 2 + 1


@pytest.mark.parametrize(
    ("atoms", "moments"),
    [
        (bulk("Si"), None),
        (bulk("NaCl", "rocksalt", a=5.6), None),
        (bulk("ZrO", "rocksalt", a=4.6), None),  # d shells that are empty in compounds
        (bulk("Fe"), [5.0]),
        (bulk("FeO", "rocksalt", a=4.3), [5.0, 0.6]),
        (bulk("CuS", "zincblende", a=5.4), [0.6, 0.6]),  # 45 electrons, Cu2+
        (bulk("TiN", "rocksalt", a=4.2), [0.6, 0.6]),
        (bulk("TiO", "rocksalt", a=4.2), [0.6, 0.6]),  # an even number, but d2
        (bulk("Al"), [0.6]),
    ],
)
def test_spins_are_polarised_for_open_shells_and_odd_numbers_of_electrons(
    atoms: Atoms, moments: list[float] | None
) -> None:
    found = initial_moments(atoms)
    assert (None if found is None else found.tolist()) == moments
