"""Whom the screen looks at and whom it takes, whatever the share of hope in the pool and however a policy picks."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from loop.energy_screen import IN_SPITE, LOOKS_PER_PLACE, EnergyScreen, Pick, Screened
from loop.events import Listener, Stopwatch
from loop.executors.serial import SerialDispatcher
from loop.looks import CampaignLooks
from materials.base import Candidate, Crystal, Origin, Selection
from materials.hull import ReferenceHull
from surrogates.early_look import STEPS, VERSION
from surrogates.energy_model import SHIPPED, EnergyModel
from surrogates.feature_cache import FeatureCache

LIMIT = 0.1
SIZE = 40


@pytest.fixture(scope="module")
def model() -> EnergyModel:
    return EnergyModel.load(SHIPPED)


@pytest.fixture(scope="module")
def pool() -> list[Candidate]:
    """Forty crystals of MgO, none like another."""
    cells = [Lattice.cubic(4 + 0.01 * i) for i in range(SIZE)]
    crystals = [Crystal(Structure(cell, ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])) for cell in cells]
    return [Candidate(crystal, Origin("test")) for crystal in crystals]


def screened(
    folder: Path,
    pool: Sequence[Candidate],
    hopeful: Sequence[bool],
    pick: Pick,
    places: int,
    model: EnergyModel,
) -> Screened:
    """With looks that saw a relaxation at rest: below the limit where there is hope, 1 eV/atom above it where not."""
    hull = ReferenceHull.shipped()
    crystals = [c.material for c in pool if isinstance(c.material, Crystal)]
    depth = hull.energy_above_hull("MgO", 0.0).value
    corrections = [hull.correction_per_atom(c.structure) for c in crystals]
    energies = [LIMIT - depth - k + (-0.05 if h else 1.0) for k, h in zip(corrections, hopeful, strict=True)]
    rows = [[*[e] * (STEPS + 1), 2.0, k] for e, k in zip(energies, corrections, strict=True)]
    FeatureCache(folder / "features.db", f"{VERSION}-7net-0").put(
        [c.digest for c in crystals], np.array(rows)
    )
    with SerialDispatcher(folder / "evaluations", 60) as dispatcher:
        looks = CampaignLooks("7net-0", folder, dispatcher, Stopwatch(Listener()))
        return EnergyScreen(looks, hull, LIMIT, 0.08).screened(pick, pool, places, model)


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.booleans(), min_size=SIZE, max_size=SIZE),
    st.integers(1, 8),
    st.integers(5, SIZE),
    st.integers(0, 2**16),
)
def test_hope_is_never_left_out_for_the_hopeless(
    model: EnergyModel, pool: list[Candidate], hopeful: list[bool], places: int, size: int, seed: int
) -> None:
    hope = {c.id for c, h in zip(pool, hopeful, strict=True) if h} & {c.id for c in pool[:size]}

    def pick(candidates: Sequence[Candidate], most: int) -> list[Selection]:
        order = np.random.default_rng(seed).permutation(len(candidates))[:most]
        return [Selection(candidates[i], "relax", "drawn") for i in order]

    with tempfile.TemporaryDirectory() as folder:
        found = screened(Path(folder), pool[:size], hopeful[:size], pick, places, model)
    taken = [s.candidate.id for s in found.selections]
    refused = {one.id for one in found.refused}
    taken_in_hope = hope & set(taken)
    assert len(taken) == len(set(taken)) <= places
    assert not refused & hope
    assert found.looked == len(taken) + len(refused)  # nobody is looked at for nothing
    assert found.looked < (LOOKS_PER_PLACE + 1) * places
    if len(taken_in_hope) < min(places, len(hope)):
        assert found.looked >= LOOKS_PER_PLACE * places
    assert found.in_spite == len(taken) - len(taken_in_hope) <= max(1, places // IN_SPITE)
    if refused:
        assert found.in_spite == min(places - len(taken_in_hope), max(1, places // IN_SPITE))
    assert all("likely to end within 0.1 eV/atom" in s.reason for s in found.selections)


def test_the_refused_are_told_with_their_height(
    model: EnergyModel, pool: list[Candidate], tmp_path: Path
) -> None:
    def pick(candidates: Sequence[Candidate], most: int) -> list[Selection]:
        return [Selection(c, "relax", "first") for c in candidates[:most]]

    found = screened(tmp_path, pool[:4], [False, False, True, True], pick, 2, model)
    assert [s.candidate for s in found.selections] == pool[2:4]
    assert [one.formula for one in found.refused] == ["MgO", "MgO"]
    assert all(one.height == pytest.approx(LIMIT + 1.0, abs=0.02) for one in found.refused)
    assert all(one.chance < 0.08 for one in found.refused)
    assert found.refusals == {("test", "the energy model sees no hope"): 2}
