"""JSON over HTTP with a server that may be away, slow, hostile or broken: bounded in time, size and where it leads."""

from __future__ import annotations

import json
import os
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from oracles.lab.absence import Absence

if TYPE_CHECKING:
    import httpx

MOST_BYTES = 1_000_000
"""An answer longer than this is not read."""
MOST_REDIRECTS = 3
LONGEST_RETRY_AFTER = 86_400.0
LATER = (408, 425, 429)
"""Answers that mean: not now."""
NO_ENTRY = (401, 403, 407)
VARIABLE = re.compile(r"\$\{(\w+)\}")


class OutageError(ConnectionError):
    """The server cannot answer now; the same may be asked again later, in `retry_after` seconds where it says so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RefusalError(Exception):
    """The server says that the request itself is wrong (4xx)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """JSON, or None where there was no body; `retry_after`: seconds for which the server wants to be left alone."""

    data: Any
    retry_after: float | None


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, so that nothing said to it can be overheard."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def from_environment(text: str) -> str:
    """The text with every ${NAME} replaced. Raises ValueError naming a variable that is not set or cannot be sent."""

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1], "").strip()
        if not found:
            raise ValueError(f"the environment variable {match[1]} is not set; put the token there")
        if not (found.isascii() and found.isprintable()):
            raise ValueError(
                f"the environment variable {match[1]} holds characters that cannot be in a header"
            )
        return found

    return VARIABLE.sub(value, text)


class Wire:
    """A connection to one server, which is left alone for a while after it could not be reached."""

    def __init__(self, url: str, headers: Mapping[str, str], timeout: float, certificate: str | None) -> None:
        import httpx

        self._timeout = timeout
        self.absence = Absence()
        self._client = httpx.Client(
            base_url=url,
            # No compression: what is small on the wire could be huge once it is unpacked.
            headers={**headers, "Accept": "application/json", "Accept-Encoding": "identity"},
            timeout=timeout,
            verify=ssl.create_default_context(cafile=certificate),
            follow_redirects=False,
            trust_env=not is_loopback(urlsplit(url).hostname or ""),
        )

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """What the server answers. Raises OutageError where it cannot now, RefusalError where it never will."""
        import httpx

        if left := self.absence.seconds_left:
            raise OutageError(f"{self._client.base_url} was away and is left alone for {left:.0f} s more")
        sent = {} if body is None else {"json": body}
        try:
            answer = self._followed(self._client.build_request(method, path, headers=headers, **sent))
        except OutageError as error:
            self.absence.noticed(error.retry_after)
            raise OutageError(f"{self._client.base_url}: {error}") from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
            self.absence.noticed()
            raise OutageError(f"{self._client.base_url}: {type(error).__name__} {error}") from error
        self.absence.over()
        return answer

    def _followed(self, request: httpx.Request) -> Answer:
        """The answer to a request, also where it is elsewhere on the same server."""
        end = time.monotonic() + self._timeout
        for _ in range(MOST_REDIRECTS + 1):
            response = self._client.send(request, stream=True)
            try:
                if response.next_request is None:
                    return self._read(response, end)
                request = _same_place(request, response.next_request)
            finally:
                response.close()
        raise OutageError("it leads from one address to the next")

    def _read(self, response: httpx.Response, end: float) -> Answer:
        text = bytearray()
        for piece in response.iter_bytes():
            text += piece
            if len(text) > MOST_BYTES:
                raise OutageError(f"its answer is longer than {MOST_BYTES} bytes")
            if time.monotonic() > end:
                raise OutageError(f"its answer took longer than {self._timeout:g} s")
        after = _retry_after(response.headers.get("Retry-After"))
        status = response.status_code
        if status in NO_ENTRY:
            raise OutageError(
                f"it answers {status}, no entry; check the token in the environment and the headers"
            )
        if status in LATER or status >= 500 or not (response.is_success or response.is_client_error):
            raise OutageError(f"it answers {status} {_excerpt(text)}", after)
        if response.is_client_error:
            raise RefusalError(status, f"the lab's server answers {status} {_excerpt(text)}")
        return Answer(_json(text, response.headers.get("Content-Type", "")), after)


def _same_place(request: httpx.Request, then: httpx.Request) -> httpx.Request:
    """The second request. Raises OutageError where it goes to another server or is another question."""
    here, there = request.url, then.url
    if (here.scheme, here.host, here.port) != (there.scheme, there.host, there.port):
        raise OutageError(f"it leads to another server, {there.host}, which is not followed")
    if then.method != request.method:
        raise OutageError(f"it leads to {there.path} with another method, which is not followed")
    return then


def _json(text: bytearray, kind: str) -> Any:
    if not text.strip():
        return None
    name = kind.partition(";")[0].strip().lower()
    if name != "application/json" and not name.endswith("+json"):
        raise OutageError(f"its answer is {name or 'of no kind'} and no JSON: {_excerpt(text)}")
    try:
        return json.loads(bytes(text), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise OutageError(f"its answer is no JSON: {_excerpt(text)}") from error


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _excerpt(text: bytearray) -> str:
    told = bytes(text[:300]).decode("utf-8", errors="replace")
    return "".join(c if c.isprintable() else " " for c in told)


def _retry_after(told: str | None) -> float | None:
    """Seconds from a header that holds seconds or a date (RFC 9110, section 10.2.3); None where it holds neither."""
    if told is None:
        return None
    if told.strip().isdecimal():
        seconds = float(told)
    else:
        try:
            seconds = (parsedate_to_datetime(told).astimezone(UTC) - datetime.now(UTC)).total_seconds()
        except (ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)
