"""The REST service of a campaign's lab queue. Its OpenAPI page is at /docs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI, HTTPException, Query, Request
from fastapi import Path as InPath
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse

from loop.database.errors import StateError
from loop.database.lab import LabDesk
from loop.database.lab_rows import LabError, OrderStatus
from loop.database.store import Store
from loop.service.access import Admin, Robot, Viewer
from loop.service.attachments import AttachmentError, check, check_name
from loop.service.bodies import (
    DecisionBody,
    EventView,
    FailureBody,
    FileView,
    HeartbeatBody,
    LeaseBody,
    OrderView,
    ResultBody,
    Told,
)
from loop.service.guard import Bounds, Guard
from materials.evaluation import FailureKind
from oracles.lab.results import BadResultError, done, failed, measurements_of

Key = Annotated[str, InPath(pattern=r"^[0-9a-f]{1,32}$", description="An order's key.")]
Name = Annotated[str, InPath(max_length=200, description="Such as xrd_1.csv.")]
log = logging.getLogger("matloop.lab")
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body is no JSON."},
    401: {"description": "No valid token."},
    403: {"description": "The token's role allows less."},
    404: {"description": "No such order or file."},
    409: {"description": "The order is in another state, or has another answer."},
    413: {"description": "Too large."},
    429: {"description": "Too many requests."},
    503: {"description": "The database or its disk cannot be used now; ask again."},
}


def create_app(store: Store, folder: Path, bounds: Bounds = Bounds()) -> FastAPI:  # noqa: B008  # frozen
    """The service on a campaign's state; files go to `folder`."""
    app = FastAPI(
        title=f"matloop lab: {store.name}",
        version="1",
        summary="Orders for a synthesis robot, and what it measured",
        responses=REFUSALS,
    )
    app.state.tokens = store.lab_tokens()
    desk, files = store.lab(), store.lab_files(folder)
    app.add_middleware(Guard, bounds=bounds)
    _handlers(app)
    _looking(app, desk)
    _working(app, desk)
    _ruling(app, desk)

    @app.put("/v1/orders/{key}/files/{name}", tags=["robot"], status_code=201)
    async def attach(key: Key, name: Name, who: Robot, request: Request) -> FileView:
        """Keeps a file (its bytes are the body) beside an order: spectra, pictures, logs."""
        content = await request.body()
        check(name, content)
        digest = await run_in_threadpool(files.put, key, name, content, who.name)
        return FileView(name=name, sha256=digest, size=len(content))

    @app.get("/v1/orders/{key}/files/{name}", tags=["look"], response_class=FileResponse)
    def attached(key: Key, name: Name, who: Viewer) -> FileResponse:
        """A file, to be downloaded, never shown."""
        check_name(name)  # PostgreSQL would refuse a NUL in it as a fault of its own
        headers = {"X-Content-Type-Options": "nosniff"}
        path = files.get(key, name)
        return FileResponse(path, media_type="application/octet-stream", filename=name, headers=headers)

    return app


def _looking(app: FastAPI, desk: LabDesk) -> None:
    @app.get("/v1/health", tags=["look"])
    def health() -> dict[str, str]:
        """Whether the service can reach its database; needs no token."""
        return {"state": "paused" if desk.paused() else "open"}

    @app.get("/v1/orders", tags=["look"])
    def orders(
        who: Viewer,
        status: Annotated[list[OrderStatus] | None, Query(max_length=5)] = None,
        mine: bool = False,
    ) -> list[OrderView]:
        """Orders, oldest first: all, those of some states, or those that the asker took last."""
        desk.sweep()
        found = desk.orders(*(status or ()), worker=who.name if mine else None)
        return [OrderView.of(row, who.name) for row in found]

    @app.get("/v1/orders/{key}", tags=["look"])
    def order(key: Key, who: Viewer) -> OrderView:
        """One order."""
        desk.sweep()
        return OrderView.of(desk.order(key), who.name)

    @app.get("/v1/orders/{key}/events", tags=["look"])
    def events(key: Key, who: Viewer) -> list[EventView]:
        """What happened to an order, oldest first."""
        desk.order(key)
        return [EventView.of(row) for row in desk.events(key)]


def _working(app: FastAPI, desk: LabDesk) -> None:
    @app.post("/v1/leases", tags=["robot"])
    def lease(body: LeaseBody, who: Robot) -> list[OrderView]:
        """Takes work: the most urgent orders are this robot's until their leases lapse, and then `unknown`.

        A robot that starts again finds its orders with GET /v1/orders?mine=true&status=leased.
        """
        return [OrderView.of(row, who.name) for row in desk.lease(who.name, body.number, body.seconds)]

    @app.post("/v1/orders/{key}/heartbeat", tags=["robot"])
    def heartbeat(key: Key, body: HeartbeatBody, who: Robot) -> OrderView:
        """Keeps an order for longer. `stop_asked` says that somebody wants it stopped."""
        return OrderView.of(desk.heartbeat(key, who.name, body.lease, body.seconds), who.name)

    @app.post("/v1/orders/{key}/result", tags=["robot"])
    def result(key: Key, body: ResultBody, who: Robot) -> Told:
        """Answers an order. The same answer again changes nothing (`repeated`)."""
        _lease_needed(body.lease, who)
        order = desk.order(key).order
        try:
            measured = measurements_of(order, body.measurements)
        except BadResultError as error:
            desk.note(
                key, who.name, "bad result", {"problems": list(error.problems), "body": body.model_dump()}
            )
            raise
        about: dict[str, object] = {"measured_by": who.name, "notes": body.notes}
        outcome = done(order, measured, body.seconds, about)
        return Told(key=key, verdict=desk.post(key, who.name, body.lease, outcome))

    @app.post("/v1/orders/{key}/failure", tags=["robot"])
    def failure(key: Key, body: FailureBody, who: Robot) -> Told:
        """Says that an order gave no value. It is not repeated by itself."""
        _lease_needed(body.lease, who)
        if body.unknown and body.lease is not None:
            desk.give_back(key, who.name, body.lease, body.message)
            return Told(key=key, verdict="unknown")
        outcome = failed(desk.order(key).order, FailureKind.ERROR, body.message)
        return Told(key=key, verdict=desk.post(key, who.name, body.lease, outcome))


def _lease_needed(lease: str | None, who: Robot) -> None:
    if lease is None and who.role != "admin":
        raise HTTPException(403, "a robot names its lease; only an admin answers by hand")


def _ruling(app: FastAPI, desk: LabDesk) -> None:
    @app.post("/v1/pause", tags=["admin"])
    def pause(who: Admin, paused: Annotated[bool, Body(embed=True)] = True) -> dict[str, str]:
        """Hands out no orders from now on, or (`{"paused": false}`) again."""
        desk.pause(who.name, paused)
        return {"state": "paused" if paused else "open"}

    @app.post("/v1/orders/{key}/cancel", tags=["admin"])
    def cancel(key: Key, who: Admin) -> OrderView:
        """Cancels an order that nobody works on; a robot that does is asked to stop at its next heartbeat."""
        desk.cancel(key, who.name)
        return OrderView.of(desk.order(key), who.name)

    @app.post("/v1/orders/{key}/decision", tags=["admin"])
    def decision(key: Key, body: DecisionBody, who: Admin) -> OrderView:
        """Decides about an unknown order: repeat it, or give it up."""
        desk.decide(key, who.name, body.decision)
        return OrderView.of(desk.order(key), who.name)


def _handlers(app: FastAPI) -> None:
    @app.exception_handler(LabError)
    def lab_error(_: Request, error: LabError) -> JSONResponse:
        return _problem(404 if error.kind == "missing" else 409, str(error))

    @app.exception_handler(BadResultError)
    def bad_result(_: Request, error: BadResultError) -> JSONResponse:
        problems = [{"loc": ["body", "measurements"], "msg": p, "type": "bad_result"} for p in error.problems]
        return JSONResponse({"detail": problems}, 422)

    @app.exception_handler(AttachmentError)
    def attachment(_: Request, error: AttachmentError) -> JSONResponse:
        return JSONResponse({"detail": [{"loc": ["path"], "msg": str(error), "type": "attachment"}]}, 422)

    @app.exception_handler(StateError)
    def state(_: Request, error: StateError) -> JSONResponse:
        log.error("%s", error)
        return _problem(503, "the database or its disk cannot be used now; ask again")

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        # Without the input, which may hold what JSON cannot (infinities, lone surrogates).
        told = [
            {"loc": [str(part) for part in e["loc"]], "msg": e["msg"], "type": e["type"]}
            for e in error.errors()
        ]
        return JSONResponse({"detail": told}, 422)


def _problem(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)
