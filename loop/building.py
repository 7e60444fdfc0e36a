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
from loop.hull_limit import POTENTIAL, hull_limit
from loop.looks import CampaignLooks
from oracles.hull import HullSettings
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
    return config.surrogate.build(tuple(dict.fromkeys(goals)), features)


def _screen(
    config: CampaignConfig, folder: Path, dispatcher: Dispatcher, watch: Stopwatch
) -> EnergyScreen | None:
    limit = hull_limit(config.oracles, config.constraints)
    if config.energy_model is None or limit is None:
        return None
    looks = CampaignLooks(POTENTIAL, folder, dispatcher, watch)
    (hull,) = [oracle.hull() for oracle in config.oracles if isinstance(oracle, HullSettings)]
    return EnergyScreen(looks, hull, limit, config.energy_model.least_chance)
