"""What can be seen of the lab's queue."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy import select
from sqlalchemy.orm import Session

from loop.database.lab_rows import LabError, LabEventRow, OrderRow, OrderStatus, order_row
from loop.database.lab_tables import LabEvent, LabOrder, LabState

Sessions = Callable[[], AbstractContextManager[Session]]
"""Begins a transaction."""


class LabView:
    """The queue of one campaign, to look at."""

    def __init__(self, read: Sessions, campaign_id: int) -> None:
        self._read = read
        self._campaign_id = campaign_id

    def orders(self, *status: OrderStatus, worker: str | None = None) -> list[OrderRow]:
        """Orders in the order in which they were given, all or those of these states and of this worker."""
        query = select(LabOrder).where(LabOrder.campaign_id == self._campaign_id)
        if status:
            query = query.where(LabOrder.status.in_(status))
        if worker is not None:
            query = query.where(LabOrder.worker == worker)
        with self._read() as session:
            return [order_row(row) for row in session.scalars(query.order_by(LabOrder.number))]

    def order(self, key: str) -> OrderRow:
        """One order. Raises LabError where there is none."""
        with self._read() as session:
            return order_row(self._row(session, key))

    def paused(self) -> bool:
        """Whether orders are held back."""
        with self._read() as session:
            state = session.get(LabState, self._campaign_id)
            return state is not None and state.paused

    def events(self, key: str | None = None) -> list[LabEventRow]:
        """What happened, oldest first, to one order or to all."""
        query = select(LabEvent).where(LabEvent.campaign_id == self._campaign_id)
        if key is not None:
            query = query.where(LabEvent.key == key)
        with self._read() as session:
            return [
                LabEventRow(row.key, row.at, row.who, row.what, row.detail)
                for row in session.scalars(query.order_by(LabEvent.id))
            ]

    def _row(self, session: Session, key: str, *, to_change: bool = False) -> LabOrder:
        """The row; to change it, on PostgreSQL, for this transaction alone until it ends."""
        row = session.get(LabOrder, (self._campaign_id, key), with_for_update=to_change)
        if row is None:
            raise LabError("missing", f"there is no order {key}")
        return row
