"""What a campaign wants: objectives to improve and constraints to satisfy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from materials.base import Bound, Goal, Measurement


@dataclass(frozen=True)
class Objective:
    """Improve `property`; a target goal wants |value - target| within `tolerance` (property's unit)."""

    property: str
    goal: Goal
    target: float | None = None
    tolerance: float | None = None
    fidelity: str | None = None

    def __post_init__(self) -> None:
        if self.goal == "target" and self.target is None:
            raise ValueError(f"{self.property}: the goal target needs a target value")

    def known_by(self, bound: Bound) -> bool:
        """Whether a measurement with that bound says how good the material is at least: never by its better side."""
        if bound is Bound.EXACT:
            return True
        worst_side = {"maximize": Bound.LOWER, "minimize": Bound.UPPER}
        return worst_side.get(self.goal) is bound

    def score(self, value: float) -> float:
        """The value turned so that larger is better, in the property's unit.

        maximize: value; minimize: -value; target: -max(0, |value - target| - tolerance).
        """
        if self.goal == "maximize":
            return value
        if self.goal == "minimize":
            return -value
        assert self.target is not None
        return -max(0.0, abs(value - self.target) - (self.tolerance or 0.0))


@dataclass(frozen=True)
class Constraint:
    """`at_least` <= property <= `at_most`, in the property's unit; either side may be open."""

    property: str
    at_least: float = -math.inf
    at_most: float = math.inf

    def kept_by(self, measurement: Measurement) -> bool:
        """Whether a measurement proves it: an upper bound proves no `at_least`, a lower one no `at_most`."""
        if measurement.bound is Bound.UPPER and self.at_least > -math.inf:
            return False
        if measurement.bound is Bound.LOWER and self.at_most < math.inf:
            return False
        return self.satisfied(measurement.value)

    def satisfied(self, value: float) -> bool:
        """Whether a measured value keeps the constraint; NaN never does."""
        return self.at_least <= value <= self.at_most

    def __str__(self) -> str:
        parts = []
        if self.at_least > -math.inf:
            parts.append(f"at least {self.at_least:g}")
        if self.at_most < math.inf:
            parts.append(f"at most {self.at_most:g}")
        return f"{self.property} {' and '.join(parts)}"
