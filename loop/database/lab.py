"""The lab's queue on the campaign's database: the driver gives orders, robots take and answer them.

Every method is one transaction. An order is queued, leased to a worker, and answered; one whose worker vanished is
`unknown` until a person decides, because nobody can say what the robot has already done.
"""

from __future__ import annotations

import secrets
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from loop.database.lab_rows import LabError, OrderRow, OrderStatus, Verdict, order_row
from loop.database.lab_tables import LabEvent, LabOrder, LabState
from loop.database.lab_view import LabView, Sessions
from loop.database.writing import now
from materials.evaluation import FailureKind, Outcome
from oracles.lab.base import Order
from oracles.lab.results import failed, same_answer

DRIVER = "driver"
"""Who the campaign itself is among those to whom things are put down."""


class LabDesk(LabView):
    """The queue of one campaign. Implements `oracles.lab.base.LabQueue`."""

    def __init__(self, read: Sessions, write: Sessions, campaign_id: int) -> None:
        super().__init__(read, campaign_id)
        self._write = write

    # What the driver does.

    def submit(self, order: Order) -> None:
        with self._write() as session:
            if session.get(LabOrder, (self._campaign_id, order.key)) is not None:
                return
            mine = LabOrder.campaign_id == self._campaign_id
            number = session.scalars(select(func.coalesce(func.max(LabOrder.number), 0)).where(mine)).one()
            session.add(
                LabOrder(
                    campaign_id=self._campaign_id,
                    key=order.key,
                    number=number + 1,
                    priority=order.priority,
                    status=OrderStatus.QUEUED,
                    order=order.to_dict(),
                    deadline=order.deadline,
                    stop_asked=False,
                    times_leased=0,
                    ordered_at=now(),
                    changed_at=now(),
                )
            )
            self._note(session, order.key, DRIVER, "ordered", {"formula": order.formula})

    def answer(self, key: str) -> Outcome | None:
        self.sweep()
        with self._read() as session:
            row = session.get(LabOrder, (self._campaign_id, key))
            return None if row is None or row.outcome is None else Outcome.from_dict(row.outcome)

    def cancel(self, key: str, who: str = DRIVER) -> bool:
        with self._write() as session:
            row = self._row(session, key, to_change=True)
            if row.status in (OrderStatus.QUEUED, OrderStatus.UNKNOWN):
                outcome = failed(
                    Order.from_dict(row.order), FailureKind.MISSING_ANSWER, f"cancelled by {who}"
                )
                _answer(row, outcome, OrderStatus.CANCELLED)
                self._note(session, key, who, "cancelled", {})
            elif row.status == OrderStatus.LEASED and not row.stop_asked:
                row.stop_asked, row.changed_at = True, now()
                self._note(session, key, who, "asked to stop", {"worker": row.worker})
            return row.status == OrderStatus.CANCELLED

    # What robots do.

    def lease(self, worker: str, number: int, seconds: float) -> list[OrderRow]:
        """Up to so many queued orders, the most urgent first, for this worker alone; none while paused."""
        self.sweep()
        with self._write() as session:
            state = session.get(LabState, self._campaign_id)
            if state is not None and state.paused:
                return []
            query = (
                select(LabOrder)
                .where(LabOrder.campaign_id == self._campaign_id, LabOrder.status == OrderStatus.QUEUED)
                .order_by(LabOrder.priority.desc(), LabOrder.number)
                .limit(number)
                .with_for_update(skip_locked=True)
            )
            rows = session.scalars(query).all()
            for row in rows:
                row.status, row.worker, row.lease = OrderStatus.LEASED, worker, secrets.token_hex(8)
                row.lease_until, row.changed_at = now(seconds), now()
                row.times_leased += 1
                self._note(session, row.key, worker, "leased", {"lease": row.lease, "until": row.lease_until})
            return [order_row(row) for row in rows]

    def heartbeat(self, key: str, worker: str, lease: str, seconds: float) -> OrderRow:
        """Keeps a lease for longer. Raises LabError where it is no longer this worker's."""
        with self._write() as session:
            row = self._leased(session, key, worker, lease)
            row.lease_until, row.changed_at = now(seconds), now()
            return order_row(row)

    def post(self, key: str, who: str, lease: str | None, outcome: Outcome) -> Verdict:
        """Takes an answer; the same one again changes nothing. lease: None where a person answers by hand.

        The last worker's answer counts also when its lease has lapsed: what was measured was measured. Raises
        LabError for another answer to an answered order, or one under a lease that somebody else has by now; what
        was said then is kept among the events.
        """
        with self._write() as session:
            row = self._row(session, key, to_change=True)
            if row.status == OrderStatus.CANCELLED:
                # The campaign has heard that nothing will come, so "accepted" would not be true.
                reason = f"order {key} was cancelled; what was measured enters with loop.tell, by its formula"
            elif row.outcome is not None:
                if same_answer(Outcome.from_dict(row.outcome), outcome):
                    self._note(session, key, who, "answered again", {})
                    return Verdict.REPEATED
                reason = f"order {key} is answered already, with other values"
            elif lease is not None and (row.lease != lease or row.worker != who):
                reason = f"order {key} is not leased to {who} under {lease}"
            else:
                _answer(row, outcome)
                self._note(session, key, who, f"answered: {outcome.status}", {"lease": lease})
                return Verdict.ACCEPTED
            self._note(
                session, key, who, "answer not taken", {"reason": reason, "outcome": outcome.to_dict()}
            )
        raise LabError("conflict", f"{reason}; yours is kept in the list of events")

    def give_back(self, key: str, worker: str, lease: str, reason: str) -> None:
        """The worker says that it does not know what happened, so that a person decides."""
        with self._write() as session:
            row = self._leased(session, key, worker, lease)
            row.status, row.changed_at = OrderStatus.UNKNOWN, now()
            self._note(session, key, worker, "unknown", {"reason": reason})

    # What people do.

    def decide(self, key: str, who: str, verdict: Literal["repeat", "give_up"]) -> None:
        """A person's decision about an unknown order: hand it out again, or count it as failed."""
        with self._write() as session:
            row = self._row(session, key, to_change=True)
            if row.status != OrderStatus.UNKNOWN:
                raise LabError(
                    "conflict", f"order {key} is {row.status}; only an unknown one needs a decision"
                )
            if verdict == "repeat":
                row.status, row.stop_asked = OrderStatus.QUEUED, False
            else:
                reason = f"given up by {who} after its worker {row.worker} vanished"
                _answer(row, failed(Order.from_dict(row.order), FailureKind.WORKER_LOST, reason))
            row.changed_at = now()
            self._note(session, key, who, f"decided: {verdict}", {})

    def pause(self, who: str, paused: bool) -> None:
        """Hands out nothing from now on, or again."""
        with self._write() as session:
            session.merge(LabState(campaign_id=self._campaign_id, paused=paused))
            self._note(session, None, who, "paused" if paused else "resumed", {})

    def sweep(self) -> None:
        """Notices leases that have lapsed and orders that nobody took until their deadline."""
        time, mine = now(), LabOrder.campaign_id == self._campaign_id
        lapsed = mine, LabOrder.status == OrderStatus.LEASED, LabOrder.lease_until <= time
        late = mine, LabOrder.status == OrderStatus.QUEUED, LabOrder.deadline < time
        with self._read() as session:
            if (
                not session.scalars(select(LabOrder.key).where(*lapsed)).first()
                and not session.scalars(select(LabOrder.key).where(*late)).first()
            ):
                return
        with self._write() as session:
            for row in session.scalars(select(LabOrder).where(*lapsed).with_for_update()):
                row.status, row.changed_at = OrderStatus.UNKNOWN, now()
                self._note(
                    session, row.key, DRIVER, "unknown", {"reason": "the lease lapsed", "worker": row.worker}
                )
            for row in session.scalars(select(LabOrder).where(*late).with_for_update()):
                reason = f"nobody took it until its deadline, {row.deadline}"
                _answer(row, failed(Order.from_dict(row.order), FailureKind.TIMEOUT, reason))
                self._note(session, row.key, DRIVER, "given up", {"reason": reason})

    def note(self, key: str | None, who: str, what: str, detail: dict[str, Any]) -> None:
        """Puts down something that happened."""
        with self._write() as session:
            self._note(session, key, who, what, detail)

    def _leased(self, session: Session, key: str, worker: str, lease: str) -> LabOrder:
        """The row, to change. Raises LabError where the order is no longer this worker's under this lease."""
        row = self._row(session, key, to_change=True)
        if row.status != OrderStatus.LEASED or row.lease != lease or row.worker != worker:
            raise LabError(
                "conflict",
                f"order {key} is {row.status} and no longer leased to {worker} under {lease}; stop",
            )
        return row

    def _note(self, session: Session, key: str | None, who: str, what: str, detail: dict[str, Any]) -> None:
        session.add(
            LabEvent(campaign_id=self._campaign_id, key=key, at=now(), who=who, what=what, detail=detail)
        )


def _answer(row: LabOrder, outcome: Outcome, status: OrderStatus = OrderStatus.ANSWERED) -> None:
    row.outcome, row.status, row.changed_at, row.stop_asked = outcome.to_dict(), status, now(), False
