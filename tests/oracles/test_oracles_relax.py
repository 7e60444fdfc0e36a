"""The relax oracle with the real SevenNet-0: values, provenance, and every typed failure."""

from __future__ import annotations

import hashlib
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import sevenn
import torch
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from materials.base import Candidate, Composition, Crystal, Material, Origin
from materials.checkpoints import SHIPPED
from materials.evaluation import FailureKind, Outcome, Request, Status
from materials.hull import ReferenceHull
from oracles.base import Oracle
from oracles.relax import RelaxSettings

LI2O = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(4.65), ["Li", "O"], [[0.25, 0.25, 0.25], [0, 0, 0]]
).get_primitive_structure()


def relaxed(material: Material | Structure, **options: Any) -> Outcome:
    if isinstance(material, Structure):
        material = Crystal(material)
    oracle = RelaxSettings.model_validate(options).build()
    assert isinstance(oracle, Oracle)
    (outcome,) = oracle.evaluate([Request("key", Candidate(material, Origin("test")), material, "relax")])
    return outcome


def kind_of(outcome: Outcome) -> FailureKind:
    assert outcome.status is Status.REJECTED
    assert outcome.failure is not None
    assert not outcome.measurements
    assert outcome.material is None
    return outcome.failure.kind


def test_a_perturbed_crystal_finds_its_minimum_and_says_how() -> None:
    distorted = LI2O.copy().perturb(0.08, seed=3)
    outcome = relaxed(distorted)
    assert outcome.status is Status.DONE
    (energy,) = outcome.measurements
    assert (energy.property, energy.unit, energy.fidelity) == ("energy_per_atom", "eV/atom", "potential")
    ground_state = ReferenceHull.shipped().known_phases("Li2O")[0]
    assert energy.value == pytest.approx(ground_state.energy_per_atom, abs=0.002)
    assert isinstance(outcome.material, Crystal)
    assert outcome.material.structure.get_space_group_info(symprec=0.1)[0] == "Fm-3m"
    found = outcome.provenance
    assert found["version"].startswith("SevenNet_0__11Jul2024/")
    assert found["correction"] == "none"
    assert found["converged"]
    assert found["max_force"] <= 0.03
    assert found["start_energy_per_atom"] > energy.value
    assert (found["spacegroup_before"], found["spacegroup_after"]) == ("Cm", "Fm-3m")
    assert Outcome.from_dict(outcome.to_dict()) == outcome


def test_the_same_question_has_the_same_answer() -> None:
    distorted = LI2O.copy().perturb(0.05, seed=1)
    first, second = relaxed(distorted), relaxed(distorted)
    assert first.measurements == second.measurements
    assert first.material == second.material


def test_symmetry_and_cell_are_held_on_request() -> None:
    stretched = LI2O.copy()
    stretched.scale_lattice(LI2O.volume * 1.06)
    held = relaxed(stretched, keep_symmetry=True)
    assert held.provenance["spacegroup_after"] == "Fm-3m"
    assert held.provenance["volume_change"] < -0.02
    fixed = relaxed(stretched, cell=False)
    assert fixed.provenance["volume_change"] == pytest.approx(0, abs=1e-9)
    assert fixed.measurements[0].value > held.measurements[0].value


def test_atoms_on_top_of_each_other_explode() -> None:
    collapsed = Structure(LI2O.lattice, ["Li", "Li", "O"], [[0, 0, 0], [0, 0, 0.01], [0.5, 0.5, 0.5]])
    assert kind_of(relaxed(collapsed)) is FailureKind.EXPLODED


@pytest.mark.parametrize("symbol", ["Og", "Fr"])
def test_an_element_the_potential_never_saw_is_unsupported(symbol: str) -> None:
    outcome = relaxed(Structure(Lattice.cubic(4.6), [symbol, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]))
    assert kind_of(outcome) is FailureKind.UNSUPPORTED_ELEMENT
    assert outcome.failure is not None
    assert symbol in outcome.failure.message


@pytest.mark.parametrize(
    "material",
    [
        Crystal(Structure(Lattice.cubic(4.2), [{"Li": 0.5, "Na": 0.5}, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])),
        Composition("Li2O"),
    ],
)
def test_what_has_no_definite_atoms_is_unsupported(material: Material) -> None:
    assert kind_of(relaxed(material)) is FailureKind.UNSUPPORTED_MATERIAL


def test_energies_that_are_not_numbers_are_no_values(tmp_path: Path) -> None:
    shipped = Path(sevenn.__file__).parent / "pretrained_potentials" / SHIPPED["7net-0"].file
    checkpoint = torch.load(shipped, weights_only=False, map_location="cpu")
    checkpoint["model_state_dict"]["rescale_atomic_energy.shift"].fill_(math.nan)
    broken = tmp_path / "broken.pth"
    torch.save(checkpoint, broken)
    digest = hashlib.sha256(broken.read_bytes()).hexdigest()
    outcome = relaxed(LI2O, potential=str(broken), sha256=digest)
    assert kind_of(outcome) is FailureKind.NOT_FINITE


def test_a_stretched_cell_in_which_lbfgs_jumps_to_and_fro_relaxes_with_fire() -> None:
    salt = Structure(Lattice.cubic(4.2), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    outcome = relaxed(salt)
    assert outcome.status is Status.DONE
    assert outcome.provenance["optimizer"] == "FIRE"
    assert outcome.provenance["volume_change"] < -0.5


def test_running_out_of_steps_is_not_converged_and_keeps_its_provenance() -> None:
    outcome = relaxed(LI2O.copy().apply_strain(0.06), steps=2)
    assert kind_of(outcome) is FailureKind.NOT_CONVERGED
    assert outcome.provenance["steps"] == 2
    assert outcome.failure is not None
    assert "raise steps" in outcome.failure.message


@pytest.mark.parametrize(
    ("lattice", "kind"),
    [
        (Lattice.orthorhombic(4.1, 4.1, 11), FailureKind.BAD_RESULT),
        (Lattice.cubic(12), FailureKind.UNSUPPORTED_MATERIAL),
        (Lattice([[4, 0, 0], [8, 0, 0], [0, 0, 4]]), FailureKind.UNSUPPORTED_MATERIAL),
    ],
    ids=["a slab in vacuum", "a molecule in vacuum", "a flat cell"],
)
def test_what_fills_no_space_is_no_crystal(lattice: Lattice, kind: FailureKind) -> None:
    atoms = Structure(lattice, ["Li", "F"], [[0, 0, 0], [0.5, 0.5, 0]])
    assert kind_of(relaxed(atoms, cell=False)) is kind


def test_one_bad_material_does_not_stop_the_others() -> None:
    materials: list[Material] = [
        Crystal(LI2O),
        Composition("Li2O"),
        Crystal(LI2O.copy().perturb(0.02, seed=2)),
    ]
    oracle = RelaxSettings().build()
    requests = [Request(str(i), Candidate(m, Origin("test")), m, "relax") for i, m in enumerate(materials)]
    outcomes = {o.key: o.status for o in oracle.evaluate(requests)}
    assert outcomes == {"0": Status.DONE, "1": Status.REJECTED, "2": Status.DONE}


def test_a_checkpoint_file_needs_its_hash_and_counts_by_content(tmp_path: Path) -> None:
    checkpoint = tmp_path / "mine.pth"
    checkpoint.write_bytes(b"PK\x03\x04weights")
    context = {"folder": tmp_path}
    with pytest.raises(ValidationError, match="add  sha256: ") as refused:
        RelaxSettings.model_validate({"potential": "mine.pth"}, context=context)
    digest = str(refused.value).split("sha256: ")[1].split()[0]
    settings = RelaxSettings.model_validate({"potential": "mine.pth", "sha256": digest}, context=context)
    assert Path(settings.potential) == checkpoint
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "mine.pth").write_bytes(b"PK\x03\x04weights")
    other = RelaxSettings.model_validate(
        {"potential": "mine.pth", "sha256": digest}, context={"folder": moved}
    )
    assert other.fingerprint() == settings.fingerprint()
    with pytest.raises(ValidationError, match="neither a name of SevenNet"):
        RelaxSettings.model_validate({"potential": "7net-9"})


def test_what_decides_the_result_is_in_the_fingerprint_or_the_version() -> None:
    plain = RelaxSettings()
    for options in ({"fmax": 0.05}, {"steps": 10}, {"cell": False}, {"keep_symmetry": True}):
        assert RelaxSettings.model_validate(options).fingerprint() != plain.fingerprint()
    assert RelaxSettings(potential="7net-l3i5").model_version() != plain.model_version()


def test_where_it_runs_does_not_change_what_it_means() -> None:
    assert RelaxSettings(device="cpu").fingerprint() == RelaxSettings().fingerprint()
    assert RelaxSettings(device="cpu").preferred_batch == 1


@pytest.mark.skipif(find_spec("torch_sim") is not None, reason="torch-sim is installed")
def test_a_gpu_without_torch_sim_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValidationError, match=r"pip install 'matloop\[gpu\]'"):
        RelaxSettings(device="cuda")
