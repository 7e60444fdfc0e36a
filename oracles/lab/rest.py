"""`kind: rest`: gives orders to a lab's own server and asks it for answers."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from materials.evaluation import FailureKind, Outcome, Ticket
from oracles.lab.asking import LabTicketOracle, RefusedOrderError, kept
from oracles.lab.base import Order
from oracles.lab.mapping import MissingError, at, filled, filled_path
from oracles.lab.rest_settings import PollSettings, RestSettings
from oracles.lab.results import BadResultError, MeasuredValue, done, failed, measurements_of, told
from oracles.lab.wire import OutageError, RefusalError, Wire, from_environment

WRONG_PATH = (404, 405)
CONFLICT = 409
"""Of an order whose first copy is still being worked on (the IETF's draft on the Idempotency-Key header)."""
GROWTH = 1.5


class RestOracle(LabTicketOracle):
    """Every order goes out with its key as Idempotency-Key, so that one sent twice is made once."""

    def __init__(self, settings: RestSettings) -> None:
        super().__init__(settings)
        self._rest = settings
        headers = {name: from_environment(value) for name, value in settings.headers.items()}
        self._wire = Wire(settings.url, headers, settings.timeout, settings.certificate)
        self._paces: dict[str, _Pace] = {}

    def _give(self, order: Order) -> dict[str, Any]:
        submit = self._rest.submit
        path = filled_path(submit.path, {"key": order.key})
        body = filled(submit.body, self._rest.fields(order))
        try:
            answer = self._wire.ask(submit.method, path, body, {"Idempotency-Key": order.key})
        except RefusalError as error:
            if error.status in WRONG_PATH:  # says more about the campaign file than about the order
                raise OutageError(f"{error}; check url and submit.path") from error
            if error.status == CONFLICT:
                raise OutageError(str(error)) from error
            raise RefusedOrderError(str(error)) from error
        return {"id": _name(answer.data, submit.id, order.key), "order": kept(order)}

    def _answer(self, ticket: Ticket) -> Outcome | None:
        pace = self._paces.setdefault(ticket.key, _Pace(self._rest.poll))
        if self._wire.absence.seconds_left or not pace.is_time():
            return None
        path = filled_path(self._rest.poll.path, self._names(ticket))
        try:
            answer = self._wire.ask("GET", path)
            if answer.retry_after is not None:
                pace.wait(answer.retry_after)
            outcome = self._outcome(answer.data, ticket)
        except RefusalError as error:
            raise OutageError(f"{error}; check url and poll.path") from error
        except MissingError as error:
            # The sample is measured and the campaign file does not say where its value is: it can be corrected.
            raise OutageError(f"the answer to {path} cannot be read: {error}; check poll") from error
        if outcome is not None:
            del self._paces[ticket.key]
        return outcome

    def _outcome(self, data: Any, ticket: Ticket) -> Outcome | None:
        """What an answer comes to, None while the order is worked on. Raises MissingError."""
        poll, order = self._rest.poll, Order.from_dict(ticket.handle["order"])
        status = str(at(data, poll.status_field))
        if status in poll.failed:
            reason = None if poll.message is None else _or_none(data, poll.message)
            return failed(order, FailureKind.ERROR, str(reason or f"the lab says: {status}")[:1000])
        if status not in poll.done:
            return None
        try:
            values = [_value(data, poll, order, name) for name in poll.values]
            seconds = 0.0 if poll.seconds is None else _seconds(_or_none(data, poll.seconds))
            about: dict[str, object] = {
                "job": ticket.handle["id"],
                "server": urlsplit(self._rest.url).netloc,
            }
            return done(order, measurements_of(order, values), seconds, about)
        except BadResultError as error:
            return failed(order, FailureKind.BAD_RESULT, str(error))

    def _stop(self, ticket: Ticket) -> bool:
        cancel = self._rest.cancel
        if cancel is None:
            return False
        try:
            self._wire.ask(cancel.method, filled_path(cancel.path, self._names(ticket)))
        except RefusalError:
            return False
        return True

    def _names(self, ticket: Ticket) -> dict[str, str]:
        return {"key": ticket.key, "id": str(ticket.handle["id"])}


@dataclass
class _Pace:
    """When an order is asked about again: later and later, never at the same moment as all the others."""

    poll: PollSettings
    pause: float = 0.0
    not_before: float = 0.0

    def __post_init__(self) -> None:
        self.wait(None)

    def is_time(self) -> bool:
        if time.monotonic() < self.not_before:
            return False
        self.wait(None)
        return True

    def wait(self, seconds: float | None) -> None:
        """For so long, or for the next pause."""
        if seconds is None:
            self.pause = min(GROWTH * self.pause or self.poll.first_pause, self.poll.longest_pause)
            seconds = self.pause * random.uniform(0.8, 1.2)
        self.not_before = time.monotonic() + seconds


def _name(data: Any, path: str | None, key: str) -> str:
    """What the order is called at the server."""
    if path is None:
        return key
    try:
        name = at(data, path)
    except MissingError as error:
        raise OutageError(f"the answer to an order has {error}; check submit.id") from error
    told = str(name) if isinstance(name, str | int) and not isinstance(name, bool) else ""
    if not 0 < len(told) <= 200 or set(told) == {"."}:
        raise OutageError(f"the answer to an order has no usable name at {path}; check submit.id")
    return told


def _value(data: Any, poll: PollSettings, order: Order, name: str) -> MeasuredValue:
    """One value of an answer. Raises MissingError where there is none, BadResultError where it is no number."""
    unit = next(target.unit for target in order.targets if target.property == name)
    said = {
        "property": name,
        "value": at(data, poll.values[name]),
        "unit": at(data, poll.units[name]) if name in poll.units else unit,
        "std": _or_none(data, poll.std[name]) if name in poll.std else None,
    }
    try:
        return MeasuredValue.model_validate(said)
    except ValidationError as error:
        raise BadResultError([f"{name}: {problem}" for problem in told(error)]) from error


def _or_none(data: Any, path: str) -> Any:
    try:
        return at(data, path)
    except MissingError:
        return None


def _seconds(said: Any) -> float:
    usable = isinstance(said, int | float) and not isinstance(said, bool) and 0 <= said < 1e9
    return float(said) if usable else 0.0
