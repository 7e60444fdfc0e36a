"""The neb oracle with the real SevenNet-0 in small supercells: barriers, checkpoints, and what has none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.io import read
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from materials.base import Bound, Candidate, Composition, Crystal, Material, Origin
from materials.evaluation import FailureKind, Outcome, Request, Status
from materials.potential import load_potential
from oracles.conduction.bvse import BondValenceSettings
from oracles.conduction.elastic_band import Supercell
from oracles.conduction.hop_records import CHECKPOINT, LOG
from oracles.conduction.hops import distinct_hops, primitive_cell, smallest_supercell
from oracles.conduction.neb import NebSettings
from oracles.relax import RelaxSettings

ANTIFLUORITE = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.62), ["Li", "O"], [[0.25] * 3, [0] * 3])
ANTIPEROVSKITE = Structure.from_spacegroup(
    "Pm-3m", Lattice.cubic(3.91), ["Li", "O", "Cl"], [[0.5, 0, 0], [0] * 3, [0.5] * 3]
)
# Lithium nitride (Rabenau, Schulz, J. Less-Common Met. 50, 155 (1976)): Li2N layers, one more Li between them.
NITRIDE = Structure(
    Lattice.hexagonal(3.648, 3.875),
    ["Li", "Li", "Li", "N"],
    [[0, 0, 0.5], [1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0], [0, 0, 0]],
)
QUICK = {"image_distance": 5.0, "image_spacing": 2.0, "fmax": 0.1}


def ask(material: Material | Structure, folder: Path | None = None, **options: Any) -> Outcome:
    if isinstance(material, Structure):
        material = Crystal(material)
    request = Request("key", Candidate(material, Origin("test")), material, "neb", folder=folder)
    (outcome,) = NebSettings.model_validate({**QUICK, **options}).build().evaluate([request])
    return outcome


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluations") / "work"


@pytest.fixture(scope="module")
def oxide(folder: Path) -> Outcome:
    return ask(ANTIFLUORITE, folder)


def test_lithium_oxide_conducts_along_its_one_hop(oxide: Outcome) -> None:
    assert oxide.status is Status.DONE
    (barrier,) = oxide.measurements
    assert (barrier.property, barrier.unit, barrier.fidelity) == ("migration_barrier", "eV", "potential")
    assert barrier.bound is Bound.EXACT
    assert 0.1 < barrier.value < 0.5
    assert barrier.std is not None
    assert 0 < barrier.std < 0.1
    (hop,) = oxide.provenance["hops"]
    assert (hop["forward"] + hop["backward"]) / 2 == pytest.approx(barrier.value, abs=1e-6)
    assert hop["length"] == pytest.approx(2.31, abs=0.01)
    assert oxide.provenance["barriers"] == {f"{n}D": barrier.value for n in (1, 2, 3)}
    assert oxide.material is None
    assert Outcome.from_dict(json.loads(json.dumps(oxide.to_dict()))) == oxide


def test_the_path_is_kept_and_ends_where_the_ion_began_plus_one_hop(oxide: Outcome) -> None:
    images = read(oxide.artifacts["path"]["path"], index=":")
    assert len(images) == 3
    moved = images[-1].positions - images[0].positions
    assert np.linalg.norm(moved[-1]) == pytest.approx(2.31, abs=0.5)
    assert np.linalg.norm(moved[:-1], axis=1).max() < 0.5
    energies = [image.get_potential_energy() for image in images]
    assert energies[1] - energies[0] == pytest.approx(oxide.measurements[0].value, abs=1e-3)


@pytest.mark.slow
def test_a_crystal_and_its_vacancies_fall_off_their_saddles(tmp_path: Path) -> None:
    nitride = ask(NITRIDE, tmp_path, dimensions=2)
    assert nitride.status is Status.DONE, nitride.failure
    unit = Crystal.from_dict(nitride.provenance["unit"]).structure
    assert NITRIDE.get_space_group_info()[0] == "P6/mmm"
    assert unit.get_space_group_info(0.05)[0] == "P-3m1"
    # Held by its symmetry the vacancy between the layers is 1.44 eV above the one within them.
    assert max(nitride.provenance["site_energies"].values()) < 1.2


def test_the_highest_image_is_a_saddle_and_no_summit(oxide: Outcome) -> None:
    begin, top, end = read(oxide.artifacts["path"]["path"], index=":")
    along = (end.positions - begin.positions)[-1]
    top.calc = load_potential().calculator()
    stiffness = np.zeros((3, 3))
    for axis in range(3):
        for sign in (1, -1):
            moved = top.copy()
            moved.calc = top.calc
            moved.positions[-1, axis] += 0.03 * sign
            stiffness[axis] -= sign * moved.get_forces()[-1] / 0.06
    curvatures, directions = np.linalg.eigh((stiffness + stiffness.T) / 2)
    assert curvatures[0] < 0 < curvatures[1]
    assert abs(directions[:, 0] @ along) / np.linalg.norm(along) > 0.9


def test_a_stopped_evaluation_continues_behind_what_it_finished(oxide: Outcome, folder: Path) -> None:
    written = (folder / LOG).read_text().count("FIRE")
    again = ask(ANTIFLUORITE, folder)
    assert again.measurements == oxide.measurements
    assert (folder / LOG).read_text().count("FIRE") == written
    content = json.loads((folder / CHECKPOINT).read_text())
    content["hops"] = {}
    (folder / CHECKPOINT).write_text(json.dumps(content))
    once_more = ask(ANTIFLUORITE, folder)
    assert (folder / LOG).read_text().count("FIRE") > written
    assert once_more.measurements == oxide.measurements


@pytest.mark.parametrize(
    ("material", "options", "kind", "word"),
    [
        (Composition("Li2O"), {}, "unsupported_material", "only a crystal"),
        (
            Structure(Lattice.cubic(4.2), ["Na", "Cl"], [[0] * 3, [0.5] * 3]),
            {},
            "unsupported_material",
            "no Li",
        ),
        (Structure(Lattice.cubic(3.4), ["Li"], [[0] * 3]), {}, "unsupported_material", "nothing but"),
        (
            Structure(Lattice.cubic(4.0), [{"Li": 0.5}, "F"], [[0] * 3, [0.5] * 3]),
            {},
            "unsupported_material",
            "partly occupied",
        ),
        (Structure(Lattice.cubic(4.0), ["Li", "Po"], [[0] * 3, [0.5] * 3]), {}, "unsupported_element", "Po"),
        (ANTIFLUORITE, {"most_atoms": 20}, "unsupported_material", "raise it, or lower image_distance"),
        (ANTIFLUORITE, {"longest_hop": 2.0}, "no_percolation", "raise longest_hop"),
        (ANTIFLUORITE, {"steps": 1, "fmax": 0.01}, "not_converged", "raise steps"),
    ],
    ids=[
        "formula",
        "no lithium",
        "metal",
        "disorder",
        "polonium",
        "too large",
        "too short hops",
        "too few steps",
    ],
)
def test_what_cannot_be_measured_is_rejected_with_its_remedy(
    material: Any, options: dict[str, Any], kind: str, word: str, tmp_path: Path
) -> None:
    outcome = ask(material, tmp_path, **options)
    assert outcome.status is Status.REJECTED
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind(kind)
    assert word in outcome.failure.message
    assert not outcome.measurements


def test_ends_of_a_hop_differ_by_one_ion_that_moved_the_way_meant() -> None:
    unit = primitive_cell(ANTIPEROVSKITE)
    (hop,) = distinct_hops(unit, "Li", 4.0)
    cell = Supercell.of(unit, smallest_supercell(unit.lattice, 5.0))
    for edge in hop.equivalents:
        begin, end = cell.ends(edge, lambda number: cell.structure.cart_coords)
        moved = end.positions - begin.positions
        assert len(begin) == len(cell.structure) - 1
        assert begin.get_chemical_symbols()[-1] == "Li"
        assert np.abs(moved[:-1]).max() == 0
        first, second, image = edge
        places = unit.frac_coords
        assert moved[-1] == pytest.approx(
            (places[first] - places[second] - image) @ unit.lattice.matrix, abs=1e-6
        )


def test_a_hole_into_which_a_neighbour_falls_is_noticed() -> None:
    unit = primitive_cell(ANTIPEROVSKITE)
    (hop,) = distinct_hops(unit, "Li", 4.0)
    cell = Supercell.of(unit, smallest_supercell(unit.lattice, 5.0))
    for first, second, image in hop.equivalents:
        hole, neighbour = cell.number_of(first), cell.number_of(second, image)
        way = (unit.frac_coords[first] - unit.frac_coords[second] - image) @ unit.lattice.matrix
        for share, filled in ((0.3, False), (0.8, True)):
            positions = cell.structure.cart_coords.copy()
            positions[neighbour] += share * way
            assert cell.is_filled(hole, positions) is filled


def test_a_line_relaxed_with_another_potential_is_refused() -> None:
    line = [RelaxSettings(potential="7net-l3i5"), BondValenceSettings()]
    assert "same potential" in (NebSettings().misfit(line) or "")
    assert NebSettings(potential="7net-l3i5").misfit(line) is None
    assert NebSettings().misfit([]) is None


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"mobile_ion": "Lithium"}, "not the symbol"),
        ({"dimensions": 0}, "1, 2 or 3"),
        ({"image_spacing": 0}, "greater"),
    ],
)
def test_bad_settings_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        NebSettings.model_validate(options)
