"""The client of a SiLA 2 server with the feature Synthesis And Measurement. It imports grpc: import it late."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from sila2.client import SilaClient
from sila2.framework import SilaConnectionError, SilaError, ValidationError

from oracles.lab.absence import Absence
from oracles.lab.asking import RefusedOrderError

FEATURE = Path(__file__).parent / "features" / "SynthesisAndMeasurement.sila.xml"
NAME = "SynthesisAndMeasurement"
MOST_BYTES = 1_000_000
"""A result longer than this is not read."""


@dataclass(frozen=True)
class Said:
    """What the server says about an order; see the feature for what the states mean."""

    state: str
    result: str
    message: str


@dataclass
class Server:
    """A SiLA 2 server at an address, or one that is looked for; connected to when it is first asked.

    Every method raises ConnectionError where the server cannot answer now.
    """

    address: str | None
    port: int
    server_name: str | None
    server_uuid: str | None
    certificate: str | None
    insecure: bool
    timeout: float
    absence: Absence = field(default_factory=Absence)
    _client: SilaClient | None = None

    def make_and_measure(self, key: str, order: str) -> None:
        """Gives an order. Raises RefusedOrderError where it is none that the server can read."""
        instance = self._ask(lambda feature: feature.MakeAndMeasure(key, order))
        # What becomes of it is asked by its key, which also a later driver knows.
        instance.cancel_execution_info_subscription()

    def result_of(self, key: str) -> Said:
        """What has become of an order."""
        said = self._ask(lambda feature: feature.ResultOf(key))
        if len(said.Result) > MOST_BYTES:
            raise ConnectionError(f"the result of {key} is longer than {MOST_BYTES} bytes")
        return Said(said.State, said.Result, said.Message)

    def cancel(self, key: str) -> bool:
        """Whether the order will not be carried out."""
        return bool(self._ask(lambda feature: feature.Cancel(key)).Stopped)

    def _ask(self, call: Callable[[Any], Any]) -> Any:
        """The answer to a call; a server that was away a moment ago is left alone."""
        if left := self.absence.seconds_left:
            raise ConnectionError(
                f"the SiLA server {self._place()} was away and is left alone for {left:.0f} s"
            )
        try:
            if self._client is None:
                self._client = self._connected()
            answer = call(getattr(self._client, NAME))
        except (SilaConnectionError, OSError) as error:
            self._forget()
            self.absence.noticed()
            raise ConnectionError(f"the SiLA server {self._place()} cannot be asked: {error}") from error
        except ValidationError as error:
            raise RefusedOrderError(f"the SiLA server {self._place()} refuses it: {error}") from error
        except (SilaError, RuntimeError, grpc.RpcError) as error:
            self.absence.noticed()
            raise ConnectionError(f"the SiLA server {self._place()}: {error}") from error
        self.absence.over()
        return answer

    def _connected(self) -> SilaClient:
        certificate = None if self.certificate is None else Path(self.certificate).read_bytes()

        class Client(_BoundedClient):
            seconds = self.timeout

        with _sockets_end_after(self.timeout):
            if self.address is None:
                client = Client.discover(
                    server_name=self.server_name,
                    server_uuid=self.server_uuid,
                    timeout=self.timeout,
                    root_certs=certificate,
                )
            else:
                client = Client(self.address, self.port, root_certs=certificate, insecure=self.insecure)
        if not hasattr(client, NAME):
            client.close()
            raise RuntimeError(f"it has no feature {NAME}")
        return client

    def _forget(self) -> None:
        """The next question connects anew: the server may be another one by then."""
        if self._client is not None:
            with suppress(Exception):
                self._client.close()
            self._client = None

    def _place(self) -> str:
        return f"{self.address}:{self.port}" if self.address else str(self.server_name or self.server_uuid)


@contextmanager
def _sockets_end_after(seconds: float) -> Iterator[None]:
    """For the SiLA client looks at a server's certificate through a socket of its own, without a limit."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


class _Deadline(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """Gives every call a deadline, which the SiLA client leaves out: a server that hangs would hang the campaign."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def intercept_unary_unary(self, follow: Callable[[Any, Any], Any], details: Any, request: Any) -> Any:
        return follow(_Details(details, self._seconds), request)


class _Details(grpc.ClientCallDetails):  # type: ignore[misc]
    def __init__(self, given: Any, seconds: float) -> None:
        self.method, self.metadata, self.credentials = given.method, given.metadata, given.credentials
        self.wait_for_ready, self.compression = given.wait_for_ready, given.compression
        self.timeout = seconds


class _BoundedClient(SilaClient):  # type: ignore[misc]
    """A SiLA client whose calls end in time, because its channel sees to it."""

    seconds: float

    @property
    def _channel(self) -> Any:
        return self._bounded

    @_channel.setter
    def _channel(self, channel: Any) -> None:
        self._bounded = grpc.intercept_channel(channel, _Deadline(self.seconds))
