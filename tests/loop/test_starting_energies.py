"""When a campaign starts with a prior of the energy above the hull, and what its first round says with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loop.config import CampaignConfig
from loop.database.store import Store
from loop.engine import Campaign
from loop.starting_energies import starting_energy_priors

RELAX, HULL = {"kind": "relax"}, {"kind": "hull"}


def config(**changes: Any) -> CampaignConfig:
    crystals = {
        "name": "test",
        "space": {"elements": ["Mg", "O", "N"], "required": ["Mg"], "number_of_atoms": [2, 6]},
        "objectives": [{"property": "energy_above_hull", "goal": "minimize"}],
        "oracles": [RELAX, HULL],
        "tracking": "none",
    }
    return CampaignConfig.model_validate(crystals | changes)


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        ({}, ("energy_above_hull", "formation_energy")),
        ({"oracles": [RELAX, {"kind": "hull", "correction": "none"}]}, ("energy_above_hull",)),
        ({"surrogate": {"kind": "gp", "prior": "none"}}, ()),
        ({"surrogate": {"kind": "gp", "descriptor": "composition"}}, ()),
        ({"surrogate": {"kind": "gp", "potential": "7net-l3i5"}}, ()),
        ({"oracles": [RELAX | {"keep_symmetry": True}, HULL]}, ()),
        ({"oracles": [RELAX | {"fmax": 0.5}, HULL]}, ()),
        ({"oracles": [RELAX, RELAX | {"fmax": 0.01}, HULL]}, ()),
        (
            {
                "oracles": [RELAX],
                "objectives": [{"property": "energy_per_atom", "goal": "minimize"}],
            },
            (),
        ),
    ],
)
def test_it_is_given_only_where_the_line_does_what_it_learned_from(
    changes: dict[str, Any], known: tuple[str, ...]
) -> None:
    priors = starting_energy_priors(config(**changes))
    assert tuple(name for prior in priors for name in prior.properties) == known


@pytest.mark.slow
def test_the_first_round_already_predicts_and_picks_by_it(tmp_path: Path) -> None:
    few = config(budget={"rounds": 1, "batch": 2, "pool": 12}, executor={"kind": "serial"}, seed=3)
    with Campaign(few, tmp_path) as campaign:
        campaign.run()
    with Store.open(tmp_path / "campaign.db", "test", create=False) as store:
        told = {i: p for i, row in store.predictions(1).items() for p in row}
        picked = [s.candidate.id for s in store.selections(1)]
        assert "nothing is measured yet" in store.selections(1)[0].reason
        measured = {r.id: r.value("energy_above_hull") for r in campaign.archive().evaluated}
    means = np.array([p.mean for p in told.values()])
    assert len(told) == 12
    assert np.mean([told[i].mean for i in picked]) < np.median(means)
    for i, value in measured.items():
        assert value is None or abs(value - told[i].mean) < 4 * told[i].std
