"""`kind: lab`: orders in the campaign's own database, which a robot or a person takes from `python -m loop.serve`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from materials.evaluation import Failure, FailureKind, Outcome, Request, Status, Ticket
from materials.properties import property_named
from oracles.base import TicketOracle
from oracles.lab.base import LabQueue, Order, Precursor, QueuedOracleSettings, Target
from oracles.lab.precursors import InventoryItem, UnbalancedError, weighed

LEVEL = "experiment"
CANNOT_BE_MADE = "cannot_be_made"
"""Where a ticket says why no order was given."""


def _measurable(name: str) -> str:
    known = property_named(name)
    if LEVEL not in known.fidelities:
        raise ValueError(f"{name} is nothing a lab measures; it is known as {', '.join(known.fidelities)}")
    return known.name


class LabSettings(QueuedOracleSettings):
    """A synthesis-and-measurement robot, or people: orders wait in the campaign's database until they are answered.

    Answers enter as measurements of fidelity `experiment`, the most trusted one.
    """

    # The base declares `measures` as a property, so the field needs a name of its own.
    model_config = ConfigDict(serialize_by_alias=True)
    material_kinds: ClassVar[tuple[str, ...]] = ("crystal", "composition")
    typical_seconds: ClassVar[float] = 6 * 3600.0

    kind: Literal["lab"] = "lab"
    properties: tuple[Annotated[str, AfterValidator(_measurable)], ...] = Field(
        alias="measures", min_length=1
    )
    """What the lab measures of each material."""
    conditions: dict[str, float] = Field(default_factory=dict)
    """Conditions of the measurements, such as {temperature: 300} (K)."""
    inventory: tuple[InventoryItem, ...] = ()
    """Compounds on the shelf; with them an order says what to weigh in, and what cannot be made is refused."""
    grams: float = Field(default=1.0, gt=0)
    """How much of each material to make."""
    gases: tuple[str, ...] = ("CO2", "H2O", "NH3", "O2")
    """What may leave the mixture when it is heated; O2 and N2 may also be taken up."""
    priority: int = 0
    """Orders of a higher priority are taken first."""
    deadline_hours: float | None = Field(default=None, gt=0)
    """Hours after which an order that nobody has taken is given up."""

    @model_validator(mode="after")
    def _each_once(self) -> LabSettings:
        if len(set(self.properties)) < len(self.properties):
            raise ValueError("a property is named twice under measures; keep one of them")
        return self

    def meaning(self) -> dict[str, Any]:
        """What is measured and how; shelf, amounts and order of work change no answer."""
        return {"kind": self.kind, "measures": sorted(self.properties), "conditions": self.conditions}

    @property
    def measures(self) -> tuple[str, ...]:
        return self.properties

    @property
    def fidelity(self) -> str:
        return LEVEL

    def build_on(self, queue: LabQueue) -> TicketOracle:
        return LabOracle(self, queue)

    def order(self, request: Request) -> Order:
        """What the lab is asked. Raises UnbalancedError where the inventory cannot give the material."""
        formula = request.material.formula
        precursors: tuple[Precursor, ...] = ()
        if self.inventory:
            precursors = weighed(formula, self.inventory, self.gases, self.grams)
        recipe = request.candidate.recipe
        return Order(
            key=request.key,
            candidate_id=request.candidate.id,
            oracle=request.oracle,
            formula=formula,
            material=request.material.to_dict(),
            targets=tuple(self._target(name, request) for name in self.properties),
            precursors=precursors,
            grams=self.grams if precursors else None,
            recipe=None if recipe is None else asdict(recipe),
            priority=self.priority,
            deadline=self._deadline(),
        )

    def _target(self, name: str, request: Request) -> Target:
        return Target(name, property_named(name).unit, LEVEL, {**self.conditions, **request.conditions})

    def _deadline(self) -> str | None:
        if self.deadline_hours is None:
            return None
        return (datetime.now(UTC) + timedelta(hours=self.deadline_hours)).isoformat(timespec="milliseconds")


class LabOracle(TicketOracle):
    """Puts orders into the queue and looks whether they are answered."""

    def __init__(self, settings: LabSettings, queue: LabQueue) -> None:
        self._settings = settings
        self._queue = queue

    def submit(self, requests: Sequence[Request]) -> list[Ticket]:
        return [self._submit(request) for request in requests]

    def _submit(self, request: Request) -> Ticket:
        try:
            self._queue.submit(self._settings.order(request))
        except UnbalancedError as error:
            handle = {CANNOT_BE_MADE: str(error), "candidate": request.candidate.id}
            return Ticket(request.oracle, request.key, handle)
        return Ticket(request.oracle, request.key)

    def poll(self, ticket: Ticket) -> Outcome | None:
        if CANNOT_BE_MADE in ticket.handle:
            failure = Failure(FailureKind.UNSUPPORTED_MATERIAL, str(ticket.handle[CANNOT_BE_MADE]))
            candidate = str(ticket.handle["candidate"])
            return Outcome(ticket.key, candidate, ticket.oracle, Status.REJECTED, failure=failure)
        return self._queue.answer(ticket.key)

    def cancel(self, ticket: Ticket) -> bool:
        return self._queue.cancel(ticket.key)
