"""Builds what a campaign decides with from its file."""

from __future__ import annotations

from pathlib import Path

from generators.mixture import Mixture
from loop.config import CampaignConfig
from loop.decision import Decider
from loop.energy_screen import EnergyScreen
from loop.events import Stopwatch
from loop.executors.base import Dispatcher
from loop.features import CampaignFeatures
from loop.gap_level import gap_priors
from loop.looks import CampaignLooks
from loop.relaxed_line import hull_limit, relaxed_hull
from loop.starting_energies import starting_energy_priors
from oracles.reference_choice import SHIPPED_POTENTIAL
from surrogates.base import Surrogate


def build_decider(config: CampaignConfig, folder: Path, dispatcher: Dispatcher, watch: Stopwatch) -> Decider:
    """Generators, surrogate, acquisition and screen; descriptors and looks are computed on the dispatcher's workers."""
    return Decider(
        config.seed,
        config.space,
        Mixture([(g.share, g.kind, g.build(config.space)) for g in config.generators]),
        _surrogate(config, folder, dispatcher, watch) if config.acquisition.needs_model else None,
        config.acquisition.build(),
        config.budget.pool,
        config.budget.batch,
        _screen(config, folder, dispatcher, watch),
    )


def _surrogate(config: CampaignConfig, folder: Path, dispatcher: Dispatcher, watch: Stopwatch) -> Surrogate:
    goals = [o.property for o in config.objectives] + [c.property for c in config.constraints]
    features = CampaignFeatures(config.surrogate.descriptor_settings(), folder, dispatcher, watch)
    priors = [*starting_energy_priors(config), *gap_priors(config)]
    return config.surrogate.build(tuple(dict.fromkeys(goals)), features, priors)


def _screen(
    config: CampaignConfig, folder: Path, dispatcher: Dispatcher, watch: Stopwatch
) -> EnergyScreen | None:
    limit, hull = hull_limit(config.oracles, config.constraints), relaxed_hull(config.oracles)
    if config.energy_model is None or limit is None or hull is None:
        return None
    looks = CampaignLooks(SHIPPED_POTENTIAL, folder, dispatcher, watch)
    return EnergyScreen(looks, hull.hull(), limit, config.energy_model.least_chance)
