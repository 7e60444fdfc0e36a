"""The index of known materials: the one that ships, and the exact comparison with the user's own structures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Composition, Lattice, Structure

from materials.base import Crystal
from materials.known import TOLERANCES, KnownMaterials, Symmetry, known_exactly, symmetries
from materials.writing import write_cif

SILICON = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.47), ["Si"], [[0, 0, 0]])
QUARTZ = Structure.from_spacegroup(
    "P3_221",
    Lattice.hexagonal(5.02, 5.51),
    ["Si", "O"],
    [[0.4697, 0, 2 / 3], [0.4135, 0.2669, 0.7858]],
)
SPINEL = Structure.from_spacegroup(
    "Fd-3m", Lattice.cubic(8.15), ["Mg", "Al", "O"], [[0] * 3, [0.625] * 3, [0.3864] * 3]
)
SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
# No salt of the Materials Project: sodium and chlorine in layers of their own.
LAYERED = Structure(
    Lattice.tetragonal(3.9, 9.1),
    ["Na", "Na", "Cl", "Cl"],
    [[0, 0, 0], [0.5, 0.5, 0.3], [0, 0, 0.6], [0.5, 0, 0.8]],
)
KNOWN = KnownMaterials.load()


@pytest.mark.parametrize(
    ("structure", "known"),
    [(SILICON, "mp-149"), (SALT, "mp-22862"), (SPINEL, "mp-3536"), (QUARTZ, "mp-6930")],
)
def test_well_known_materials_have_their_ids(structure: Structure, known: str) -> None:
    assert KNOWN.find(structure) == known


def test_another_structure_of_a_known_formula_is_new() -> None:
    assert KNOWN.formula_known(LAYERED.composition)
    assert KNOWN.find(LAYERED) is None


def test_formulas_are_compared_reduced_and_without_charges() -> None:
    assert KNOWN.formula_known(Composition("Na8Cl8"))
    assert KNOWN.formula_known(Composition({"Na": 3, "N": 1})) == KNOWN.formula_known(Composition("Na9N3"))
    assert not KNOWN.formula_known(Composition("Na17Cl3"))
    assert KNOWN.find(SALT.copy().add_oxidation_state_by_element({"Na": 1, "Cl": -1})) == "mp-22862"


def test_partial_occupancies_are_not_judged() -> None:
    mixed = SALT.copy()
    mixed.replace_species({"Na": {"Na": 0.5, "K": 0.5}})
    assert KNOWN.find(mixed) is None


@settings(max_examples=25, deadline=None)
@given(
    structure=st.sampled_from([SILICON, QUARTZ, SPINEL, SALT]),
    origin=st.tuples(*[st.floats(0, 1)] * 3),
    rows=st.permutations([0, 1, 2]),
    scale=st.floats(0.94, 1.06),
    mirrored=st.booleans(),
    primitive=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_cell_origin_order_image_and_size_do_not_matter(
    structure: Structure,
    origin: tuple[float, float, float],
    rows: list[int],
    scale: float,
    mirrored: bool,
    primitive: bool,
    seed: int,
) -> None:
    """Another description of a structure, with atoms where a relaxation might leave them."""
    rng = np.random.default_rng(seed)
    cell = structure.get_primitive_structure() if primitive else structure
    lattice = cell.lattice.matrix[rows] * scale * (-1 if mirrored else 1)
    other = Structure(lattice, cell.species, (cell.frac_coords + origin)[:, rows])
    other = Structure.from_sites([other[int(k)] for k in rng.permutation(len(other))])
    other.perturb(0.01)
    assert KNOWN.find(other) == KNOWN.find(structure)


def test_mirror_images_share_a_symmetry() -> None:
    image = Structure(-QUARTZ.lattice.matrix, QUARTZ.species, QUARTZ.frac_coords)
    told = [set(symmetries(one, TOLERANCES)) for one in (QUARTZ, image)]
    assert told[0] == told[1] == {Symmetry(152, "O6:1 Si3:2")}


def test_the_first_of_equal_phases_names_them(tmp_path: Path) -> None:
    known = KnownMaterials.of(
        [
            ("mp-1", "NaCl", Symmetry(225, "Cl1:-3mm Na1:-3mm")),
            ("mp-2", "NaCl", Symmetry(225, "Cl1:-3mm Na1:-3mm")),
            ("mp-3", "NaCl", Symmetry(221, "Cl1:-3mm Na1:-3mm")),
        ]
    )
    assert (len(known), known.find(SALT)) == (2, "mp-1")
    known.save(tmp_path / "known.npz")
    with np.load(tmp_path / "known.npz", allow_pickle=False) as held:
        assert KnownMaterials(held["keys"], held["ids"]).find(SALT) == "mp-1"
    assert KnownMaterials.of([]).find(SALT) is None


def test_the_users_own_structures_are_compared_exactly(tmp_path: Path) -> None:
    reference = tmp_path / "reference"
    reference.mkdir()
    for name, structure in (("si", SILICON), ("salt", SALT), ("layered", LAYERED)):
        write_cif(reference / f"{name}.cif", Crystal(structure))
    (reference / "broken.cif").write_text("data_x")
    problems: list[object] = []
    stretched = LAYERED.copy()
    stretched.apply_strain([0.02, -0.01, 0.01])
    asked = {"a": Crystal(stretched), "b": Crystal(QUARTZ), "c": Crystal(SALT.get_primitive_structure())}
    assert known_exactly(asked, reference, problems) == {"a": "layered", "c": "salt"}  # type: ignore[arg-type]
    assert len(problems) == 1


def test_the_index_is_small_and_not_loaded_by_help() -> None:
    assert len(KNOWN) > 130_000
    code = "import loop.config, loop.campaign, sys; sys.exit('materials.known' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
