"""The refitted energy model is used only where it is better on relaxations that no model ever learns from."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from experiments.relaxed_pairs import TABLE, Pairs, read_pairs
from loop.champion import FEWEST, OwnRelaxations, contest, is_held_out, models_in_use
from loop.database.store import Store
from loop.errors import CampaignError
from surrogates.early_look import STEPS
from surrogates.energy_model import SHIPPED, EnergyModel

WORDS = [f"formula {i}" for i in range(2000)]


@pytest.fixture(scope="module")
def shipped() -> EnergyModel:
    return EnergyModel.load(SHIPPED)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return read_pairs(TABLE)


def own(pairs: Pairs, count: int, quickly: bool) -> OwnRelaxations:
    """Real looks; quickly: relaxations that ended with their look, unlike those the model has learned from."""
    chosen = np.random.default_rng(3).permutation(len(pairs.relaxed))[:count]
    looks = pairs.looks[chosen]
    relaxed = looks[:, STEPS] if quickly else pairs.relaxed[chosen]
    held_out = np.array([is_held_out(pairs.formulas[i]) for i in chosen], dtype=bool)
    return OwnRelaxations(looks, relaxed, held_out)


def test_a_refit_that_is_better_is_used(shipped: EnergyModel, pairs: Pairs) -> None:
    found = contest(4, shipped, shipped, "energy_model@0", own(pairs, 160, quickly=True))
    assert found.won
    assert found.version == "energy_model@4"
    assert found.model is found.challenger
    assert found.surprises is not None
    assert found.surprises[1] < found.surprises[0]


def test_a_refit_that_is_no_better_is_not(shipped: EnergyModel, pairs: Pairs) -> None:
    """It learns that relaxations end at once, and is judged on those that do not."""
    wrong = own(pairs, 160, quickly=True)
    right = own(pairs, 160, quickly=False)
    mixed = OwnRelaxations(
        wrong.looks, np.where(wrong.held_out, right.relaxed, wrong.relaxed), wrong.held_out
    )
    found = contest(4, shipped, shipped, "energy_model@0", mixed)
    assert not found.won
    assert found.model is shipped
    assert found.challenger is not None
    assert found.version == "energy_model@0"


def test_nobody_is_judged_on_a_handful(shipped: EnergyModel, pairs: Pairs) -> None:
    few = own(pairs, 160, quickly=True)
    kept = ~few.held_out | (np.cumsum(few.held_out) < FEWEST)
    found = contest(
        2,
        shipped,
        shipped,
        "energy_model@0",
        OwnRelaxations(few.looks[kept], few.relaxed[kept], few.held_out[kept]),
    )
    assert found.surprises is None
    assert not found.won


def test_without_own_relaxations_there_is_no_challenger(
    shipped: EnergyModel, pairs: Pairs, tmp_path: Path
) -> None:
    found = contest(1, shipped, shipped, "energy_model@0", own(pairs, 0, quickly=False))
    found.save(tmp_path / "models")
    assert found.challenger is None
    assert not (tmp_path / "models").exists()


def test_about_a_quarter_is_held_out_and_always_the_same() -> None:
    held = [is_held_out(word) for word in WORDS]
    assert 0.2 < np.mean(held) < 0.3
    assert held == [is_held_out(word) for word in WORDS]


def test_models_in_use_are_healed_where_possible_and_else_refused_by_name(
    shipped: EnergyModel, tmp_path: Path
) -> None:
    with Store.open(tmp_path / "campaign.db", "test", create=True) as store:
        assert models_in_use(store, tmp_path)[2] == "energy_model@0"
        copy = tmp_path / "models" / "0" / "energy_model.safetensors"
        copy.write_bytes(b"damaged")
        assert models_in_use(store, tmp_path)[2] == "energy_model@0"
        refit = tmp_path / "models" / "3" / "energy_model.safetensors"
        refit.parent.mkdir()
        replace(shipped, spread=1.5).save(refit)
        digest = sha256(refit.read_bytes()).hexdigest()
        store.add_model(
            "energy_model", "energy_model@3", str(refit.relative_to(tmp_path)), digest, champion=True
        )
        base, used, version = models_in_use(store, tmp_path)
        assert (base.spread, used.spread, version) == (shipped.spread, 1.5, "energy_model@3")
        refit.unlink()
        with pytest.raises(
            CampaignError, match=r"models/3/energy_model\.safetensors is missing or was changed"
        ):
            models_in_use(store, tmp_path)
