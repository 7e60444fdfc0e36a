"""What is known of relaxation and hull before the first round: a prior from single points of their potential."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loop.config import CampaignConfig
    from oracles.base import OracleSettings
    from oracles.hull import HullSettings
    from surrogates.prior import Prior

LOOSEST = 0.1
"""eV/angstrom; the prior learned from relaxations to 0.05, and one that ends sooner ends elsewhere."""


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


def relaxed_hull(oracles: tuple[OracleSettings, ...]) -> HullSettings | None:
    """The first hull of a line, where the energy it judges is that of a free relaxation with the shipped potential."""
    from materials.potential import potential_version
    from oracles.hull import SHIPPED_POTENTIAL, HullSettings
    from oracles.relax import RelaxSettings

    number = next((i for i, oracle in enumerate(oracles) if isinstance(oracle, HullSettings)), None)
    if number is None:
        return None
    hull = oracles[number]
    makers = [oracle for oracle in oracles[:number] if "energy_per_atom" in oracle.measures]
    assert isinstance(hull, HullSettings)
    if len(makers) != 1 or not isinstance(relax := makers[0], RelaxSettings):
        return None
    free = relax.cell and not relax.keep_symmetry and relax.fmax <= LOOSEST
    return hull if free and relax.model_version() == potential_version(SHIPPED_POTENTIAL, None) else None
