"""How a campaign's goals and its best crystals steer the latent generator."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from generators.latent.asking import Scale
from generators.latent.model import noised
from generators.latent.regions import LARGEST, SMALLEST, START, between, radii
from generators.latent.targets import wanted_values
from generators.latent.weights import seeded
from materials.archive import Archive, Progress, Record
from materials.base import Candidate, Composition, Measurement, Origin
from materials.goals import Constraint, Objective

GAP = Scale("band_gap", 1.5, 1.6, 0.0, 6.0)
HULL = Scale("energy_above_hull", 0.02, 0.03, 0.0, 0.08)
GOAL = [Objective("energy_above_hull", "minimize")]


def record(name: str, energy: float | None, origin: Origin) -> Record:
    candidate = Candidate(Composition(name), origin)
    if energy is None:
        return Record(candidate, candidate.material, Progress.PENDING)
    measured = (Measurement("energy_above_hull", energy, "eV/atom", "potential", "hull"),)
    return Record(candidate, candidate.material, Progress.EVALUATED, measured)


def region(energies: list[float | None]) -> float:
    """The radius around a crystal at 0.05 eV/atom, after children with these energies."""
    center = record("NaCl", 0.05, Origin("substitution"))
    children = [
        record(f"Na{k}Cl", energy, Origin("latent", (center.id,), note="near 0.30"))
        for k, energy in enumerate(energies, 2)
    ]
    return radii(Archive([center, *children], GOAL), [center])[0]


def test_regions_grow_with_success_and_shrink_with_failure() -> None:
    assert region([]) == START
    assert region([0.01]) > START > region([0.2])
    assert region([None, None]) == START


@given(st.lists(st.sampled_from([0.01, 0.2]), max_size=12))
def test_regions_never_vanish_nor_forget_their_centre(energies: list[float | None]) -> None:
    assert SMALLEST <= region(energies) <= LARGEST < 1


def test_crossings_say_nothing_of_a_region() -> None:
    center = record("NaCl", 0.05, Origin("substitution"))
    child = record("Na2Cl", 0.2, Origin("latent", (center.id, "other"), note="between 0.50"))
    assert radii(Archive([center, child], GOAL), [center]) == [START]


@given(st.integers(0, 2**32), st.floats(0, 1))
def test_moves_keep_the_prior(seed: int, radius: float) -> None:
    start = torch.randn(64, 192, generator=seeded(seed))
    moved = noised(start, torch.full((64,), radius), torch.randn(64, 192, generator=seeded(seed + 1)))
    assert float(moved.mean()) == pytest.approx(0.0, abs=0.05)
    assert float(moved.std()) == pytest.approx(1.0, abs=0.05)
    likeness = float((moved * start).mean())
    assert likeness == pytest.approx(math.sqrt(1 - radius**2), abs=0.06)


@given(st.integers(0, 2**32), st.floats(0, 1))
def test_crossings_lie_between_and_as_far_out_as_their_parents(seed: int, share: float) -> None:
    one, other = (torch.randn(4, 192, generator=seeded(seed + k)) for k in (0, 1))
    middle = between(one, other, torch.full((4,), share))
    wanted = (1 - share) * one.norm(dim=1) + share * other.norm(dim=1)
    assert torch.allclose(middle.norm(dim=1), wanted, rtol=1e-3)
    assert torch.allclose(between(one, other, torch.zeros(4)), one, atol=1e-4)
    assert torch.allclose(between(one, other, torch.ones(4)), other, atol=1e-4)


@pytest.mark.parametrize(
    ("goal", "low", "high"),
    [
        (Objective("band_gap", "target", target=3.0, tolerance=0.2), 2.8, 3.2),
        (Objective("band_gap", "target", target=1.4, tolerance=0.2, fidelity="learned_HSE"), 0.484, 0.812),
        (Objective("band_gap", "maximize"), 3.75, 6.0),
        (Objective("band_gap", "minimize"), 0.0, 0.75),
        (Constraint("band_gap", at_least=3.0), 3.0, 6.0),
        (Constraint("band_gap", at_least=8.0), 8.0, 8.0),
        (Constraint("band_gap", at_most=1.0), 0.0, 1.0),
    ],
)
def test_goals_become_values_that_are_asked_for(
    goal: Objective | Constraint, low: float, high: float
) -> None:
    objectives = [goal] if isinstance(goal, Objective) else []
    constraints = [goal] if isinstance(goal, Constraint) else []
    asked = wanted_values(Archive([], objectives, constraints), [GAP, HULL], 500, seeded(0))
    assert set(asked) == {"band_gap", "energy_above_hull"}
    assert float(asked["energy_above_hull"].max()) <= HULL.center / 2
    assert float(asked["band_gap"].min()) == pytest.approx(low, abs=0.05)
    assert float(asked["band_gap"].max()) == pytest.approx(high, abs=0.05)
