"""Bands over a hill whose shape is known, and supercells with a vacancy."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from oracles.conduction.elastic_band import Supercell, climb, images_for
from oracles.conduction.hops import RATTLE, primitive_cell, rattled, smallest_supercell

ROCK_SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.03), ["Li", "F"], [[0] * 3, [0.5] * 3])
LENGTH = 3.0
STIFF = 5.0  # eV/angstrom^2, of the walls that hold both atoms on their lines


class Hills(Calculator):  # type: ignore[misc]
    """The last atom crosses Gaussian hills (place, height, width) along x; the first one stays."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, *hills: tuple[float, float, float]) -> None:
        super().__init__()
        self._hills = hills

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        anchor, (x, *across) = self.atoms.positions - [[0, 8, 0], [0, 0, 0]]
        heights = [height * np.exp(-(((x - place) / width) ** 2)) for place, height, width in self._hills]
        slopes = [-2 * (x - p) / w**2 * h for (p, _, w), h in zip(self._hills, heights, strict=True)]
        rest = STIFF / 2 * (float(np.sum(anchor**2)) + float(np.sum(np.square(across))))
        pull = [-sum(slopes), *(-STIFF * np.array(across))]
        self.results = {"energy": sum(heights) + rest, "forces": np.array([-STIFF * anchor, pull])}


def crossed(images: int, *hills: tuple[float, float, float]) -> Any:
    begin = Atoms("FLi", positions=[[0, 8, 0], [0, 0, 0]], cell=[20] * 3, pbc=True)
    end = begin.copy()
    end.positions[-1, 0] = LENGTH
    return climb(begin, end, lambda: Hills(*hills), images=images, fmax=0.02, steps=300)


@pytest.mark.parametrize("place", [1.2, 1.5, 1.9])
def test_the_highest_image_climbs_onto_the_summit(place: float) -> None:
    band = crossed(3, (place, 0.4, 0.5))
    assert band.converged
    assert max(band.energies) == pytest.approx(0.4, abs=2e-3)
    assert band.unseen < 0.02


def test_a_higher_hill_between_two_images_is_suspected_and_more_images_find_it() -> None:
    hills = (1.0, 0.5, 0.22), (1.6, 0.35, 0.3)
    few = crossed(3, *hills)
    assert few.converged
    assert max(few.energies) < 0.45
    assert few.unseen > 0.03
    many = crossed(7, *hills)
    assert max(many.energies) == pytest.approx(0.5, abs=0.02)
    assert many.unseen < 0.03


@given(st.floats(1.5, 6.0), st.floats(0.3, 2.5))
def test_images_are_as_near_as_asked_with_one_on_the_middle(length: float, spacing: float) -> None:
    images = images_for(length, spacing)
    assert images % 2 == 1
    assert length / (images + 1) <= spacing * (1 + 1e-9)
    assert images == 1 or length / (images - 1) > spacing


def test_every_vacancy_is_pushed_off_its_symmetry_the_same_way() -> None:
    unit = primitive_cell(ROCK_SALT)
    cell = Supercell.of(unit, smallest_supercell(unit.lattice, 6.0))
    pushed = rattled(cell.structure).cart_coords
    assert 0.7 < np.std(pushed - cell.structure.cart_coords) / RATTLE < 1.3
    for number in (0, 3):
        rest = np.delete(pushed, number, axis=0)
        assert cell.without(number).cart_coords == pytest.approx(rest, abs=1e-9)
