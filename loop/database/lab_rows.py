"""What the lab's queue hands out, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from loop.database.lab_tables import LabOrder
from materials.evaluation import Outcome
from oracles.lab.base import Order


class OrderStatus(StrEnum):
    """Where an order stands. An unknown one, whose worker vanished, waits for a person's decision."""

    QUEUED = "queued"
    LEASED = "leased"
    UNKNOWN = "unknown"
    ANSWERED = "answered"
    CANCELLED = "cancelled"


class Verdict(StrEnum):
    """What became of an answer."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"


class LabError(Exception):
    """Something the queue does not do; the message says why, for the one who asked."""

    def __init__(self, kind: Literal["conflict", "missing"], message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class OrderRow:
    """An order and where it stands. `worker` and `lease` are of whoever took it last. Times: UTC, ISO 8601."""

    order: Order
    number: int
    status: OrderStatus
    worker: str | None
    lease: str | None
    lease_until: str | None
    stop_asked: bool
    times_leased: int
    outcome: Outcome | None
    ordered_at: str
    changed_at: str


@dataclass(frozen=True)
class LabEventRow:
    """Something that happened to an order (`key`) or to the queue."""

    key: str | None
    at: str
    who: str
    what: str
    detail: Mapping[str, Any]


def order_row(row: LabOrder) -> OrderRow:
    """The row as a frozen value."""
    return OrderRow(
        order=Order.from_dict(row.order),
        number=row.number,
        status=OrderStatus(row.status),
        worker=row.worker,
        lease=row.lease,
        lease_until=row.lease_until,
        stop_asked=row.stop_asked,
        times_leased=row.times_leased,
        outcome=None if row.outcome is None else Outcome.from_dict(row.outcome),
        ordered_at=row.ordered_at,
        changed_at=row.changed_at,
    )
