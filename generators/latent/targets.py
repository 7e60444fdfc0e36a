"""What a campaign wants, in the words of the latent generator."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pymatgen.core as pmg
import torch

from generators.latent.asking import Scale, Wish
from generators.latent.tokens import ELEMENTS
from materials.archive import Archive
from materials.goals import Constraint, Objective
from materials.space import Space

STABILITY = "energy_above_hull"
HSE_TO_PBE = (0.82, -0.50)
"""Slope, and shift in eV: least squares over 1,950 semiconductors of the Materials Project with both gaps."""


def wish_of(space: Space) -> Wish:
    """The chemistry of a design space."""
    return Wish(
        elements=tuple(symbol for symbol in space.elements if pmg.Element(symbol).Z < ELEMENTS),
        required=space.required,
        formula=space.formula or "",
        charge_balanced=space.charge_balanced,
    )


def wanted_values(
    archive: Archive, scales: Sequence[Scale], number: int, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """For each property that the generator knows and the campaign wants, `number` values, drawn from what would do."""
    return {
        scale.name: low + (high - low) * torch.rand(number, generator=generator)
        for scale in scales
        if (limits := _limits(archive, scale)) is not None
        for low, high in [limits]
    }


def _limits(archive: Archive, scale: Scale) -> tuple[float, float] | None:
    """The lowest and the highest value that would do; None where the campaign does not care.

    Everybody wants what is stable, and the lower the better, whatever a constraint allows.
    """
    if scale.name == STABILITY:
        return scale.lowest, (scale.lowest + scale.center) / 2
    goals: list[Objective | Constraint] = [*archive.objectives, *archive.constraints]
    goal = next((goal for goal in goals if goal.property == scale.name), None)
    if goal is None:
        return None
    if isinstance(goal, Objective):
        return _of_objective(goal, scale)
    low = scale.lowest if goal.at_least == -math.inf else goal.at_least
    high = scale.highest if goal.at_most == math.inf else goal.at_most
    return (low, max(low, min(high, scale.highest))) if goal.at_most == math.inf else (min(low, high), high)


def _of_objective(goal: Objective, scale: Scale) -> tuple[float, float]:
    if goal.goal == "minimize":
        return scale.lowest, (scale.lowest + scale.center) / 2
    if goal.goal == "maximize":
        return (scale.highest + scale.center) / 2, scale.highest
    assert goal.target is not None
    within = goal.tolerance or 0.1 * scale.spread
    low, high = goal.target - within, goal.target + within
    if goal.fidelity is not None and "HSE" in goal.fidelity:
        slope, shift = HSE_TO_PBE
        return max(scale.lowest, slope * low + shift), max(scale.lowest, slope * high + shift)
    return low, high
