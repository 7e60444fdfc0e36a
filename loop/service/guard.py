"""What stands before the service: bounds on the size of bodies and on the rate of requests. Refusals are logged."""

from __future__ import annotations

import json
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256

from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("matloop.lab")
MOST_CLIENTS = 10_000
"""Whose rates are remembered; those not heard of for longest are forgotten."""
ROBOTS_AT_AN_ADDRESS = 20
"""One address may ask so many times as often as one token."""


@dataclass(frozen=True)
class Bounds:
    """Bytes of a body, of a file, and requests per second of one client, with a burst of two seconds' worth."""

    body: int = 2**20
    file: int = 20 * 2**20
    rate: float = 100.0


class TooLargeError(Exception):
    """A body beyond its bound."""


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, bounds: Bounds) -> None:
        self._app, self._bounds = app, bounds
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        most = self._bounds.file if "/files/" in scope["path"] else self._bounds.body
        if not self._may_ask(scope, headers):
            await _refuse(scope, send, 429, "too many requests; wait a second")
            return
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > most:
            await _refuse(scope, send, 413, f"a body may hold at most {most} bytes")
            return
        size, refused = 0, False

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > most:
                raise TooLargeError
            return message

        async def sending(message: Message) -> None:
            nonlocal refused
            if size > most:  # whatever the application made of it
                if not refused:
                    refused = True
                    await _refuse(scope, send, 413, f"a body may hold at most {most} bytes")
                return
            if message["type"] == "http.response.start" and message["status"] >= 400:
                log.warning("%s: %s", message["status"], _told(scope))
            await send(message)

        try:
            await self._app(scope, counted, sending)
        except TooLargeError:
            if not refused:
                await _refuse(scope, send, 413, f"a body may hold at most {most} bytes")

    def _may_ask(self, scope: Scope, headers: dict[bytes, bytes]) -> bool:
        """By token, so that robots behind one address do not share a rate, and by address, whatever the token."""
        address, token = str((scope.get("client") or ("unknown",))[0]), headers.get(b"authorization", b"")
        by_address = self._may(address, self._bounds.rate * ROBOTS_AT_AN_ADDRESS)
        return by_address and self._may(sha256(token).hexdigest() + address, self._bounds.rate)

    def _may(self, client: str, rate: float) -> bool:
        """Whether the client has a request left (a token bucket)."""
        now, burst = time.monotonic(), 2 * rate
        left, since = self._clients.pop(client, (burst, now))
        left = min(burst, left + (now - since) * rate)
        self._clients[client] = (max(0.0, left - 1), now)
        if len(self._clients) > MOST_CLIENTS:
            self._clients.popitem(last=False)
        return left >= 1


def _told(scope: Scope) -> str:
    return f"{scope['method']!r} {scope['path'][:200]!r} from {(scope.get('client') or ('unknown',))[0]}"


async def _refuse(scope: Scope, send: Send, status: int, detail: str) -> None:
    log.warning("%s: %s", status, _told(scope))
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 429:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
