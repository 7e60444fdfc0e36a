"""The block of `kind: rest`: where a lab's own server is, what is sent to it, and where its answers say what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, StringConstraints, ValidationInfo, field_validator, model_validator

from materials.settings import Settings, is_looking
from oracles.base import TicketOracle
from oracles.lab.asking import LabOracleSettings, Place, needed
from oracles.lab.base import Order
from oracles.lab.mapping import DottedPath, check_names
from oracles.lab.wire import VARIABLE, from_environment, is_loopback

TEXT_FIELDS = ("key", "candidate_id", "oracle", "formula", "grams", "priority", "deadline_hours")
JSON_FIELDS = ("material", "targets", "precursors", "recipe")
FIELDS = (*TEXT_FIELDS, *JSON_FIELDS, "order")
"""Names that a body may hold in braces; `order` is all the others at once."""
OWN_HEADERS = ("accept", "accept-encoding", "content-length", "content-type", "host", "idempotency-key")
SECRET = re.compile(r"authorization|cookie|token|secret|password|key", re.IGNORECASE)
UrlPath = Annotated[str, StringConstraints(pattern=r"^/[^\s?#]*$", max_length=500)]


class SubmitSettings(Settings):
    """How an order is given."""

    method: Literal["POST", "PUT"] = "POST"
    """Of the request."""
    path: UrlPath
    """Such as /jobs or /jobs/{key}, after the URL."""
    body: JsonValue = "{order}"
    """What is sent, as JSON: any text in it may hold {key}, {formula} and others (docs/lab-elsewhere.md)."""
    id: DottedPath | None = None
    """Where the answer says what the order is called there, such as job.id; left out, it is called by its key."""

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        check_names(self.path, ("key",))
        check_names(self.body, FIELDS, (*JSON_FIELDS, "order"))
        return self


class CancelSettings(Settings):
    """How an order is taken back."""

    method: Literal["POST", "PUT", "DELETE"] = "DELETE"
    """Of the request."""
    path: UrlPath
    """Such as /jobs/{id}; may hold {id} and {key}."""

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        check_names(self.path, ("id", "key"))
        return self


class PollSettings(Settings):
    """How an answer is asked for, and where in it is what: paths of keys with dots between them."""

    path: UrlPath
    """Such as /jobs/{id}; may hold {id} and {key}."""
    status_field: DottedPath
    """Where the status is, such as status."""
    done: tuple[str, ...] = Field(min_length=1)
    """Statuses of an order that was measured. One that is in neither list is still worked on."""
    failed: tuple[str, ...] = ()
    """Statuses of an order that gave no value and never will."""
    message: DottedPath | None = None
    """Where it is said why an order failed."""
    values: dict[str, DottedPath]
    """Where the value of each property is."""
    std: dict[str, DottedPath] = Field(default_factory=dict)
    """Where the standard deviation of a property is; one that is not there or null is not known."""
    units: dict[str, DottedPath] = Field(default_factory=dict)
    """Where the unit of a property is; left out, values are taken to be in the unit asked for."""
    seconds: DottedPath | None = None
    """Where it is said how many seconds making and measuring took."""
    first_pause: float = Field(default=5.0, gt=0)
    """Seconds until an order is first asked about; each later pause is half as long again."""
    longest_pause: float = Field(default=300.0, gt=0)
    """Seconds of the longest pause, unless the server names one itself (Retry-After)."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_names(self.path, ("id", "key"))
        if both := set(self.done) & set(self.failed):
            raise ValueError(f"{', '.join(sorted(both))} is both done and failed; keep one")
        return self


class RestSettings(LabOracleSettings):
    """A lab with a server of its own, asked over HTTP with JSON (docs/lab-elsewhere.md)."""

    kind: Literal["rest"] = "rest"
    without_meaning: ClassVar[tuple[str, ...]] = (
        *LabOracleSettings.without_meaning,
        *("url", "headers", "submit", "poll", "cancel", "timeout", "certificate"),
    )

    url: str
    """Of the server; https, except on this machine."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Sent with every request, such as {Authorization: "Bearer ${LAB_TOKEN}"}; ${NAME} comes from the environment."""
    submit: SubmitSettings
    """How an order is given."""
    poll: PollSettings
    """How an answer is asked for."""
    cancel: CancelSettings | None = None
    """How an order is taken back; left out, it cannot be."""
    timeout: float = Field(default=30.0, gt=0)
    """Seconds for one request and its answer."""
    certificate: Place | None = None
    """A PEM file of the authority that signed the server's certificate, where it is not a public one."""

    @field_validator("url")
    @classmethod
    def _safe(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url} is no address of a server; write it such as https://lab.example.org/api")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "a URL here holds no user, password, query or fragment; put tokens under headers"
            )
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ValueError("http is overheard on the way; use https, except for this machine")
        return url.rstrip("/")

    @field_validator("headers")
    @classmethod
    def _no_secrets(cls, headers: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        for name, value in headers.items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", name) or name.lower() in OWN_HEADERS:
                raise ValueError(f"{name} is no header that can be set here")
            if SECRET.search(name) and not VARIABLE.search(value):
                raise ValueError(f"{name} is a secret: write it as ${{NAME}} and keep it in the environment")
            if not (value.isascii() and value.isprintable()):
                raise ValueError(f"{name} holds characters that cannot be in a header")
            if not is_looking(info):
                from_environment(value)
        return headers

    @model_validator(mode="after")
    def _fits(self, info: ValidationInfo) -> Self:
        lacking = [name for name in self.properties if name not in self.poll.values]
        if lacking:
            raise ValueError(f"poll.values does not say where {', '.join(lacking)} is")
        for name in (*self.poll.values, *self.poll.std, *self.poll.units):
            if name not in self.properties:
                raise ValueError(f"poll speaks of {name}, which is not under measures")
        if not is_looking(info):
            needed("httpx")
        return self

    def fields(self, order: Order) -> Mapping[str, Any]:
        """What a body may be made of.

        A deadline is told as a number of hours, so that an order that is sent again is the same to the letter.
        """
        told = {name: value for name, value in order.to_dict().items() if name in FIELDS}
        told["deadline_hours"] = self.deadline_hours
        return {**told, "order": told}

    def build(self) -> TicketOracle:
        from oracles.lab.rest import RestOracle

        return RestOracle(self)
