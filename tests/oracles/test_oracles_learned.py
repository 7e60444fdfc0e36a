"""The learned oracle: quick answers that never lose their label, and refusals."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from materials.base import Bound, Candidate, Composition, Crystal, Material, Measurement, Origin
from materials.evaluation import FailureKind, Outcome, Request, Status
from oracles.learned import LearnedSettings

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def ask(material: Material, *known: Measurement, **options: Any) -> Outcome:
    settings = LearnedSettings.model_validate({"measures": ["band_gap", "formation_energy"]} | options)
    request = Request("key", Candidate(material, Origin("test")), material, "learned", known)
    (outcome,) = settings.build().evaluate([request])
    return outcome


def test_a_crystal_is_judged_by_its_structure_and_labelled() -> None:
    outcome = ask(Crystal(SALT))
    gap, energy = outcome.measurements
    assert (gap.property, gap.unit, gap.fidelity) == ("band_gap", "eV", "learned")
    assert gap.value == pytest.approx(5.0, abs=0.6)
    assert energy.fidelity == "learned"
    assert energy.value == pytest.approx(-2.13, abs=0.15)
    assert gap.std is not None
    assert 0 < gap.std < 1.5
    told = outcome.provenance["band_gap"]
    low, high = told["interval_90"]
    assert low < gap.value < high
    assert told["distance"] < 3
    assert told["metal_probability"] < 0.1
    assert told["from"] == "structure"


@pytest.mark.parametrize("disordered", [False, True])
def test_without_an_ordered_structure_the_formula_counts(disordered: bool) -> None:
    mixed = SALT.copy()
    mixed.replace_species({"Na": {"Na": 0.5, "K": 0.5}})
    outcome = ask(Crystal(mixed) if disordered else Composition("NaCl"), measures=["band_gap"])
    assert outcome.status is Status.DONE
    assert outcome.provenance["band_gap"]["from"] == "composition"
    assert outcome.measurements[0].value > 3


def test_what_is_unknown_or_too_far_is_refused() -> None:
    polonium = ask(Crystal(Structure(Lattice.cubic(3.35), ["Po"], [[0, 0, 0]])))
    assert polonium.status is Status.REJECTED
    assert polonium.failure is not None
    assert polonium.failure.kind is FailureKind.UNSUPPORTED_MATERIAL
    assert "does not know Po" in polonium.failure.message
    far = ask(Crystal(SALT), farthest=1e-6)
    assert far.failure is not None
    assert "NaCl: unlike what the band_gap head learned from" in far.failure.message


def test_a_block_tells_all_its_properties_or_none() -> None:
    outcome = ask(Crystal(SALT), measures=["band_gap", "log_ionic_conductivity"])
    assert outcome.status is Status.REJECTED
    assert outcome.measurements == ()
    assert outcome.failure is not None
    assert "NaCl holds no Li" in outcome.failure.message
    assert ask(Crystal(SALT), measures=["band_gap"]).status is Status.DONE


def test_a_property_without_a_head_is_refused_in_the_file() -> None:
    with pytest.raises(
        ValidationError, match="no pretrained head for 'diffusivity'; there is one for band_gap"
    ):
        LearnedSettings.model_validate({"measures": ["diffusivity"]})


def test_the_weights_are_part_of_the_question() -> None:
    gap, both = (
        LearnedSettings.model_validate({"measures": m})
        for m in (["band_gap"], ["band_gap", "formation_energy"])
    )
    assert gap.fingerprint() != both.fingerprint()
    assert gap.model_version().startswith("heads ")


def hse_gap(*known: Measurement) -> tuple[Measurement, str]:
    outcome = ask(Crystal(SALT), *known, measures=["band_gap"], imitates="HSE")
    (gap,) = outcome.measurements
    return gap, outcome.provenance["band_gap"]["from"]


def test_a_gap_that_imitates_hse_is_larger_and_still_learned() -> None:
    (pbe,) = ask(Crystal(SALT), measures=["band_gap"]).measurements
    gap, source = hse_gap()
    assert (gap.fidelity, source) == ("learned_HSE", "structure")
    assert 0.8 < gap.value - pbe.value < 2.2
    assert gap.std is not None


def test_a_calculated_pbe_gap_is_corrected_rather_than_a_predicted_one() -> None:
    calculated = Measurement("band_gap", 4.0, "eV", "PBE", "dft")
    (predicted, _), (gap, source) = hse_gap(), hse_gap(calculated)
    assert source == "the PBE value of dft"
    assert gap.fidelity == "learned_HSE"
    assert 4.8 < gap.value < 6.2
    assert gap.std is not None
    assert predicted.std is not None
    assert gap.std < predicted.std
    # A limit says too little, and another prediction is no calculation.
    limit = Measurement("band_gap", 4.0, "eV", "PBE", "dft", bound=Bound.LOWER)
    learned = Measurement("band_gap", 4.0, "eV", "learned", "learned")
    assert hse_gap(limit)[1] == hse_gap(learned)[1] == "structure"


def test_only_a_gap_can_imitate_hse() -> None:
    with pytest.raises(
        ValidationError, match="imitates: HSE is for band_gap only; put formation_energy into"
    ):
        LearnedSettings.model_validate({"measures": ["band_gap", "formation_energy"], "imitates": "HSE"})
    pbe, hse = (
        LearnedSettings.model_validate({"measures": ["band_gap"], "imitates": m}) for m in ("PBE", "HSE")
    )
    assert (pbe.fidelity, hse.fidelity) == ("learned", "learned_HSE")
    assert pbe.model_version() != hse.model_version()
