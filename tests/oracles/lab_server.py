"""A lab's own server, which misbehaves on demand: a real one, on this machine."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse

TOKEN = "correct horse"


class LabServer:
    """`mishaps` are used up by the next requests, one each, before or after the server did what it was asked."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/api"
        self.jobs: dict[str, dict[str, Any]] = {}
        self.made = 0
        self.asked: list[tuple[str, str]] = []
        self.mishaps: list[str] = []
        self.refusal = 0
        self.app = FastAPI()
        self.app.middleware("http")(self._misbehave)
        self.app.post("/api/jobs", status_code=202)(self._submit)
        self.app.get("/api/jobs/{number}")(self._look)
        self.app.delete("/api/jobs/{number}")(self._stop)

    def answer(self, status: str, **result: object) -> None:
        """What every job says from now on."""
        for job in self.jobs.values():
            job |= {"status": status, "result": result}

    async def _submit(self, request: Request) -> Response:
        if self.refusal:
            return JSONResponse({"detail": "no glove box free for it"}, self.refusal)
        key = request.headers["Idempotency-Key"]
        if key not in self.jobs:
            self.made += 1
            body = await request.json()
            self.jobs[key] = {"id": self.made, "status": "queued", "body": body, "result": {}}
        return JSONResponse({"job": {"id": self.jobs[key]["id"]}}, 202)

    async def _look(self, number: int) -> Response:
        job = next((job for job in self.jobs.values() if job["id"] == number), None)
        return JSONResponse({"detail": "unknown"}, 404) if job is None else JSONResponse(job)

    async def _stop(self, number: int) -> Response:
        job = next(job for job in self.jobs.values() if job["id"] == number)
        if job["status"] != "queued":
            return JSONResponse({"detail": "it is in the furnace"}, 409)
        job["status"] = "cancelled"
        return Response(status_code=204)

    async def _misbehave(
        self, request: Request, follow: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        self.asked.append((request.method, request.url.path))
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return JSONResponse({"detail": "who are you?"}, 401)
        mishap = self.mishaps.pop(0) if self.mishaps else ""
        if mishap.startswith("done, then "):
            await follow(request)
            mishap = mishap.removeprefix("done, then ")
        return self._instead(mishap) or await follow(request)

    def _instead(self, mishap: str) -> Response | None:
        if mishap.isdecimal():
            return JSONResponse({"detail": "broken"}, int(mishap))
        if mishap == "busy":
            return JSONResponse({}, 503, {"Retry-After": "1"})
        if mishap == "slow":
            return StreamingResponse(_dripping(), media_type="application/json")
        if mishap == "hang":
            return StreamingResponse(_silent(), media_type="application/json")
        if mishap == "closed":
            return Response(b'{"job"', headers={"Content-Length": "500", "Content-Type": "application/json"})
        if mishap == "huge":
            return Response(b" " * 1_100_000 + b"{}", media_type="application/json")
        if mishap == "html":
            return HTMLResponse("<h1>Please log in</h1>")
        if mishap.startswith("to "):
            return RedirectResponse(mishap.removeprefix("to "), 307)
        return Response(mishap, media_type="application/json") if mishap else None


async def _dripping() -> AsyncIterator[bytes]:
    for _ in range(100):
        yield b" "
        await asyncio.sleep(0.1)


async def _silent() -> AsyncIterator[bytes]:
    yield b"{"
    await asyncio.sleep(5)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def served(server: LabServer, **encryption: Path) -> Iterator[LabServer]:
    """The server, answering until the block ends; encryption: ssl_keyfile and ssl_certfile."""
    port = int(server.url.split(":")[2].split("/")[0])
    files: dict[str, Any] = {name: str(file) for name, file in encryption.items()}
    running = uvicorn.Server(
        uvicorn.Config(server.app, port=port, log_level="critical", timeout_graceful_shutdown=0, **files)
    )
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    try:
        yield server
    finally:
        running.should_exit = True
        thread.join(10)
