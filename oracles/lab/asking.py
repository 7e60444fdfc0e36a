"""What every kind of lab shares: what it measures, what it is asked, and tickets of what it will never make."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from materials.evaluation import Failure, FailureKind, Outcome, Request, Status, Ticket
from materials.properties import property_named, wrong_conditions
from oracles.base import TicketOracle, TicketOracleSettings
from oracles.lab.base import Order, Precursor, Target
from oracles.lab.precursors import Formula, InventoryItem, UnbalancedError, weighed

LEVEL = "experiment"
CANNOT_BE_MADE = "cannot_be_made"
"""Where a ticket says why no order was given."""


def _measurable(name: str) -> str:
    known = property_named(name)
    if LEVEL not in known.fidelities:
        raise ValueError(f"{name} is nothing a lab measures; it is known as {', '.join(known.fidelities)}")
    return known.name


def _beside_the_file(path: str, info: ValidationInfo) -> str:
    folder = (info.context or {}).get("folder")
    expanded = Path(path).expanduser()
    return str(expanded if folder is None else (Path(folder) / expanded).resolve())


Place = Annotated[str, AfterValidator(_beside_the_file)]
"""Something beside the file that is no input: another content of it makes no other campaign."""


class LabOracleSettings(TicketOracleSettings):
    """What is asked of any lab. Answers enter as measurements of fidelity `experiment`, the most trusted one."""

    # The base declares `measures` as a property, so the field needs a name of its own.
    model_config = ConfigDict(serialize_by_alias=True)
    material_kinds: ClassVar[tuple[str, ...]] = ("crystal", "composition")
    typical_seconds: ClassVar[float] = 6 * 3600.0
    without_meaning: ClassVar[tuple[str, ...]] = (
        *TicketOracleSettings.without_meaning,
        *("inventory", "grams", "gases", "priority", "deadline_hours"),
    )

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
    gases: tuple[Formula, ...] = ("CO2", "H2O", "NH3", "O2")
    """What may leave the mixture when it is heated; O2 and N2 may also be taken up."""
    priority: int = 0
    """Orders of a higher priority are taken first."""
    deadline_hours: float | None = Field(default=None, gt=0)
    """Hours after which an order that nobody has taken is given up."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.properties)) < len(self.properties):
            raise ValueError("a property is named twice under measures; keep one of them")
        return self

    @field_validator("conditions")
    @classmethod
    def _possible(cls, conditions: dict[str, float]) -> dict[str, float]:
        if problems := wrong_conditions(conditions):
            raise ValueError("; ".join(problems))
        return conditions

    def meaning(self) -> dict[str, Any]:
        """What is measured and how; shelf, amounts and order of work change no answer, nor does the way to the lab."""
        return {"kind": self.kind, "measures": sorted(self.properties), "conditions": self.conditions}

    @property
    def measures(self) -> tuple[str, ...]:
        return self.properties

    @property
    def fidelity(self) -> str:
        return LEVEL

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


def needed(module: str) -> None:
    """Raises ValueError with the remedy where a library that a kind of lab needs is not installed."""
    if find_spec(module) is None:
        raise ValueError(f"it needs the library {module}: pip install 'matloop[lab]'")


def kept(order: Order) -> dict[str, Any]:
    """Of an order what a later driver needs to judge its answer; small enough for a ticket."""
    return replace(order, material={}, precursors=(), recipe=None).to_dict()


class RefusedOrderError(Exception):
    """The lab will never carry out this order; the message is its reason."""


class LabTicketOracle(TicketOracle):
    """Gives orders and asks for answers; a subclass says how. What cannot be made never reaches the lab."""

    def __init__(self, settings: LabOracleSettings) -> None:
        self._settings = settings

    def submit(self, requests: Sequence[Request]) -> list[Ticket]:
        return [self._submit(request) for request in requests]

    def _submit(self, request: Request) -> Ticket:
        try:
            return Ticket(request.oracle, request.key, self._give(self._settings.order(request)))
        except UnbalancedError as error:
            return _never(request, FailureKind.UNSUPPORTED_MATERIAL, error)
        except RefusedOrderError as error:
            return _never(request, FailureKind.BAD_INPUT, error)

    def poll(self, ticket: Ticket) -> Outcome | None:
        if CANNOT_BE_MADE not in ticket.handle:
            return self._answer(ticket)
        kind = FailureKind(ticket.handle.get("failure", FailureKind.UNSUPPORTED_MATERIAL))
        failure = Failure(kind, str(ticket.handle[CANNOT_BE_MADE]))
        candidate = str(ticket.handle["candidate"])
        return Outcome(ticket.key, candidate, ticket.oracle, Status.REJECTED, failure=failure)

    def cancel(self, ticket: Ticket) -> bool:
        return CANNOT_BE_MADE in ticket.handle or self._stop(ticket)

    @abstractmethod
    def _give(self, order: Order) -> dict[str, Any]:
        """Gives an order once, however often it is called, and returns what finds it again.

        Raises RefusedOrderError, or OSError where the lab cannot be reached now.
        """

    @abstractmethod
    def _answer(self, ticket: Ticket) -> Outcome | None:
        """The lab's answer, or None while there is none. Raises OSError where it cannot be asked now."""

    @abstractmethod
    def _stop(self, ticket: Ticket) -> bool:
        """Whether the order will not be carried out. Raises OSError where the lab cannot be reached now."""


def _never(request: Request, kind: FailureKind, reason: Exception) -> Ticket:
    handle = {CANNOT_BE_MADE: str(reason), "candidate": request.candidate.id, "failure": str(kind)}
    return Ticket(request.oracle, request.key, handle)
