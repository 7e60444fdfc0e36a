"""The contract of a lab: orders go into a durable queue, answers come out of it.

The queue is a protocol here; `loop` implements it on the campaign's database and hands it in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, Self

from materials.evaluation import Outcome
from oracles.base import TicketOracle, TicketOracleSettings


@dataclass(frozen=True)
class Target:
    """A property the lab is asked to measure, in its registry unit, at the conditions given (in registry units)."""

    property: str
    unit: str
    fidelity: str
    conditions: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Precursor:
    """What to weigh in: a compound of the inventory and its mass in grams, impurities included."""

    formula: str
    grams: float


@dataclass(frozen=True)
class Order:
    """What the lab is asked to make and measure, under the evaluation's key: one key is made once.

    `material` is the exact serialisation of the structure or composition that is wanted; `grams` what the precursors
    give of it. `deadline`: UTC, ISO 8601; what nobody has taken until then is given up.
    """

    key: str
    candidate_id: str
    oracle: str
    formula: str
    material: Mapping[str, Any]
    targets: tuple[Target, ...]
    precursors: tuple[Precursor, ...] = ()
    grams: float | None = None
    recipe: Mapping[str, Any] | None = None
    priority: int = 0
    deadline: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        targets = tuple(Target(**target) for target in data["targets"])
        precursors = tuple(Precursor(**precursor) for precursor in data["precursors"])
        return cls(**{**data, "targets": targets, "precursors": precursors})


class LabQueue(Protocol):
    """Where orders wait, whatever happens to the program that gave or that takes them."""

    def submit(self, order: Order) -> None:
        """Keeps an order; one with a known key changes nothing."""

    def answer(self, key: str) -> Outcome | None:
        """What came back, or None while nothing has."""

    def cancel(self, key: str) -> bool:
        """Whether the order will not be carried out; one that a robot works on is only asked to stop."""


class QueuedOracleSettings(TicketOracleSettings):
    """A block whose oracle works on the campaign's own queue, which the driver hands in."""

    def build(self) -> TicketOracle:
        raise TypeError(f"an oracle of kind {self.kind} needs the campaign's queue; use build_on")

    def build_on(self, queue: LabQueue) -> TicketOracle:
        """The oracle, on the queue."""
        raise NotImplementedError
