"""The vocabulary: exact JSON round trips, ids that depend on content only, measurements that are numbers."""

import json
import math

import numpy as np
import pymatgen.core as pmg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from materials.base import (
    Bound,
    Candidate,
    Composition,
    Crystal,
    Measurement,
    Origin,
    Recipe,
    canonical_json,
    material_from_dict,
)
from materials.evaluation import Failure, FailureKind, Outcome, Request, Status, request_key

finite = st.floats(-3, 3, allow_nan=False)
species = st.sampled_from(["Li", "O2-", "Fe2.5+", {"Li": 0.5}, {"Na+": 0.3333, "K+": 0.5}, "Fe3+,spin=5"])


@st.composite
def crystals(draw: st.DrawFn) -> Crystal:
    lattice = pmg.Lattice.from_parameters(
        *(draw(st.floats(3, 9)) for _ in range(3)), *(draw(st.floats(70, 110)) for _ in range(3))
    )
    sites = draw(st.lists(st.tuples(species, st.tuples(finite, finite, finite)), min_size=1, max_size=5))
    return Crystal(pmg.Structure(lattice, [s for s, _ in sites], [x for _, x in sites]))


def through_json(data: object) -> dict:
    return json.loads(canonical_json(data))


@given(crystals())
def test_a_crystal_survives_json_exactly(crystal: Crystal) -> None:
    again = material_from_dict(through_json(crystal.to_dict()))
    assert again == crystal
    assert hash(again) == hash(crystal)
    assert canonical_json(again.to_dict()) == canonical_json(crystal.to_dict())
    assert np.array_equal(again.structure.frac_coords, crystal.structure.frac_coords)


@given(crystals())
def test_equal_crystals_have_equal_ids(crystal: Crystal) -> None:
    negative_zero = pmg.Structure(
        crystal.structure.lattice,
        crystal.structure.species_and_occu,
        np.where(crystal.structure.frac_coords == 0, -0.0, crystal.structure.frac_coords),
    )
    first = Candidate(crystal, Origin("random", seed=1))
    second = Candidate(Crystal(negative_zero), Origin("files", note="elsewhere"))
    assert first.material == second.material
    assert first.id == second.id


def test_the_recipe_belongs_to_the_id_and_the_origin_does_not() -> None:
    plain = Candidate(Composition("Li2O"), Origin("files"))
    fired = Candidate(Composition("Li2O"), Origin("files"), Recipe({"Li2CO3": 1.0}, temperature=1100.0))
    hotter = Candidate(Composition("Li2O"), Origin("files"), Recipe({"Li2CO3": 1.0}, temperature=1200.0))
    assert len({plain.id, fired.id, hotter.id}) == 3


def test_sodium_nitride_is_a_formula() -> None:
    assert Composition("NaN").formula == "NaN"
    assert material_from_dict(through_json(Composition("NaN").to_dict())) == Composition("NaN")


def test_an_unknown_kind_is_named_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"unknown material kind 'polymer'; known kinds: crystal, composition"
    ):
        material_from_dict({"kind": "polymer"})


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_measurement_is_a_finite_number(bad: float) -> None:
    with pytest.raises(ValueError, match="band_gap by robot: value"):
        Measurement("band_gap", bad, "eV", "PBE", "robot")
    with pytest.raises(ValueError, match="band_gap by robot: std"):
        Measurement("band_gap", 1.0, "eV", "PBE", "robot", std=bad)
    with pytest.raises(ValueError, match="temperature"):
        Measurement("band_gap", 1.0, "eV", "PBE", "robot", conditions={"temperature": bad})


def test_a_standard_deviation_is_not_negative() -> None:
    with pytest.raises(ValueError, match="negative"):
        Measurement("band_gap", 1.0, "eV", "PBE", "robot", std=-0.1)


@given(finite, st.none() | st.floats(0, 2), st.sampled_from(Bound), st.none() | crystals())
def test_an_outcome_survives_json(
    value: float, std: float | None, bound: Bound, material: Crystal | None
) -> None:
    measurement = Measurement("band_gap", value, "eV", "PBE", "dft", std, bound, {"temperature": 300.0})
    done = Outcome("k", "c", "dft", Status.DONE, (measurement,), material, seconds=1.5, provenance={"a": [1]})
    failed = Outcome("k", "c", "dft", Status.FAILED, failure=Failure(FailureKind.EXPLODED, "volume doubled"))
    for outcome in (done, failed):
        assert Outcome.from_dict(through_json(outcome.to_dict())) == outcome


def test_a_request_shows_the_latest_measurement_of_earlier_stages() -> None:
    measurements = tuple(Measurement("band_gap", v, "eV", "PBE", "dft") for v in (1.0, 2.0))
    candidate = Candidate(Composition("Li2O"), Origin("files"))
    request = Request("k", candidate, candidate.material, "bvse", measurements)
    found = request.measured("band_gap")
    assert found is not None
    assert found.value == 2.0
    assert request.measured("diffusivity") is None


def test_keys_differ_by_what_is_asked() -> None:
    keys = {
        request_key("c", "relax", "f"),
        request_key("d", "relax", "f"),
        request_key("c", "hull", "f"),
        request_key("c", "relax", "g"),
        request_key("c", "relax", "f", {"temperature": 300.0}),
        request_key("c", "relax", "f", replicate=1),
    }
    assert len(keys) == 6
    assert request_key("c", "relax", "f", {}) == request_key("c", "relax", "f")
