"""What a `dft` block may say, and what its answers are told apart by."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from oracles.dft.oracle import DftSettings
from oracles.hull import HullSettings
from oracles.relax import RelaxSettings


def test_dft_energies_are_refused_by_the_hull() -> None:
    misfit = HullSettings().misfit([RelaxSettings(), DftSettings()])
    assert misfit is not None
    assert "cannot be compared" in misfit
    assert HullSettings().misfit([DftSettings(), RelaxSettings()]) is None
    assert DftSettings().energy_source != DftSettings(protocol="tight").energy_source


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ({"calculator": "gpwa"}, "none of gpaw"),
        ({"calculator": "cp2k"}, "band_gap: false"),
        ({"arguments": {"xc": "HSE06"}}, "labelled"),
        (
            {"calculator": "espresso", "arguments": {"input_data": {"system": {"input_dft": "b3lyp"}}}},
            "labelled",
        ),
        ({"protocol": "careful"}, "fast"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(block: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        DftSettings.model_validate(block)
