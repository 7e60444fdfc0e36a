"""Valid and malformed requests from the lab service's own OpenAPI description, by schemathesis; none may end in a 500.

    pip install schemathesis
    python -m experiments.benchmarks.lab_fuzz runs/lab_fuzz --examples 250

Every operation is asked with a token of each role and without one.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loop.database.lab_tokens import Role
from loop.database.store import Store
from loop.service.app import create_app
from loop.service.guard import Bounds
from materials.base import Composition
from oracles.lab.base import Order, Target

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class Counting:
    """ASGI middleware that counts the statuses of what goes out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.codes: Counter[int] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.codes[message["status"]] += 1
            await send(message)

        await self._app(scope, receive, sending)


def _orders(store: Store) -> None:
    for number in range(50):
        target = Target("band_gap", "eV", "experiment")
        material = Composition("Li2S").to_dict()
        store.lab().submit(Order(f"{number:x}", f"c{number}", "lab", "Li2S", material, (target,)))


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(help="A fresh folder.")],
    examples: Annotated[int, typer.Option(help="For each operation and role, about.", min=1)] = 250,
    seed: int = 0,
    database: Annotated[str, typer.Option(help="An SQLAlchemy URL; else SQLite in the folder.")] = "",
) -> None:
    """Prints how many requests there were, and their statuses by role."""
    program = shutil.which("schemathesis") or shutil.which("st")
    if program is None:
        raise typer.BadParameter("schemathesis is not installed; pip install schemathesis")
    folder.mkdir(parents=True)
    told: dict[str, Any] = {}
    with Store.open(database or folder / "campaign.db", "fuzz", create=True) as store:
        _orders(store)
        for role in (None, *Role):
            counting = Counting(create_app(store, folder / "lab", Bounds(rate=1e6)))
            token = "" if role is None else store.lab_tokens().issue(str(role), role)
            _ask(program, counting, token, examples, seed, folder / f"{role or 'nobody'}.log")
            if not counting.codes:
                raise RuntimeError(f"schemathesis asked nothing; see {folder / (role or 'nobody')}.log")
            told[str(role or "without a token")] = dict(sorted(counting.codes.items()))
    every: Counter[int] = Counter()
    for counts in told.values():
        every.update(counts)
    errors = sum(n for code, n in every.items() if code >= 500)
    typer.echo(json.dumps({"requests": every.total(), "errors of the service": errors, "statuses": told}))
    raise typer.Exit(errors > 0)


def _ask(program: str, service: Counting, token: str, examples: int, seed: int, log: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(service, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    command = [program, "run", f"http://127.0.0.1:{port}/openapi.json", "--max-examples", str(examples)]
    command += ["--seed", str(seed), "--checks", "not_a_server_error", "--mode", "all", "--no-color"]
    command += ["--phases", "examples,coverage,fuzzing"]
    command += ["--header", f"Authorization: Bearer {token}"] if token else []
    with log.open("w") as out:
        subprocess.run(
            command, cwd=log.parent, stdout=out, stderr=out, check=False, env={**os.environ, "CI": "1"}
        )
    server.should_exit = True
    thread.join()


if __name__ == "__main__":
    app()
