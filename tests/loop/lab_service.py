"""A real service on a free port, for tests."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from loop.database.lab_tokens import Role
from loop.database.store import Store
from loop.service.app import create_app
from loop.service.guard import Bounds
from materials.base import Composition
from oracles.lab.base import Order, Precursor, Target


def order(number: int = 0, **changes: Any) -> Order:
    """An order of the number's key; `changes` replace fields."""
    usual = Order(
        key=f"{number:016x}",
        candidate_id=f"c{number}",
        oracle="lab",
        formula="Li2S",
        material=Composition("Li2S").to_dict(),
        targets=(Target("log_ionic_conductivity", "log10(S/cm)", "experiment", {"temperature": 300.0}),),
        precursors=(Precursor("Li2S", 1.0),),
        grams=1.0,
    )
    return replace(usual, **changes)


@contextmanager
def served(store: Store, folder: Path, bounds: Bounds | None = None, **options: Any) -> Iterator[str]:
    """The URL of a service that runs until the end of the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = create_app(store, folder, bounds or Bounds(rate=10_000))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", **options))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"{'https' if options else 'http'}://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


class Caller:
    """Calls the service as one who holds tokens of all roles."""

    def __init__(self, url: str, store: Store) -> None:
        self.tokens = {role: store.lab_tokens().issue(str(role), role) for role in Role}
        self.client = httpx.Client(base_url=url, timeout=30)

    def __call__(self, method: str, path: str, role: Role | None = Role.ROBOT, **what: Any) -> httpx.Response:
        headers: dict[str, str] = {} if role is None else {"Authorization": f"Bearer {self.tokens[role]}"}
        more: Mapping[str, str] = what.pop("headers", {})
        return self.client.request(method, path, headers={**headers, **more}, **what)
