"""The lab's service on each kind of database, when many ask at once and when the disk or the database is in trouble."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from lab_service import Caller, order, served
from sqlalchemy import create_engine, text

from loop.database.connection import database_url
from loop.database.lab_rows import LabError, OrderStatus
from loop.database.lab_tokens import Role
from loop.database.store import Store
from materials.evaluation import Status
from oracles.lab.results import MeasuredValue, done, measurements_of

KEY = order().key
VALUE: dict[str, Any] = {
    "property": "log_ionic_conductivity",
    "value": -3.5,
    "unit": "log10(S/cm)",
    "std": 0.1,
}


@pytest.fixture
def call(store: Store, tmp_path: Path) -> Iterator[Caller]:
    for number in range(2):
        store.lab().submit(order(number))
    with served(store, tmp_path / "lab") as url:
        caller = Caller(url, store)
        yield caller
        caller.client.close()


def leased(call: Caller) -> str:
    return str(call("POST", "/v1/leases", json={}).json()[0]["lease"])


@pytest.mark.parametrize(
    "path",
    [
        "/v1/orders/%00",
        f"/v1/orders/{KEY}%0a",
        f"/v1/orders/{KEY}%00/events",
        f"/v1/orders/{KEY}/files/a%00.csv",
        f"/v1/orders/{KEY}/files/%ed%a0%80.csv",
        f"/v1/orders/{KEY}/files/'; DROP TABLE lab_orders; --.csv",
        "/v1/orders?status=%00&mine=%00",
        "/v1/orders?status=%ed%a0%80",
        "/v1/orders/" + "f" * 5000,
    ],
)
def test_odd_paths_are_refused_and_not_blamed_on_the_database(call: Caller, path: str) -> None:
    assert call("GET", path, Role.VIEWER).status_code in (404, 422)


@pytest.mark.parametrize(
    "change",
    [
        {"conditions": {"\0": 1.0}},
        {"conditions": {"colour": 1.0}},
        {"conditions": {"temperature": -5.0}},
        {"unit": "\0"},
        {"property": "\0"},
        {"std": 1e200},
    ],
)
def test_what_a_database_or_physics_cannot_hold_is_refused(
    call: Caller, store: Store, change: dict[str, Any]
) -> None:
    body = {"lease": leased(call), "measurements": [VALUE | change]}
    found = call("POST", f"/v1/orders/{KEY}/result", json=body)
    assert found.status_code == 422
    assert store.lab().answer(KEY) is None
    events = call("GET", f"/v1/orders/{KEY}/events", Role.VIEWER)  # the refusal is kept, whatever was in it
    assert [event["what"] for event in events.json()][-1] == "bad result"


def test_looking_is_never_in_the_way_of_working(call: Caller) -> None:
    lease, end = leased(call), time.monotonic() + 2
    codes: Counter[tuple[str, int]] = Counter()

    def again(method: str, path: str, role: Role, **what: Any) -> None:
        with httpx.Client(base_url=call.client.base_url, timeout=30) as client:
            headers = {"Authorization": f"Bearer {call.tokens[role]}"}
            while time.monotonic() < end:
                codes[method, client.request(method, path, headers=headers, **what).status_code] += 1

    beat = {"target": again, "args": ("POST", f"/v1/orders/{KEY}/heartbeat", Role.ROBOT)}
    look = {"target": again, "args": ("GET", f"/v1/orders/{KEY}", Role.VIEWER)}
    threads = [threading.Thread(**beat, kwargs={"json": {"lease": lease}}) for _ in range(2)]
    threads += [threading.Thread(**look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) == {("GET", 200), ("POST", 200)}


def test_a_result_posted_by_many_at_once_is_accepted_once(call: Caller, store: Store) -> None:
    body = {"lease": leased(call), "measurements": [VALUE]}
    told: list[str] = []

    def post() -> None:
        headers = {"Authorization": f"Bearer {call.tokens[Role.ROBOT]}"}
        url = f"{call.client.base_url}/v1/orders/{KEY}/result"
        told.append(httpx.post(url, json=body, headers=headers, timeout=30).json()["verdict"])

    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(told) == {"accepted": 1, "repeated": 7}
    assert [e.what for e in store.lab().events(KEY)].count("answered: done") == 1


def test_a_view_that_cannot_write_sees_orders(store: Store, place: str) -> None:
    store.lab().submit(order())
    with Store.view(place) as view:
        assert view.lab_orders().order(KEY).status is OrderStatus.QUEUED
        with pytest.raises(LabError, match="there is no order"):
            view.lab_orders().order("ff")


def test_a_disk_that_refuses_is_told_as_such_and_nothing_is_half_there(call: Caller, tmp_path: Path) -> None:
    path, folder = f"/v1/orders/{KEY}/files/a.csv", tmp_path / "lab"
    folder.write_text("not a folder")
    assert call("PUT", path, content=b"a\n").status_code == 503
    folder.unlink()
    assert call("GET", path).status_code == 404
    assert call("PUT", path, content=b"a\n").status_code == 201
    (kept,) = folder.iterdir()
    kept.unlink()
    gone = call("GET", path)
    assert (gone.status_code, "no longer in the run folder" in gone.text) == (404, True)


def test_files_that_belong_to_nothing_are_not_kept(call: Caller, tmp_path: Path) -> None:
    assert call("PUT", f"/v1/orders/{order(7).key}/files/a.csv", content=b"a\n").status_code == 404
    assert list(tmp_path.glob("lab/*")) == []
    assert call("PUT", f"/v1/orders/{KEY}/files/a.csv", content=b"a\n").status_code == 201
    assert call("PUT", f"/v1/orders/{KEY}/files/a.csv", content=b"b\n").status_code == 409
    assert len(list(tmp_path.glob("lab/*"))) == 1


@pytest.fixture
def away(store: Store, place: str) -> Callable[[], None]:
    """Takes the tables away, as far as a program that has them open can see."""

    def take() -> None:
        engine = create_engine(database_url(place))
        with engine.begin() as connection:
            for table in ("lab_states", "lab_orders", "lab_tokens"):
                connection.execute(text(f"ALTER TABLE {table} RENAME TO away_{table}"))
        engine.dispose()

    return take


def test_a_database_in_trouble_is_no_fault_of_who_asks(call: Caller, away: Callable[[], None]) -> None:
    away()
    for method, path, role in (
        ("GET", "/v1/health", None),
        ("GET", "/v1/orders", Role.VIEWER),
        ("POST", "/v1/leases", Role.ROBOT),
        ("PUT", f"/v1/orders/{KEY}/files/a.csv", Role.ROBOT),
    ):
        found = call(method, path, role, json={})
        assert found.status_code == 503
        assert "lab_" not in found.text  # what the database says is for the log


def test_who_was_asked_to_stop_is_forgotten_when_it_is_to_be_made_again(store: Store) -> None:
    desk = store.lab()
    desk.submit(order())
    desk.lease("first", 1, 0.0)
    desk.cancel(KEY)
    desk.sweep()
    desk.decide(KEY, "person", "repeat")
    (row,) = desk.lease("second", 1, 60)
    assert not row.stop_asked


def test_nobody_is_told_accepted_when_the_campaign_has_given_up(store: Store) -> None:
    desk = store.lab()
    desk.submit(order())
    (row,) = desk.lease("robot", 1, 0.0)
    desk.sweep()
    assert desk.cancel(KEY, "person")
    outcome = done(row.order, measurements_of(row.order, [MeasuredValue(**VALUE)]), 1.0, {})
    with pytest.raises(LabError, match=r"was cancelled; .*loop\.tell.*kept in the list of events"):
        desk.post(KEY, "robot", row.lease, outcome)
    heard = desk.answer(KEY)
    assert heard is not None
    assert heard.status is Status.FAILED
    (event,) = [event for event in desk.events(KEY) if event.what == "answer not taken"]
    assert json.loads(json.dumps(event.detail))["outcome"]["measurements"][0]["value"] == -3.5
