from __future__ import annotations

import pymatgen.core as pmg
import pytest

from materials.corrections import (
    CorrectionScheme,
    UncorrectedEnergyError,
    corrected_energy_per_atom,
    correction_per_atom,
    hubbard_parameters,
    require_corrected,
)
from materials.hull import ReferenceHull

# Experimental enthalpies of formation at 298 K, kJ/mol (NIST-JANAF thermochemical tables; CRC Handbook for Li2S).
EXPERIMENT = {"Li2O": -597.9, "MgO": -601.6, "Al2O3": -1675.7, "Li2S": -441.4, "LiF": -616.9, "LiCl": -408.3}
KJ_PER_MOL_PER_EV = 96.485


@pytest.fixture(scope="module")
def hull() -> ReferenceHull:
    return ReferenceHull.shipped()


@pytest.mark.parametrize("formula", EXPERIMENT)
def test_formation_energies_come_within_a_quarter_electronvolt_per_anion(
    hull: ReferenceHull, formula: str
) -> None:
    phase = hull.known_phases(formula)[0]
    composition = pmg.Composition(formula)
    anions = composition[max(composition.elements, key=lambda element: element.X)]
    ours = hull.formation_energy(formula, phase.corrected_energy_per_atom) * composition.num_atoms
    assert abs(ours - EXPERIMENT[formula] / KJ_PER_MOL_PER_EV) / anions < 0.25
    uncorrected = ours - phase.correction_per_atom * composition.num_atoms
    assert abs(uncorrected - EXPERIMENT[formula] / KJ_PER_MOL_PER_EV) / anions > 0.4


@pytest.mark.parametrize("formula", EXPERIMENT)
def test_stored_corrections_are_those_computed_from_the_stored_structure(
    hull: ReferenceHull, formula: str
) -> None:
    for phase in hull.known_phases(formula):
        assert correction_per_atom(phase.structure()) == pytest.approx(phase.correction_per_atom, abs=1e-6)


def test_peroxides_are_told_from_oxides_by_their_bonds(hull: ReferenceHull) -> None:
    peroxide = correction_per_atom(hull.known_phases("Li2O2")[0].structure())
    assert peroxide == pytest.approx(-0.465 / 2)
    assert correction_per_atom(hull.known_phases("Li2O")[0].structure()) == pytest.approx(-0.687 / 3)


def test_hubbard_u_follows_the_materials_projects_input_set() -> None:
    assert set(hubbard_parameters(pmg.Composition("LiFePO4"))) == {"Fe"}
    assert set(hubbard_parameters(pmg.Composition("LiNiMnCoO6"))) == {"Ni", "Mn", "Co"}
    for symbol in ("Co", "Cr", "Fe", "Mn", "Mo", "Ni", "V", "W"):
        assert hubbard_parameters(pmg.Composition(f"{symbol}2O3"))
        assert hubbard_parameters(pmg.Composition(f"{symbol}F3"))
        assert not hubbard_parameters(pmg.Composition(f"{symbol}S2"))
        assert not hubbard_parameters(pmg.Composition(symbol))
    assert not hubbard_parameters(pmg.Composition("TiO2"))
    assert not hubbard_parameters(pmg.Composition("FeCl2"))


def test_the_mixing_correction_counts_every_metal_atom() -> None:
    wustite = pmg.Structure.from_spacegroup(
        "Fm-3m", pmg.Lattice.cubic(4.3), ["Fe", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    assert correction_per_atom(wustite) == pytest.approx((-2.256 - 0.687) / 2)
    assert correction_per_atom(wustite.get_primitive_structure()) == pytest.approx(
        correction_per_atom(wustite)
    )


def test_the_scheme_is_a_label() -> None:
    salt = pmg.Structure.from_spacegroup(
        "Fm-3m", pmg.Lattice.cubic(5.1), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    assert correction_per_atom(salt, CorrectionScheme.none) == 0.0
    assert corrected_energy_per_atom(salt, -3.0, "none") == -3.0
    assert corrected_energy_per_atom(salt, -3.0) == pytest.approx(-3.0 - 0.614 / 2)
    with pytest.raises(ValueError, match="made_up"):
        correction_per_atom(salt, "made_up")


def test_elements_carry_no_correction_and_disorder_is_refused() -> None:
    assert correction_per_atom(pmg.Structure(pmg.Lattice.cubic(3.4), ["Li"], [[0, 0, 0]])) == 0.0
    mixed = pmg.Structure(
        pmg.Lattice.cubic(4.0), [{"Li": 0.5, "Na": 0.5}, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    with pytest.raises(ValueError, match="order the structure"):
        correction_per_atom(mixed)


def test_uncorrected_energies_are_refused_where_they_would_mislead() -> None:
    require_corrected(CorrectionScheme.materials_project_2020, "a voltage")
    with pytest.raises(UncorrectedEnergyError, match=r"a voltage.*MaterialsProject2020"):
        require_corrected("none", "a voltage")
