"""What comes and goes over the wire: strict, bounded, and told in the OpenAPI page."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from loop.database.lab_rows import LabEventRow, OrderRow
from oracles.lab.results import MeasuredValue


def _plain(text: str) -> str:
    """Text that every database and log can hold."""
    if any(ord(c) < 32 and c not in "\n\t" for c in text) or any(0xD800 <= ord(c) <= 0xDFFF for c in text):
        raise ValueError("control characters are not allowed")
    return text


Text = Annotated[str, Field(max_length=2000), AfterValidator(_plain)]
Lease = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$", description="As it was given with the order.")]
LeaseSeconds = Annotated[
    float,
    Field(ge=1, le=7 * 86_400, description="How long the order is this robot's without a further heartbeat."),
]


class Body(BaseModel):
    """Strict: an unknown key or another type is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class LeaseBody(Body):
    """Asks for work."""

    number: int = Field(default=1, ge=1, le=100, description="At most so many orders.")
    seconds: LeaseSeconds = 600.0


class HeartbeatBody(Body):
    """Says that an order is still worked on."""

    lease: Lease
    seconds: LeaseSeconds = 600.0


class ResultBody(Body):
    """What was measured."""

    lease: Lease | None = Field(default=None, description="Left out by an admin who answers by hand.")
    measurements: tuple[MeasuredValue, ...] = Field(min_length=1, max_length=50, strict=False)
    seconds: float = Field(default=0.0, ge=0, le=1e9, description="What making and measuring took.")
    notes: Text = ""


class FailureBody(Body):
    """Why an order gave no value."""

    lease: Lease | None = None
    message: Text = Field(min_length=1, description="A sentence a person can act on.")
    unknown: bool = Field(
        default=False,
        description="The robot does not know what it did, so a person has to decide before anything is repeated.",
    )


class DecisionBody(Body):
    """A person's decision about an order whose robot vanished."""

    decision: Literal["repeat", "give_up"]


class Told(BaseModel):
    """What became of a request."""

    key: str
    verdict: str


class OrderView(BaseModel):
    """An order, and where it stands."""

    key: str
    number: int
    status: str
    formula: str
    order: dict[str, Any]
    worker: str | None
    lease: str | None = Field(description="Told to the robot that holds it, and to nobody else.")
    lease_until: str | None
    stop_asked: bool = Field(description="Somebody wants the robot to stop and to post a failure.")
    times_leased: int
    outcome: dict[str, Any] | None
    ordered_at: str
    changed_at: str

    @classmethod
    def of(cls, row: OrderRow, holder: str) -> OrderView:
        """As `holder` may see it."""
        return cls(
            key=row.order.key,
            number=row.number,
            status=row.status,
            formula=row.order.formula,
            order=row.order.to_dict(),
            worker=row.worker,
            lease=row.lease if row.worker == holder else None,
            lease_until=row.lease_until,
            stop_asked=row.stop_asked,
            times_leased=row.times_leased,
            outcome=None if row.outcome is None else row.outcome.to_dict(),
            ordered_at=row.ordered_at,
            changed_at=row.changed_at,
        )


class EventView(BaseModel):
    """Something that happened."""

    key: str | None
    at: str
    who: str
    what: str
    detail: dict[str, Any]

    @classmethod
    def of(cls, row: LabEventRow) -> EventView:
        """The same on the wire, without leases: they are told to their holders only."""
        detail = {name: value for name, value in row.detail.items() if name != "lease"}
        return cls(key=row.key, at=row.at, who=row.who, what=row.what, detail=detail)


class FileView(BaseModel):
    """A file that was taken."""

    name: str
    sha256: str
    size: int
