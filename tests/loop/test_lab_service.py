"""The lab's REST service over real HTTP: what robots and people may do, and what nobody may."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from lab_service import Caller, order, served

from loop.database.lab_tokens import Role
from loop.database.store import Store
from loop.service.guard import Bounds

VALUE = {"property": "log_ionic_conductivity", "value": -3.5, "unit": "log10(S/cm)", "std": 0.1}
KEY = order().key
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Store]:
    """A campaign with two orders."""
    with Store.open(tmp_path / "campaign.db", "test", create=True) as store:
        for number in range(2):
            store.lab().submit(order(number))
        yield store


@pytest.fixture
def call(campaign: Store, tmp_path: Path) -> Iterator[Caller]:
    with served(campaign, tmp_path / "lab") as url:
        caller = Caller(url, campaign)
        yield caller
        caller.client.close()


def leased(call: Caller) -> str:
    """The lease of the first order."""
    (row,) = call("POST", "/v1/leases", json={"number": 1, "seconds": 60}).json()
    assert row["key"] == KEY
    return str(row["lease"])


def result(
    call: Caller, lease: str | None, *values: Any, role: Role = Role.ROBOT, **more: Any
) -> httpx.Response:
    body = {"lease": lease, "measurements": list(values or (VALUE,)), **more}
    return call("POST", f"/v1/orders/{KEY}/result", role, json=body)


def test_from_order_to_answer(call: Caller, campaign: Store) -> None:
    lease = leased(call)
    beat = call("POST", f"/v1/orders/{KEY}/heartbeat", json={"lease": lease, "seconds": 120})
    assert beat.json()["status"] == "leased"
    assert (
        call("PUT", f"/v1/orders/{KEY}/files/xrd_1.csv", content=b"2theta,counts\n10,5\n").status_code == 201
    )
    assert result(call, lease, notes="pressed at 300 MPa").json() == {"key": KEY, "verdict": "accepted"}
    assert result(call, lease).json() == {"key": KEY, "verdict": "repeated"}
    assert result(call, lease, {**VALUE, "value": -2.0}).status_code == 409
    found = campaign.lab().answer(KEY)
    assert found is not None
    (measured,) = found.measurements
    assert (measured.value, measured.std, measured.fidelity) == (-3.5, 0.1, "experiment")
    assert dict(measured.conditions) == {"temperature": 300.0}
    file = call("GET", f"/v1/orders/{KEY}/files/xrd_1.csv", Role.VIEWER)
    assert file.content == b"2theta,counts\n10,5\n"
    assert "attachment" in file.headers["content-disposition"]
    assert file.headers["x-content-type-options"] == "nosniff"
    events = call("GET", f"/v1/orders/{KEY}/events", Role.VIEWER)
    assert lease not in events.text
    what = [event["what"] for event in events.json()]
    assert what[:2] == ["ordered", "leased"]
    assert what.count("answered: done") == 1


def test_a_robot_that_starts_again_finds_what_it_had_in_hand(call: Caller) -> None:
    lease = leased(call)
    (held,) = call("GET", "/v1/orders", params={"mine": True, "status": "leased"}).json()
    assert held["lease"] == lease
    (seen,) = call("GET", "/v1/orders", Role.VIEWER, params={"status": "leased"}).json()
    assert seen["lease"] is None
    told = {"lease": lease, "message": "lost power", "unknown": True}
    assert call("POST", f"/v1/orders/{KEY}/failure", json=told).json()["verdict"] == "unknown"
    assert (
        call("POST", f"/v1/orders/{KEY}/decision", Role.ADMIN, json={"decision": "repeat"}).status_code == 200
    )
    assert leased(call) != lease


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("GET", "/v1/orders", Role.VIEWER),
        ("GET", f"/v1/orders/{KEY}", Role.VIEWER),
        ("GET", f"/v1/orders/{KEY}/events", Role.VIEWER),
        ("GET", f"/v1/orders/{KEY}/files/a.csv", Role.VIEWER),
        ("POST", "/v1/leases", Role.ROBOT),
        ("POST", f"/v1/orders/{KEY}/heartbeat", Role.ROBOT),
        ("POST", f"/v1/orders/{KEY}/result", Role.ROBOT),
        ("POST", f"/v1/orders/{KEY}/failure", Role.ROBOT),
        ("PUT", f"/v1/orders/{KEY}/files/a.csv", Role.ROBOT),
        ("POST", "/v1/pause", Role.ADMIN),
        ("POST", f"/v1/orders/{KEY}/cancel", Role.ADMIN),
        ("POST", f"/v1/orders/{KEY}/decision", Role.ADMIN),
    ],
)
def test_every_door_asks_for_its_role(call: Caller, method: str, path: str, needed: Role) -> None:
    ranks = list(Role)
    assert call(method, path, None, json={}).status_code == 401
    assert call(method, path, None, json={}, headers={"Authorization": "Bearer wrong"}).status_code == 401
    for role in ranks:
        allowed = ranks.index(role) >= ranks.index(needed)
        assert (call(method, path, role, json={}).status_code != 403) == allowed


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([{**VALUE, "unit": "S/m"}], "convert it"),
        ([{**VALUE, "property": "band_gap"}], "was not asked for"),
        ([{**VALUE, "value": 99.0}], "is impossible"),
        ([VALUE, VALUE], "given twice"),
        ([{**VALUE, "value": "high"}], "valid number"),
        ([{**VALUE, "value": None}], "valid number"),
        ([{**VALUE, "std": -1.0}], "greater than 0"),
        ([{**VALUE, "colour": "red"}], "Extra inputs"),
        ([{**VALUE, "property": "x'; DROP TABLE lab_orders; --"}], "was not asked for"),
        ([], "at least 1"),
    ],
)
def test_nothing_false_is_accepted(call: Caller, campaign: Store, values: list[Any], reason: str) -> None:
    lease = leased(call)
    body = {"lease": lease, "measurements": values}
    found = call("POST", f"/v1/orders/{KEY}/result", json=body)
    assert found.status_code == 422
    assert reason in found.text
    assert campaign.lab().answer(KEY) is None
    assert result(call, lease).json()["verdict"] == "accepted"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\x80\x04\x95",
        pickle.dumps({"lease": "x"}),
        b"[" * 100_000,
        b'{"measurements": ' + b"[" * 50_000,
        b'{"lease": null, "measurements": [{"property": "a", "unit": "b", "value": NaN}]}',
        b'{"lease": null, "measurements": [{"property": "a", "unit": "b", "value": 1e999}]}',
        b'{"lease": null, "measurements": [{"property": "a", "unit": "b", "value": ' + b"9" * 5000 + b"}]}",
        b'{"lease": "\\ud800", "measurements": []}',
        b'{"lease": null, "notes": "\\u0000", "measurements": [' + json.dumps(VALUE).encode() + b"]}",
        b'{"lease": null, "notes": "\\ud800", "measurements": [' + json.dumps(VALUE).encode() + b"]}",
        b'{"lease": null, "measurements": [{"property": "\\u0000", "unit": "\\ud800", "value": 1}]}',
    ],
    ids=range(12),
)
def test_malformed_bodies_are_refused_in_words(call: Caller, campaign: Store, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    found = call("POST", f"/v1/orders/{KEY}/result", Role.ADMIN, content=body, headers=headers)
    assert found.status_code in (400, 422)
    assert found.json()["detail"]
    assert campaign.lab().answer(KEY) is None


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize(
    "name",
    [
        "../../campaign.db",
        "..%2F..%2Fcampaign.db",
        "%2e%2e%2fcampaign.csv",
        "..\\campaign.csv",
        "%2Fetc%2Fpasswd",
        "a%00.csv",
        ".hidden.csv",
        "a.pkl",
        "a.py",
        "a.sh",
        "a.exe",
        "a.html",
        "a.svg",
        "a.csv.py",
        "a",
        "x" * 300 + ".csv",
        "a%0d%0aSet-Cookie:x.csv",
    ],
)
def test_names_of_files_lead_nowhere_else(call: Caller, tmp_path: Path, name: str, role: Role) -> None:
    before = sorted(tmp_path.rglob("*"))
    found = call("PUT", f"/v1/orders/{KEY}/files/{name}", role, content=b"text\n")
    assert found.status_code in (403, 404, 405, 422)
    assert [f for f in sorted(tmp_path.rglob("*")) if f not in before and "-wal" not in f.name] == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", pickle.dumps({"a": 1})),
        ("a.csv", b"#!/bin/sh\nrm -rf /\n"),
        ("a.json", b"\x00\x01"),
        ("a.txt", "ä".encode("latin-1")),
        ("a.png", b"<script>"),
        ("a.pdf", pickle.dumps([1])),
        ("a.jpg", PNG),
    ],
)
def test_what_is_inside_a_file_has_to_fit_its_name(call: Caller, name: str, content: bytes) -> None:
    assert call("PUT", f"/v1/orders/{KEY}/files/{name}", content=content).status_code == 422


def test_a_file_is_never_written_over(call: Caller) -> None:
    path = f"/v1/orders/{KEY}/files/photo.png"
    assert call("PUT", path, content=PNG).status_code == 201
    assert call("PUT", path, content=PNG).status_code == 201
    assert call("PUT", path, content=PNG + b"x").status_code == 409
    assert call("PUT", f"/v1/orders/{order(7).key}/files/photo.png", content=PNG).status_code == 404


def test_large_bodies_are_refused_with_and_without_a_length(campaign: Store, tmp_path: Path) -> None:
    with served(campaign, tmp_path / "lab", Bounds(body=1000, file=2000, rate=10_000)) as url:
        call = Caller(url, campaign)
        for content in (b"a" * 3000, iter([b"a" * 1000] * 3)):
            assert call("PUT", f"/v1/orders/{KEY}/files/a.txt", content=content).status_code == 413
        for content in (b" " * 1500, iter([b" " * 700] * 2)):
            assert call("POST", "/v1/leases", content=content).status_code == 413
        assert call("PUT", f"/v1/orders/{KEY}/files/a.txt", content=b"a" * 1500).status_code == 201


def test_who_asks_too_often_waits(campaign: Store, tmp_path: Path) -> None:
    with served(campaign, tmp_path / "lab", Bounds(rate=5)) as url:
        call = Caller(url, campaign)
        codes = [call("GET", "/v1/orders", Role.VIEWER).status_code for _ in range(20)]
        assert codes[:10] == [200] * 10
        assert codes.count(429) >= 5
        assert call("GET", "/v1/orders", Role.ADMIN).status_code == 200  # another token has a rate of its own
        late = call("GET", "/v1/orders", Role.VIEWER)
        assert late.status_code == 200 or late.headers["retry-after"] == "1"


def test_pausing_cancelling_and_answering_by_hand(call: Caller, campaign: Store) -> None:
    assert call("POST", "/v1/pause", Role.ADMIN, json={"paused": True}).json() == {"state": "paused"}
    assert call("POST", "/v1/leases", json={}).json() == []
    assert call("GET", "/v1/health", None).json() == {"state": "paused"}
    call("POST", "/v1/pause", Role.ADMIN, json={"paused": False})
    assert call("POST", f"/v1/orders/{order(1).key}/cancel", Role.ADMIN).json()["status"] == "cancelled"
    assert result(call, None).status_code == 403
    assert result(call, None, role=Role.ADMIN).json()["verdict"] == "accepted"


def test_refusals_are_logged_without_tokens(call: Caller, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "matloop.lab"):
        call("GET", "/v1/orders", None, headers={"Authorization": "Bearer secret-guess"})
        call("POST", "/v1/pause", Role.VIEWER, json={})
    assert any("401" in line and "/v1/orders" in line for line in caplog.messages)
    assert any("403" in line for line in caplog.messages)
    assert "secret-guess" not in caplog.text
    assert call.tokens[Role.VIEWER] not in caplog.text
