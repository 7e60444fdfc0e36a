"""`kind: sila2`: a lab behind a SiLA 2 server (sila-standard.org) with the feature Synthesis And Measurement.

The feature ships as `features/SynthesisAndMeasurement.sila.xml`; a lab implements it in front of its devices.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from importlib import import_module
from typing import Any, ClassVar, Literal, Self
from uuid import UUID

from pydantic import Field, ValidationError, ValidationInfo, model_validator

from materials.evaluation import Failure, FailureKind, Outcome, Status, Ticket
from materials.settings import is_looking
from oracles.base import TicketOracle
from oracles.lab.asking import LabOracleSettings, LabTicketOracle, Place, kept, needed
from oracles.lab.base import Order
from oracles.lab.results import BadResultError, Entry, done, failed, measurements_of, told
from oracles.lab.wire import is_loopback

PAUSE_WHILE_GIVING = 0.05


class Sila2Settings(LabOracleSettings):
    """A lab behind a SiLA 2 server that has the feature Synthesis And Measurement (docs/lab-elsewhere.md)."""

    kind: Literal["sila2"] = "sila2"
    without_meaning: ClassVar[tuple[str, ...]] = (
        *LabOracleSettings.without_meaning,
        *("address", "port", "server_name", "server_uuid", "certificate", "insecure", "timeout", "pause"),
    )

    address: str | None = None
    """Of the server, such as robot.example.org; left out, it is looked for on the local network by name or UUID."""
    port: int = Field(default=50052, ge=1, le=65535)
    """Of the server, where an address is given."""
    server_name: str | None = None
    """The SiLA Server Name to look for."""
    server_uuid: UUID | None = None
    """The SiLA Server UUID to look for."""
    certificate: Place | None = None
    """A PEM file of the authority that signed the server's certificate, where it is not a public one."""
    insecure: bool = False
    """Without encryption; for a server on this machine only."""
    timeout: float = Field(default=30.0, gt=0)
    """Seconds for one question and its answer, and for looking for a server."""
    pause: float = Field(default=5.0, ge=0)
    """Seconds between two questions about one order."""

    @model_validator(mode="after")
    def _before_protobuf(self, info: ValidationInfo) -> Self:
        """Imports the package with the campaign file, before anything (mlflow) that imports protobuf's own descriptors.

        sila2 0.14 describes SiLAFramework.proto twice, as shipped and as compiled at import, not quite alike; protobuf
        compares the two only once it has those descriptors, and then refuses.
        """
        if not is_looking(info):
            with suppress(ImportError):
                import_module("sila2.client")
        return self

    @model_validator(mode="after")
    def _one_way_to_it(self, info: ValidationInfo) -> Self:
        looked_for = self.server_name is not None or self.server_uuid is not None
        if (self.address is None) != looked_for:
            raise ValueError("give either address and port, or server_name or server_uuid to look for")
        if self.insecure and (self.address is None or not is_loopback(self.address)):
            raise ValueError(
                "insecure is for a server on this machine; give the server's certificate instead"
            )
        if looked_for and self.certificate is None:
            raise ValueError(
                "whoever answers first could pretend to be the server looked for; give its certificate"
            )
        if not is_looking(info):
            needed("sila2")
        return self

    def build(self) -> TicketOracle:
        return Sila2Oracle(self)


class Sila2Oracle(LabTicketOracle):
    """Gives orders as observable commands, and asks by their keys what became of them, so a restart loses nothing."""

    def __init__(self, settings: Sila2Settings) -> None:
        from oracles.lab.sila2_client import Server

        super().__init__(settings)
        self._sila2 = settings
        self._server = Server(
            address=settings.address,
            port=settings.port,
            server_name=settings.server_name,
            server_uuid=None if settings.server_uuid is None else str(settings.server_uuid),
            certificate=settings.certificate,
            insecure=settings.insecure,
            timeout=settings.timeout,
        )
        self._not_before: dict[str, float] = {}

    def _give(self, order: Order) -> dict[str, Any]:
        """Returns when the server knows the order, so that none is believed to be given that never arrived."""
        if self._server.result_of(order.key).state == "Unknown":
            told_order = {**order.to_dict(), "deadline_hours": self._sila2.deadline_hours}
            del told_order["deadline"]
            self._server.make_and_measure(order.key, json.dumps(told_order))
        end = time.monotonic() + self._sila2.timeout
        while self._server.result_of(order.key).state == "Unknown":
            if time.monotonic() > end:
                raise ConnectionError(f"the server took the order {order.key} and does not know it")
            time.sleep(PAUSE_WHILE_GIVING)
        return {"order": kept(order)}

    def _answer(self, ticket: Ticket) -> Outcome | None:
        if self._server.absence.seconds_left or time.monotonic() < self._not_before.get(ticket.key, 0.0):
            return None
        self._not_before[ticket.key] = time.monotonic() + self._sila2.pause
        order = Order.from_dict(ticket.handle["order"])
        said = self._server.result_of(ticket.key)
        if said.state == "Done":
            return _done(order, said.result)
        if said.state == "Failed":
            return failed(order, FailureKind.ERROR, said.message[:1000] or "the lab does not say why")
        if said.state == "Refused":
            failure = Failure(FailureKind.BAD_INPUT, said.message[:1000] or "the lab does not say why")
            return Outcome(order.key, order.candidate_id, order.oracle, Status.REJECTED, failure=failure)
        if said.state == "Cancelled":
            return failed(order, FailureKind.MISSING_ANSWER, "it was cancelled")
        if said.state == "Lost":
            # Of no kind that is asked again by itself: nobody knows what was made already.
            return failed(order, FailureKind.MISSING_ANSWER, said.message[:1000] or "the lab lost it")
        if said.state not in ("Waiting", "Working"):
            raise ConnectionError(f"the server says that the order {ticket.key} is {said.state}")
        return None

    def _stop(self, ticket: Ticket) -> bool:
        return self._server.cancel(ticket.key)


def _done(order: Order, result: str) -> Outcome:
    try:
        entry = Entry.model_validate_json(result)
        measured = measurements_of(order, entry.measurements)
    except ValidationError as error:
        return failed(order, FailureKind.BAD_RESULT, "; ".join(told(error))[:1000])
    except BadResultError as error:
        return failed(order, FailureKind.BAD_RESULT, str(error)[:1000])
    return done(order, measured, entry.seconds, {"notes": entry.notes})
