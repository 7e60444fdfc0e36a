"""At which level a campaign wants band gaps, and the prior of that level."""

from __future__ import annotations

from typing import TYPE_CHECKING

from materials.properties import property_named

if TYPE_CHECKING:
    from loop.config import CampaignConfig
    from surrogates.prior import Prior

GAP = "band_gap"
NEAR_HSE = ("learned_HSE", "HSE", "experiment")
"""Fidelities to which an HSE gap is nearer than a PBE gap, which is too small by about a half."""


def gap_fidelity(config: CampaignConfig) -> str | None:
    """The fidelity of band gaps that counts: the one an objective names, else the most trusted that is measured."""
    named = [o.fidelity for o in config.objectives if o.property == GAP and o.fidelity is not None]
    ladder = property_named(GAP).fidelities
    measured = [o.fidelity for o in config.oracles if GAP in o.measures and o.fidelity in ladder]
    return named[0] if named else max(measured, key=ladder.index, default=None)


def gap_priors(config: CampaignConfig) -> list[Prior]:
    """The pretrained gap at HSE level where that is nearer to what counts; else nothing, and the PBE one is used."""
    from surrogates.gaussian_process import GaussianProcessSettings
    from surrogates.prior import HeadPrior

    surrogate = config.surrogate
    if not isinstance(surrogate, GaussianProcessSettings) or surrogate.prior == "none":
        return []
    if gap_fidelity(config) not in NEAR_HSE:
        return []
    return [HeadPrior(surrogate.descriptor_settings(), level="HSE")]
