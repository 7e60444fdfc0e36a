"""`kind: lab`: orders in the campaign's own database, which a robot or a person takes from `python -m loop.serve`."""

from __future__ import annotations

from typing import Any, Literal

from materials.evaluation import Outcome, Ticket
from oracles.base import TicketOracle
from oracles.lab.asking import LabOracleSettings, LabTicketOracle
from oracles.lab.base import LabQueue, Order, QueuedOracleSettings


class LabSettings(LabOracleSettings, QueuedOracleSettings):
    """A synthesis-and-measurement robot, or people: orders wait in the campaign's database until they are answered.

    Answers enter as measurements of fidelity `experiment`, the most trusted one.
    """

    kind: Literal["lab"] = "lab"

    def build_on(self, queue: LabQueue) -> TicketOracle:
        return LabOracle(self, queue)


class LabOracle(LabTicketOracle):
    """Puts orders into the queue and looks whether they are answered."""

    def __init__(self, settings: LabSettings, queue: LabQueue) -> None:
        super().__init__(settings)
        self._queue = queue

    def _give(self, order: Order) -> dict[str, Any]:
        self._queue.submit(order)
        return {}

    def _answer(self, ticket: Ticket) -> Outcome | None:
        return self._queue.answer(ticket.key)

    def _stop(self, ticket: Ticket) -> bool:
        return self._queue.cancel(ticket.key)
