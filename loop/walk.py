"""A candidate on its way down the line: what was measured so far, and what comes next. No effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from loop.line import Stage, following
from materials.base import Candidate, Material, Measurement
from materials.evaluation import Outcome


@dataclass
class Walk:
    """What the stages asked so far made of a candidate.

    measurements: in the order of the line, whatever the order in which its stages answered, so that a walk taken up
    again is as it was. answered: numbers of the stages that gave values; latest: the last of them; asked: the one that
    was asked last. doubt: why what was measured should not be believed, empty where nothing says so.
    """

    candidate: Candidate
    material: Material
    measurements: list[Measurement] = field(default_factory=list)
    answered: set[int] = field(default_factory=set)
    latest: Stage | None = None
    asked: Stage | None = None
    doubt: str = ""

    def heard(self, stage: Stage, doubt: str | None) -> None:
        """Notes that a stage gave values, and what it said of doubts."""
        self.answered.add(stage.number)
        self.latest = stage
        if doubt is not None:
            self.doubt = doubt

    def take(self, line: Sequence[Stage], stage: Stage, outcome: Outcome) -> None:
        """Takes over the values, the material and the doubt of a done outcome of a stage of the line."""
        places = {other.name: other.number for other in line}
        self.measurements += outcome.measurements
        self.measurements.sort(key=lambda measured: places.get(measured.oracle, -1))
        self.material = outcome.material or self.material
        self.heard(stage, outcome.doubt)

    def following(self, line: Sequence[Stage]) -> Stage | None:
        """The stage to ask next, whatever the gates say."""
        return following(line, self.answered, self.doubt)

    def stopped_by(self, line: Sequence[Stage]) -> str | None:
        """Why the line ends after the latest stage, in words: its gate, or a doubt that nothing judges."""
        if self.latest is None:
            return None
        reason = self.latest.closed_gate(self.measurements)
        if reason is None and self.doubt and self.following(line) is None:
            return f"{self.latest.name}: {self.doubt}"
        return reason
