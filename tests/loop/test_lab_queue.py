"""The lab's queue on real databases: an order is made once, whatever happens to whoever makes it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lab_service
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from loop.database.lab import LabDesk
from loop.database.lab_rows import LabError, OrderRow, OrderStatus, Verdict
from loop.database.lab_tokens import Role
from loop.database.store import Store
from materials.evaluation import FailureKind, Outcome
from oracles.lab.base import Order, Target
from oracles.lab.results import MeasuredValue, done, failed, measurements_of


def order(number: int, priority: int = 0, deadline: str | None = None) -> Order:
    asked = (Target("band_gap", "eV", "experiment"),)
    return lab_service.order(number, targets=asked, priority=priority, deadline=deadline)


def answer(row: OrderRow | Order, value: float = 3.0) -> Outcome:
    asked = row if isinstance(row, Order) else row.order
    return done(
        asked, measurements_of(asked, [MeasuredValue(property="band_gap", value=value, unit="eV")]), 1.0, {}
    )


@pytest.fixture
def desk(store: Store) -> LabDesk:
    found = store.lab()
    for number in range(4):
        found.submit(order(number))
    return found


def test_an_order_given_twice_is_one_order(desk: LabDesk) -> None:
    desk.submit(order(0, priority=5))
    assert [row.order.priority for row in desk.orders()] == [0, 0, 0, 0]


def test_the_most_urgent_is_taken_first_and_by_one_worker_only(desk: LabDesk) -> None:
    desk.submit(order(9, priority=1))
    first, second = desk.lease("a", 1, 60), desk.lease("b", 10, 60)
    assert [row.order.key for row in first] == [order(9).key]
    assert [row.order.key for row in second] == [order(n).key for n in range(4)]
    assert desk.lease("c", 10, 60) == []


def test_many_at_once_never_take_the_same_order(store: Store) -> None:
    desk = store.lab()
    for number in range(40):
        desk.submit(order(number))
    taken: list[str] = []

    def robot(name: str) -> None:
        while rows := desk.lease(name, 2, 60):
            taken.extend(row.order.key for row in rows)

    threads = [threading.Thread(target=robot, args=(f"r{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [order(n).key for n in range(40)]


def test_a_lease_that_lapses_is_a_question_for_a_person(desk: LabDesk) -> None:
    (row,) = desk.lease("robot", 1, 0.0)
    desk.sweep()
    assert desk.order(row.order.key).status is OrderStatus.UNKNOWN
    assert row.order.key not in {one.order.key for one in desk.lease("other", 10, 60)}
    with pytest.raises(LabError, match="no longer leased"):
        desk.heartbeat(row.order.key, "robot", row.lease or "", 60)
    desk.decide(row.order.key, "person", "repeat")
    (again,) = desk.lease("other", 10, 60)
    assert again.order.key == row.order.key
    assert again.times_leased == 2


def test_giving_up_is_a_failure(desk: LabDesk) -> None:
    (row,) = desk.lease("robot", 1, 0.0)
    desk.sweep()
    desk.decide(row.order.key, "person", "give_up")
    found = desk.answer(row.order.key)
    assert found is not None
    assert found.failure is not None
    assert found.failure.kind is FailureKind.WORKER_LOST
    with pytest.raises(LabError, match="only an unknown one"):
        desk.decide(row.order.key, "person", "repeat")


def test_a_heartbeat_keeps_a_lease(desk: LabDesk) -> None:
    (row,) = desk.lease("robot", 1, 1.0)
    kept = desk.heartbeat(row.order.key, "robot", row.lease or "", 3600)
    assert kept.lease_until is not None
    assert kept.lease_until > (row.lease_until or "")
    with pytest.raises(LabError):
        desk.heartbeat(row.order.key, "thief", row.lease or "", 60)


def test_a_late_answer_of_the_last_worker_counts(desk: LabDesk) -> None:
    (row,) = desk.lease("robot", 1, 0.0)
    desk.sweep()
    assert desk.post(row.order.key, "robot", row.lease, answer(row)) is Verdict.ACCEPTED
    assert desk.order(row.order.key).status is OrderStatus.ANSWERED


def test_an_answer_after_somebody_else_took_over_is_kept_and_not_believed(desk: LabDesk) -> None:
    (row,) = desk.lease("first", 1, 0.0)
    desk.sweep()
    desk.decide(row.order.key, "person", "repeat")
    desk.lease("second", 1, 60)
    with pytest.raises(LabError, match="kept in the list of events"):
        desk.post(row.order.key, "first", row.lease, answer(row, 4.5))
    assert desk.answer(row.order.key) is None
    (event,) = [event for event in desk.events(row.order.key) if event.what == "answer not taken"]
    assert event.detail["outcome"]["measurements"][0]["value"] == 4.5


def test_the_same_answer_twice_counts_once_and_another_one_not_at_all(desk: LabDesk) -> None:
    (row,) = desk.lease("robot", 1, 60)
    assert desk.post(row.order.key, "robot", row.lease, answer(row)) is Verdict.ACCEPTED
    assert desk.post(row.order.key, "robot", row.lease, answer(row)) is Verdict.REPEATED
    with pytest.raises(LabError, match="answered already"):
        desk.post(row.order.key, "robot", row.lease, answer(row, 5.0))
    found = desk.answer(row.order.key)
    assert found is not None
    assert [m.value for m in found.measurements] == [3.0]


def test_cancelling_stops_what_waits_and_asks_what_works(desk: LabDesk) -> None:
    (row,) = desk.lease("robot", 1, 60)
    assert desk.cancel(order(3).key)
    assert not desk.cancel(row.order.key)
    assert desk.heartbeat(row.order.key, "robot", row.lease or "", 60).stop_asked
    assert order(3).key not in {one.order.key for one in desk.lease("other", 10, 60)}
    assert desk.post(row.order.key, "robot", row.lease, answer(row)) is Verdict.ACCEPTED


def test_nobody_took_it_in_time(store: Store) -> None:
    desk = store.lab()
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat(timespec="milliseconds")
    desk.submit(order(0, deadline=past))
    found = desk.answer(order(0).key)
    assert found is not None
    assert found.failure is not None
    assert found.failure.kind is FailureKind.TIMEOUT
    assert desk.lease("robot", 1, 60) == []


def test_nothing_is_handed_out_while_paused(desk: LabDesk) -> None:
    desk.pause("admin", True)
    assert desk.lease("robot", 1, 60) == []
    desk.pause("admin", False)
    assert len(desk.lease("robot", 1, 60)) == 1


def test_tokens_are_hashed_at_rest_and_end(tmp_path: Path) -> None:
    with Store.open(tmp_path / "campaign.db", "test", create=True) as store:
        book = store.lab_tokens()
        token = book.issue("arm", Role.ROBOT)
        found = book.find(token)
        assert found is not None
        assert (found.name, found.role) == ("arm", Role.ROBOT)
        assert book.find(token[:-1] + "x") is None
        newer = book.issue("arm", Role.ADMIN)
        assert book.find(token) is None
        assert book.revoke("arm")
        assert book.find(newer) is None
    everything = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert token.encode() not in everything
    assert newer.encode() not in everything


class Queue(RuleBasedStateMachine):
    """Robots, people and time in any order: what is answered stays, and every order has at most one holder."""

    folder: Path

    def __init__(self) -> None:
        super().__init__()
        file = self.folder / f"{id(self)}.db"
        file.unlink(missing_ok=True)
        self.store = Store.open(file, "test", create=True)
        self.desk = self.store.lab()
        self.leases: list[OrderRow] = []
        self.last: dict[str, str | None] = {}
        self.answers: dict[str, dict[str, Any]] = {}
        self.given = 0

    def teardown(self) -> None:
        self.store.close()

    @rule()
    def give(self) -> None:
        self.desk.submit(order(self.given))
        self.given += 1

    @rule(who=st.sampled_from("ab"), number=st.integers(1, 3), seconds=st.sampled_from([0.0, 60.0]))
    def take(self, who: str, number: int, seconds: float) -> None:
        for row in self.desk.lease(who, number, seconds):
            self.leases.append(row)
            self.last[row.order.key] = row.lease

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), seconds=st.sampled_from([0.0, 60.0]))
    def beat(self, data: st.DataObject, seconds: float) -> None:
        row = data.draw(st.sampled_from(self.leases))
        try:
            self.desk.heartbeat(row.order.key, row.worker or "", row.lease or "", seconds)
        except LabError:
            return
        assert self.last[row.order.key] == row.lease

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), value=st.sampled_from([1.0, 2.0]), fails=st.booleans())
    def post(self, data: st.DataObject, value: float, fails: bool) -> None:
        row = data.draw(st.sampled_from(self.leases))
        outcome = failed(row.order, FailureKind.ERROR, "broke") if fails else answer(row, value)
        try:
            verdict = self.desk.post(row.order.key, row.worker or "", row.lease, outcome)
        except LabError:
            return
        assert verdict is Verdict.REPEATED or self.last[row.order.key] == row.lease

    @precondition(lambda self: self.given)
    @rule(data=st.data(), verdict=st.sampled_from(["repeat", "give_up", "cancel"]))
    def decide(self, data: st.DataObject, verdict: Any) -> None:
        key = order(data.draw(st.integers(0, self.given - 1))).key
        try:
            self.desk.cancel(key) if verdict == "cancel" else self.desk.decide(key, "person", verdict)
        except LabError:
            return

    @invariant()
    def what_is_answered_stays(self) -> None:
        for row in self.desk.orders():
            told = None if row.outcome is None else row.outcome.to_dict()
            if told is not None:
                assert self.answers.setdefault(row.order.key, told) == told
            assert (row.status in (OrderStatus.ANSWERED, OrderStatus.CANCELLED)) == (told is not None)

    @invariant()
    def accepted_once(self) -> None:
        events = [e.key for e in self.desk.events() if e.what.startswith("answered: ")]
        assert len(events) == len(set(events))


@pytest.fixture
def machine(tmp_path: Path) -> type[Queue]:
    Queue.folder = tmp_path
    return Queue


def test_any_course_of_events_keeps_what_was_answered(machine: type[Queue]) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
