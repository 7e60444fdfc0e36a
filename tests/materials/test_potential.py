from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from materials.calculators import UnsupportedElementError
from materials.checkpoints import SHIPPED, UntrustedPotentialError, potential_version
from materials.potential import Potential, load_potential, to_atoms


@pytest.fixture(scope="module")
def potential() -> Potential:
    return load_potential("7net-0", device="cpu")


@pytest.fixture(scope="module")
def structures() -> list[Structure]:
    """An insulator, a distorted low-symmetry cell, a metal and a crystal so wide that no atom has a neighbour."""
    magnesia = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.3), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    sulfide = Structure(
        Lattice.from_parameters(4.1, 5.0, 4.6, 82, 95, 101), ["Li", "S"], [[0.1, 0, 0], [0.6, 0.5, 0.4]]
    )
    lithium = Structure(Lattice.cubic(3.4), ["Li", "Li"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    isolated = Structure(Lattice.cubic(7.0), ["Li"], [[0, 0, 0]])
    return [magnesia, sulfide, lithium, isolated]


@pytest.mark.parametrize("name", SHIPPED)
def test_energies_forces_and_stress_are_those_of_sevennets_own_calculator(
    name: str, structures: list[Structure]
) -> None:
    """The convolution is rearranged for speed; the numbers must not notice."""
    from sevenn.calculator import SevenNetCalculator

    potential = load_potential(name, device="cpu")
    original = SevenNetCalculator(name, device="cpu", modal=potential.modal)
    energies = potential.evaluate(structures).energies_per_atom
    for structure, energy in zip(structures, energies, strict=True):
        ours, theirs = to_atoms(structure), to_atoms(structure)
        ours.calc, theirs.calc = potential.calculator(), original
        assert energy == pytest.approx(theirs.get_potential_energy() / len(theirs), abs=1e-5)
        assert ours.get_potential_energy() == pytest.approx(
            theirs.get_potential_energy(), abs=1e-5 * len(theirs)
        )
        np.testing.assert_allclose(ours.get_forces(), theirs.get_forces(), atol=2e-5)
        np.testing.assert_allclose(ours.get_stress(), theirs.get_stress(), atol=2e-6)


def test_forces_are_the_gradient_of_the_batched_energy(
    potential: Potential, structures: list[Structure]
) -> None:
    """Independent of SevenNet's own calculator: finite differences of `evaluate` against the calculator's force."""
    atoms = to_atoms(structures[1])
    atoms.calc = potential.calculator()
    step = 0.01
    shifted = [structures[1].copy() for _ in range(2)]
    shifted[0].translate_sites([0], [step, 0, 0], frac_coords=False)
    shifted[1].translate_sites([0], [-step, 0, 0], frac_coords=False)
    above, below = potential.evaluate(shifted).energies_per_atom * len(atoms)
    assert atoms.get_forces()[0, 0] == pytest.approx(-(above - below) / (2 * step), abs=5e-3)


@pytest.mark.parametrize("largest", [1, 9, 1000])
def test_batching_does_not_change_the_values(
    potential: Potential, structures: list[Structure], largest: int
) -> None:
    alone = [potential.evaluate([structure], features=True) for structure in structures]
    together = potential.evaluate(structures, features=True, max_atoms_per_batch=largest)
    np.testing.assert_allclose(together.energies_per_atom, [e.energies_per_atom[0] for e in alone], atol=1e-5)
    assert together.features is not None
    assert together.features.shape == (len(structures), potential.number_of_features)
    for row, single in zip(together.features, alone, strict=True):
        assert single.features is not None
        np.testing.assert_allclose(row, single.features[0], atol=2e-3)


def test_features_are_means_and_deviations_over_the_atoms(
    potential: Potential, structures: list[Structure]
) -> None:
    """A supercell has the same environments, so the same features; one atom alone has no spread."""
    assert potential.number_of_features == 1280
    lithium, isolated = structures[2], structures[3]
    features = potential.evaluate([lithium, lithium * (2, 1, 1), isolated], features=True).features
    assert features is not None
    np.testing.assert_allclose(features[0], features[1], atol=2e-3)
    assert np.all(features[2, 640:] == 0)
    assert np.abs(features[0, :640] - features[2, :640]).max() > 0.1


def test_energies_do_not_depend_on_the_cell_chosen(potential: Potential, structures: list[Structure]) -> None:
    magnesia = structures[0]
    energies = potential.evaluate([magnesia, magnesia.get_primitive_structure()]).energies_per_atom
    assert energies[0] == pytest.approx(energies[1], abs=1e-5)


def test_no_structures_give_no_rows(potential: Potential) -> None:
    evaluation = potential.evaluate([], features=True)
    assert evaluation.energies_per_atom.shape == (0,)
    assert evaluation.features is not None
    assert evaluation.features.shape == (0, 1280)


def test_an_unknown_element_is_named(potential: Potential) -> None:
    polonium = Structure(Lattice.cubic(3.4), ["Po"], [[0, 0, 0]])
    with pytest.raises(UnsupportedElementError, match="Po") as caught:
        potential.evaluate([polonium])
    assert caught.value.elements == ("Po",)
    assert "Po" not in potential.elements
    assert len(potential.elements) == 89


def test_partial_occupancies_are_refused(potential: Potential) -> None:
    mixed = Structure(Lattice.cubic(4.0), [{"Li": 0.5, "Na": 0.5}], [[0, 0, 0]])
    with pytest.raises(ValueError, match="partial occupancies"):
        potential.evaluate([mixed])


def test_a_multi_fidelity_model_takes_the_materials_projects_pbe() -> None:
    assert load_potential("7net-mf-0", device="cpu").version.endswith(":pbe")
    assert load_potential("7net-mf-0:R2SCAN", device="cpu").version.endswith(":r2scan")
    with pytest.raises(ValueError, match=r"unknown modal 'HSE'.*PBE"):
        load_potential("7net-mf-0:HSE", device="cpu")
    with pytest.raises(ValueError, match="no modals"):
        load_potential("7net-0:PBE", device="cpu")


@pytest.mark.parametrize("name", ["7net-0", "7net-mf-0", "7net-mf-0:r2scan"])
def test_the_version_is_known_without_loading(name: str) -> None:
    assert potential_version(name) == load_potential(name, device="cpu").version


def test_a_checkpoint_file_needs_its_hash(tmp_path: Path) -> None:
    import sevenn

    shipped = Path(sevenn.__file__).parent / "pretrained_potentials" / SHIPPED["7net-0"].file
    path = Path(shutil.copy(shipped, tmp_path / "mine.pth"))
    with pytest.raises(UntrustedPotentialError, match="runs the code inside it") as missing:
        load_potential(str(path), device="cpu")
    digest = str(missing.value).rsplit(" ", 1)[1]
    assert len(digest) == 64
    with pytest.raises(UntrustedPotentialError, match="is not the given"):
        load_potential(str(path), "0" * 64, device="cpu")
    assert (
        load_potential(str(path), digest, device="cpu").elements
        == load_potential("7net-0", device="cpu").elements
    )


def test_an_unknown_name_lists_the_shipped_ones() -> None:
    with pytest.raises(FileNotFoundError, match=r"7net-0.*7net-l3i5"):
        load_potential("8net-0")


def test_importing_stays_light() -> None:
    """The command line imports these modules for `--help`."""
    modules = "materials.potential, materials.relaxation, materials.hull, materials.sources, loop.hull"
    code = f"import {modules}, sys; sys.exit('torch' in sys.modules or 'sevenn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
