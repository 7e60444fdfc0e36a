"""A lab behind a SiLA 2 server: a real one with a simulated robot, which is killed, loses power and talks nonsense."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

pytest.importorskip("sila2", reason="the extra `lab` is not installed")

from lab_requests import desk_with, request_for, submitted, the_outcome, until
from pydantic import ValidationError
from sila2.client import SilaClient
from sila2.server.encryption import generate_self_signed_certificate

from loop.executors import tickets
from loop.executors.tickets import TicketDesk
from materials.evaluation import FailureKind, Status
from oracles.lab.sila2 import Sila2Settings
from oracles.lab.simulator import Faults, Journal, true_value
from oracles.lab.simulator_sila2 import Bench, server_of

GAP = "band_gap"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr("random.uniform", lambda low, high: 0.05)


@pytest.fixture
def port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "robot.jsonl")


def lab(port: int, /, **more: object) -> Sila2Settings:
    asked = {"measures": [GAP], "address": "127.0.0.1", "port": port, "insecure": True, "pause": 0.02}
    return Sila2Settings.model_validate(asked | {"timeout": 10} | more)


def bench(journal: Journal, seconds: float = 0.05, faults: Faults | None = None) -> Bench:
    return Bench(journal, faults or Faults(), seconds, noise=0.0, seed=1)


@contextmanager
def served(robot: Bench, port: int) -> Iterator[None]:
    server = server_of(robot)
    server.start_insecure("127.0.0.1", port, enable_discovery=False)
    try:
        yield
    finally:
        server.stop(0)


def begun(journal: Journal) -> int:
    return sum(entry["what"] == "begun" for entry in journal.entries())


def test_an_order_is_carried_out_once_and_answered(port: int, journal: Journal, tmp_path: Path) -> None:
    settings = lab(port, conditions={"temperature": 300.0}, deadline_hours=5)
    request = request_for(settings)
    with served(bench(journal), port):
        desk, ticket = desk_with(settings, request, tmp_path)
        json.dumps(dict(ticket.handle))
        assert submitted(settings.build(), request).key == ticket.key
        outcome = the_outcome(desk)
        assert submitted(settings.build(), request).key == ticket.key
    (measured,) = outcome.measurements
    assert measured.value == pytest.approx(true_value("Li3OCl", GAP))
    assert (measured.fidelity, measured.conditions) == ("experiment", {"temperature": 300.0})
    assert begun(journal) == 1
    order = json.loads(journal.entries()[0]["order"])
    assert (order["formula"], order["deadline_hours"]) == ("Li3ClO", 5)


def test_the_command_is_observable_and_tells_its_progress(port: int, journal: Journal) -> None:
    order = json.dumps({"formula": "MgO", "targets": [{"property": GAP, "unit": "eV"}]})
    with served(bench(journal, 0.6), port), SilaClient("127.0.0.1", port, insecure=True) as client:
        command = client.SynthesisAndMeasurement.MakeAndMeasure("key", order)
        again = client.SynthesisAndMeasurement.MakeAndMeasure("key", order)
        stages = [told.Stage for told in command.subscribe_to_intermediate_responses()]
        assert stages == ["weighing", "firing", "measuring"]
        until(lambda: command.done and again.done)
        assert json.loads(command.get_responses().Result)["measurements"][0]["property"] == GAP
        assert command.get_responses() == again.get_responses()
    assert begun(journal) == 1


def test_a_driver_and_a_server_that_start_again_lose_nothing(
    port: int, journal: Journal, tmp_path: Path
) -> None:
    settings = lab(port)
    request = request_for(settings)
    with served(bench(journal), port):
        _, ticket = desk_with(settings, request, tmp_path)
        until(lambda: bench(journal).state(ticket.key)[0] == "Done")
    again = TicketDesk(tmp_path)
    again.resume(settings, request, ticket)
    assert again.poll() == []
    with served(bench(journal), port):
        assert the_outcome(again).status is Status.DONE
    assert begun(journal) == 1


def test_a_server_that_is_away_is_asked_when_it_is_there(port: int, journal: Journal, tmp_path: Path) -> None:
    settings = lab(port, timeout=1)
    desk, ticket = desk_with(settings, request_for(settings), tmp_path)
    assert desk.poll() == []
    assert "order" not in ticket.handle
    with served(bench(journal), port):
        assert the_outcome(desk).status is Status.DONE


@pytest.mark.parametrize("insecure", [True, False])
def test_a_server_that_hangs_does_not_hang_the_driver(port: int, tmp_path: Path, insecure: bool) -> None:
    (tmp_path / "robot.pem").write_bytes(generate_self_signed_certificate(uuid4(), "127.0.0.1")[1])
    certificate = None if insecure else str(tmp_path / "robot.pem")
    settings = lab(port, timeout=0.5, insecure=insecure, certificate=certificate)
    with socket.create_server(("127.0.0.1", port)):
        start = time.monotonic()
        desk, _ = desk_with(settings, request_for(settings), tmp_path)
        assert desk.poll() == []
        assert time.monotonic() - start < 5


def test_what_a_robot_had_in_hand_when_the_power_went_is_not_made_again(
    port: int, journal: Journal, tmp_path: Path
) -> None:
    settings = lab(port)
    with served(bench(journal, faults=Faults(crash=1.0)), port):
        desk, ticket = desk_with(settings, request_for(settings), tmp_path)
        outcome = the_outcome(desk)
        assert submitted(settings.build(), request_for(settings)).key == ticket.key
    assert outcome.failure is not None
    assert (outcome.status, outcome.failure.kind) == (Status.FAILED, FailureKind.MISSING_ANSWER)
    assert "power" in outcome.failure.message
    assert begun(journal) == 1


def test_nonsense_is_a_bad_result(port: int, journal: Journal, tmp_path: Path) -> None:
    settings = lab(port)
    with served(bench(journal, faults=Faults(garbage=1.0)), port):
        for number in range(4):
            desk, _ = desk_with(settings, request_for(settings, number=number), tmp_path)
            outcome = the_outcome(desk)
            assert outcome.failure is not None
            assert outcome.failure.kind is FailureKind.BAD_RESULT


def test_an_order_that_cannot_be_read_is_refused(port: int, journal: Journal) -> None:
    settings = lab(port)
    request = request_for(settings)
    with served(bench(journal), port):
        with SilaClient("127.0.0.1", port, insecure=True) as client:
            client.SynthesisAndMeasurement.MakeAndMeasure(request.key, "{")
        oracle = settings.build()
        ticket = submitted(oracle, request)
        outcome = until(lambda: oracle.poll(ticket))
    assert outcome.status is Status.REJECTED


def test_what_is_not_begun_can_be_taken_back(port: int, journal: Journal) -> None:
    settings = lab(port)
    oracle = settings.build()
    with served(bench(journal, seconds=1.0), port):
        first = submitted(oracle, request_for(settings, "MgO"))
        until(lambda: begun(journal) == 1)
        second = submitted(oracle, request_for(settings, "LiF"))
        assert oracle.cancel(second)
        assert not oracle.cancel(first)
        outcome = until(lambda: oracle.poll(second))
        assert outcome.failure is not None
        assert outcome.failure.kind is FailureKind.MISSING_ANSWER


def test_an_encrypted_server_is_known_by_its_certificate(port: int, journal: Journal, tmp_path: Path) -> None:
    server = server_of(bench(journal))
    key, certificate = generate_self_signed_certificate(server.server_uuid, "127.0.0.1")
    _, another = generate_self_signed_certificate(server.server_uuid, "127.0.0.1")
    server.start("127.0.0.1", port, private_key=key, cert_chain=certificate, enable_discovery=False)
    (tmp_path / "robot.pem").write_bytes(certificate)
    (tmp_path / "other.pem").write_bytes(another)
    try:
        good = lab(port, insecure=False, certificate=str(tmp_path / "robot.pem"))
        desk, _ = desk_with(good, request_for(good), tmp_path / "evaluations")
        assert the_outcome(desk).status is Status.DONE
        for trusted in (str(tmp_path / "other.pem"), None):
            bad = lab(port, insecure=False, certificate=trusted, timeout=2)
            with pytest.raises(OSError, match="cannot be asked"):
                submitted(bad.build(), request_for(bad))
    finally:
        server.stop(0)


def test_a_server_is_found_by_its_name(port: int, journal: Journal, tmp_path: Path) -> None:
    server = server_of(bench(journal), "robot in room 7")
    server.start("127.0.0.1", port)
    certificate = tmp_path / "robot.pem"
    assert server.generated_ca is not None
    certificate.write_bytes(server.generated_ca)
    found = {"address": None, "insecure": False, "certificate": str(certificate), "timeout": 5}
    settings = lab(port, **found, server_name="robot in room 7")
    try:
        oracle = settings.build()
        try:
            ticket = submitted(oracle, request_for(settings))
        except OSError:
            pytest.skip("this network hands on no multicast, so no server can be found by its name")
        assert until(lambda: oracle.poll(ticket)).status is Status.DONE
        with pytest.raises(OSError, match="No suitable SiLA server"):
            submitted(
                lab(port, **{**found, "timeout": 1}, server_name="other").build(), request_for(settings)
            )
    finally:
        server.stop(0)


def test_a_server_without_the_feature_is_told(port: int, tmp_path: Path) -> None:
    from sila2.server import SilaServer

    server = SilaServer("other", "Other", "Something else", "1.0", "https://sila-standard.org")
    server.start_insecure("127.0.0.1", port, enable_discovery=False)
    try:
        with pytest.raises(OSError, match="no feature SynthesisAndMeasurement"):
            submitted(lab(port).build(), request_for(lab(port)))
    finally:
        server.stop(0)


def test_the_simulator_is_a_program_that_can_be_killed(port: int, journal: Journal, tmp_path: Path) -> None:
    settings = lab(port, timeout=3)
    command = [sys.executable, "-m", "oracles.lab.simulator_sila2", "--insecure", "--port", str(port)]
    command += ["--journal", str(tmp_path / "robot.jsonl"), "--seconds"]
    root = Path(__file__).parents[2]
    desk, first = desk_with(settings, request_for(settings), tmp_path)
    robot = subprocess.Popen([*command, "30"], cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        until(lambda: desk.poll() == [] and begun(journal) == 1, 60)
        desk.submit(settings, request_for(settings, "MgO"), attempt=1)
    finally:
        robot.kill()
        robot.wait()
    robot = subprocess.Popen([*command, "0.1"], cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        outcomes = until(lambda: desk.poll(), 60)
        while len(outcomes) < 2:
            outcomes += until(lambda: desk.poll(), 60)
    finally:
        robot.terminate()
        robot.wait()
    assert {o.key == first.key: o.status for o in outcomes} == {True: Status.FAILED, False: Status.DONE}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"address": None}, "either address and port"),
        ({"server_name": "robot"}, "either address and port"),
        ({"address": "robot.example.org"}, "insecure is for a server on this machine"),
        ({"address": None, "server_name": "robot"}, "insecure is for a server on this machine"),
        ({"address": None, "server_name": "robot", "insecure": False}, "give its certificate"),
        ({"port": 0}, "port"),
        ({"server_uuid": "no"}, "UUID"),
    ],
)
def test_a_block_that_cannot_be_right_is_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError) as error:
        lab(50052, **changes)
    assert told in str(error.value)
