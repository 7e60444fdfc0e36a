"""Requests to a lab, and a desk that asks it as a driver does."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from loop.executors.tickets import TicketDesk
from materials.base import Candidate, Composition, Origin
from materials.evaluation import Outcome, Request, Ticket, request_key
from oracles.base import OracleSettings, TicketOracle, TicketOracleSettings

T = TypeVar("T")
SIGMA = "log_ionic_conductivity"


def request_for(settings: OracleSettings, formula: str = "Li3OCl", number: int = 0) -> Request:
    candidate = Candidate(Composition(formula), Origin("test"))
    key = request_key(candidate.id, settings.kind, settings.fingerprint(), replicate=number)
    return Request(key, candidate, candidate.material, settings.kind, replicate=number)


def submitted(oracle: TicketOracle, request: Request) -> Ticket:
    (ticket,) = oracle.submit([request])
    return ticket


def desk_with(settings: TicketOracleSettings, request: Request, folder: Path) -> tuple[TicketDesk, Ticket]:
    """A driver's desk that has asked the request."""
    desk = TicketDesk(folder)
    return desk, desk.submit(settings, request, attempt=1)


def until(found: Callable[[], T], seconds: float = 30.0) -> T:
    """What is found as soon as it is true; fails when it never is."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.02)
    return value


def the_outcome(desk: TicketDesk, seconds: float = 30.0) -> Outcome:
    """The one outcome that arrives."""
    (outcome,) = until(desk.poll, seconds)
    return outcome


def rest_block(url: str) -> dict[str, Any]:
    """A block of kind rest for the server in `lab_server`; its token is in LAB_TOKEN."""
    return {
        "kind": "rest",
        "measures": [SIGMA],
        "url": url,
        "headers": {"Authorization": "Bearer ${LAB_TOKEN}"},
        "submit": {
            "path": "/jobs",
            "body": {"sample": "{formula} by {oracle}", "want": "{targets}", "n": 1},
            "id": "job.id",
        },
        "poll": {
            "path": "/jobs/{id}",
            "status_field": "status",
            "done": ["finished"],
            "failed": ["broken"],
            "message": "result.why",
            "values": {SIGMA: "result.sigma.0"},
            "std": {SIGMA: "result.error"},
            "units": {SIGMA: "result.unit"},
            "seconds": "result.took",
            "first_pause": 0.001,
            "longest_pause": 0.01,
        },
        "cancel": {"path": "/jobs/{id}"},
        "timeout": 0.5,
    }
