"""What is known of relaxation and hull before the first round: a prior from single points of their potential."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loop.relaxed_line import relaxed_hull

if TYPE_CHECKING:
    from loop.config import CampaignConfig
    from surrogates.prior import Prior


def starting_energy_priors(config: CampaignConfig) -> list[Prior]:
    """The prior of energy_above_hull and formation_energy, or nothing where what it learned from is not what is done.

    It needs the surrogate `gp` with `prior: heads` and the descriptor `union` of the shipped potential, and a line that
    relaxes atoms and cell freely with that potential before the hull. Raises HeadError for weights of another version.
    """
    from surrogates.gaussian_process import GaussianProcessSettings
    from surrogates.heads.shipped import DESCRIPTORS, starting_energy_model
    from surrogates.starting_energy_prior import StartingEnergyPrior

    surrogate, hull = config.surrogate, relaxed_hull(config.oracles)
    if not isinstance(surrogate, GaussianProcessSettings) or surrogate.prior == "none" or hull is None:
        return []
    if surrogate.descriptor_settings().version != DESCRIPTORS["structure"].version:
        return []
    return [StartingEnergyPrior(hull.hull(), starting_energy_model())]
