"""Where HSE gaps count, a campaign starts from HSE gaps: PBE ones are too small by about a half."""

from __future__ import annotations

from typing import Any

import pytest
from test_starting_energies import HULL, RELAX, config

from loop.gap_level import gap_priors
from materials.base import Composition
from surrogates.descriptors import DescriptorSettings
from surrogates.heads.shipped import shipped_descriptor
from surrogates.prior import HeadPrior

PBE, HSE = ({"kind": "learned", "measures": ["band_gap"], "imitates": level} for level in ("PBE", "HSE"))
GAP = {"property": "band_gap", "goal": "target", "target": 1.4}


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        ({"oracles": [RELAX, HULL, HSE], "objectives": [GAP]}, ("band_gap",)),
        ({"oracles": [RELAX, HULL, HSE], "objectives": [GAP | {"fidelity": "learned_HSE"}]}, ("band_gap",)),
        ({"oracles": [RELAX, HULL, PBE, HSE], "objectives": [GAP | {"fidelity": "learned"}]}, ()),
        ({"oracles": [RELAX, HULL, PBE], "objectives": [GAP]}, ()),
        (
            {
                "oracles": [RELAX, HULL, HSE],
                "objectives": [GAP],
                "surrogate": {"kind": "gp", "prior": "none"},
            },
            (),
        ),
        ({}, ()),
    ],
)
def test_it_is_given_where_hse_gaps_count(changes: dict[str, Any], known: tuple[str, ...]) -> None:
    priors = gap_priors(config(**changes))
    assert tuple(name for prior in priors for name in prior.properties) == known


def test_it_tells_larger_gaps_than_that_of_pbe() -> None:
    descriptor = DescriptorSettings(kind="composition")
    formulas = [Composition(formula) for formula in ("Na2S", "MgO", "ZnO")]
    described = shipped_descriptor("composition").describe(formulas).astype(float)
    pbe, _ = HeadPrior(descriptor).predict("band_gap", formulas, described)
    hse, _ = HeadPrior(descriptor, level="HSE").predict("band_gap", formulas, described)
    assert (hse > pbe + 0.3).all()
