"""A lab with a server of its own that fails in every way a server can: nothing is made twice, and nothing is lost."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

pytest.importorskip("httpx", reason="the extra `lab` is not installed")
pytest.importorskip("fastapi", reason="the extra `lab` is not installed")
pytest.importorskip("uvicorn", reason="the extra `lab` is not installed")

from lab_requests import SIGMA, desk_with, request_for, rest_block, submitted, the_outcome, until
from lab_server import TOKEN, LabServer, free_port, served

from loop.executors import tickets
from loop.executors.tickets import TicketDesk
from materials.evaluation import FailureKind, Status, Ticket
from oracles.base import TicketOracle
from oracles.lab.rest_settings import RestSettings


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_TOKEN", TOKEN)
    monkeypatch.setattr("random.uniform", lambda low, high: 0.05)
    monkeypatch.setattr(tickets, "FIRST_PAUSE", 0.1)


@pytest.fixture
def server() -> Iterator[LabServer]:
    with served(LabServer(free_port())) as running:
        yield running


def lab(url: str, /, **changes: object) -> RestSettings:
    return RestSettings.model_validate(rest_block(url) | changes)


def asked(server: LabServer, **changes: object) -> tuple[TicketOracle, Ticket]:
    settings = lab(server.url, **changes)
    oracle = settings.build()
    return oracle, submitted(oracle, request_for(settings))


def unit() -> str:
    (target,) = lab("http://localhost").order(request_for(lab("http://localhost"))).targets
    return target.unit


def good(server: LabServer, value: object = -3.5) -> None:
    server.answer("finished", sigma=[value], error=0.2, unit=unit(), took=60)


def test_an_order_goes_out_once_and_its_answer_comes_back(server: LabServer) -> None:
    oracle, ticket = asked(server)
    (job,) = server.jobs.values()
    assert list(server.jobs) == [ticket.key]
    assert job["body"]["sample"] == "Li3ClO by rest"
    assert (job["body"]["want"][0]["property"], job["body"]["n"]) == (SIGMA, 1)
    assert oracle.poll(ticket) is None
    good(server)
    outcome = until(lambda: oracle.poll(ticket))
    (measured,) = outcome.measurements
    assert (measured.value, measured.std, measured.fidelity) == (-3.5, 0.2, "experiment")
    assert (outcome.seconds, outcome.provenance["job"]) == (60.0, "1")
    json.dumps(dict(ticket.handle))


MISHAPS = ["500", "503", "429", "busy", "slow", "hang", "closed", "huge", "html", "{", '{"job": {}}', "null"]


@pytest.mark.parametrize("when", ["", "done, then "])
@pytest.mark.parametrize("mishap", [*MISHAPS, "404", "401", "409", "to http://127.0.0.2:9/api/jobs"])
def test_what_goes_wrong_while_an_order_is_given_makes_it_neither_lost_nor_made_twice(
    server: LabServer, tmp_path: Path, mishap: str, when: str
) -> None:
    server.mishaps = [when + mishap]
    settings = lab(server.url)
    desk, _ = desk_with(settings, request_for(settings), tmp_path)
    until(lambda: desk.poll() == [] and server.jobs and not server.mishaps)
    until(lambda: (good(server), desk.poll())[1])
    assert server.made == 1


@pytest.mark.parametrize("mishap", [*MISHAPS, "404", "401", "to http://127.0.0.2:9/api/jobs/1"])
def test_what_goes_wrong_while_an_answer_is_asked_for_only_delays_it(
    server: LabServer, tmp_path: Path, mishap: str
) -> None:
    settings = lab(server.url)
    desk, _ = desk_with(settings, request_for(settings), tmp_path)
    good(server)
    server.mishaps = [mishap]
    assert the_outcome(desk).status is Status.DONE


def test_a_redirect_on_the_same_server_is_followed(server: LabServer) -> None:
    server.mishaps = [f"to {server.url}/jobs"]
    _, ticket = asked(server)
    assert ticket.handle["id"] == "1"


def test_a_server_is_known_by_its_certificate(tmp_path: Path) -> None:
    encryption = pytest.importorskip("sila2.server.encryption", reason="it makes the certificates")
    for name in ("lab", "other"):
        key, certificate = encryption.generate_self_signed_certificate(uuid4(), "127.0.0.1")
        (tmp_path / f"{name}.key").write_bytes(key)
        (tmp_path / f"{name}.pem").write_bytes(certificate)
    server = LabServer(free_port())
    server.url = server.url.replace("http:", "https:")
    with served(server, ssl_keyfile=tmp_path / "lab.key", ssl_certfile=tmp_path / "lab.pem"):
        for certificate in (None, str(tmp_path / "other.pem")):
            with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
                asked(server, certificate=certificate)
        assert server.asked == []
        _, ticket = asked(server, certificate=str(tmp_path / "lab.pem"))
        assert ticket.handle["id"] == "1"


def test_a_token_never_goes_to_another_server(server: LabServer, tmp_path: Path) -> None:
    with served(LabServer(free_port())) as other:
        server.mishaps = [f"to {other.url}/jobs"] * 2
        settings = lab(server.url)
        desk, _ = desk_with(settings, request_for(settings), tmp_path)
        until(lambda: desk.poll() == [] and server.jobs)
        assert other.asked == []


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_order_that_is_refused_is_never_given_again(
    server: LabServer, tmp_path: Path, status: int
) -> None:
    server.refusal = status
    settings = lab(server.url)
    desk, _ = desk_with(settings, request_for(settings), tmp_path)
    outcome = the_outcome(desk)
    assert outcome.status is Status.REJECTED
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.BAD_INPUT
    assert "no glove box" in outcome.failure.message


def test_a_failure_keeps_the_labs_words(server: LabServer) -> None:
    oracle, ticket = asked(server)
    server.answer("broken", why="it melted")
    outcome = until(lambda: oracle.poll(ticket))
    assert outcome.failure is not None
    assert (outcome.status, outcome.failure.message) == (Status.FAILED, "it melted")


@pytest.mark.parametrize("value", [1e9, "-3.5", None, True, [1]])
def test_an_impossible_value_is_a_bad_result(server: LabServer, value: object) -> None:
    oracle, ticket = asked(server)
    good(server, value)
    outcome = until(lambda: oracle.poll(ticket))
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.BAD_RESULT


def test_a_value_that_the_campaign_file_does_not_find_waits_for_a_better_file(
    server: LabServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = rest_block(server.url)
    wrong["poll"] = {**wrong["poll"], "values": {SIGMA: "result.sigmas"}}
    settings = RestSettings.model_validate(wrong)
    request = request_for(settings)
    desk, ticket = desk_with(settings, request, tmp_path)
    good(server)
    with caplog.at_level(logging.WARNING):
        until(lambda: desk.poll() == [] and "no 'sigmas'; there are: sigma" in caplog.text)
    corrected = lab(server.url)
    assert corrected.fingerprint() == settings.fingerprint()
    desk = TicketDesk(tmp_path)
    desk.resume(corrected, request, ticket)
    assert the_outcome(desk).status is Status.DONE
    assert server.made == 1


def test_an_order_can_be_taken_back_until_it_is_worked_on(server: LabServer) -> None:
    oracle, ticket = asked(server)
    server.answer("working")
    assert not oracle.cancel(ticket)
    server.answer("queued")
    assert oracle.cancel(ticket)
    assert not oracle.cancel(ticket)
    oracle, ticket = asked(server, cancel=None)
    assert not oracle.cancel(ticket)


def test_a_server_that_is_away_is_asked_when_it_is_back_by_another_driver(tmp_path: Path) -> None:
    port = free_port()
    server = LabServer(port)
    settings = lab(server.url)
    request = request_for(settings)
    desk, ticket = desk_with(settings, request, tmp_path)
    assert desk.poll() == []
    assert "id" not in ticket.handle
    with served(server):
        desk = TicketDesk(tmp_path)
        desk.resume(settings, request, ticket)
        until(lambda: desk.poll() == [] and server.jobs)
    server.answer("finished", sigma=[-4.0], unit=unit())
    assert desk.poll() == []
    with served(server):
        third = TicketDesk(tmp_path)
        third.resume(settings, request, ticket)
        assert the_outcome(third).measurements[0].value == -4.0
    assert server.made == 1


def test_a_server_is_asked_no_sooner_than_it_wants(server: LabServer) -> None:
    oracle, ticket = asked(server)
    good(server)
    server.mishaps = ["busy"]
    assert oracle.poll(ticket) is None
    time.sleep(0.1)
    with pytest.raises(OSError, match="503"):
        oracle.poll(ticket)
    before, start = len(server.asked), time.monotonic()
    while time.monotonic() < start + 0.7:
        assert oracle.poll(ticket) is None
        time.sleep(0.02)
    assert len(server.asked) == before
    assert until(lambda: oracle.poll(ticket)).status is Status.DONE


def test_pauses_between_questions_grow_to_a_limit(server: LabServer) -> None:
    slow = rest_block(server.url)
    slow["poll"] = {**slow["poll"], "first_pause": 1.0, "longest_pause": 4.0}
    settings = RestSettings.model_validate(slow)
    oracle = settings.build()
    ticket = submitted(oracle, request_for(settings))
    asked_so_far = len(server.asked)
    end = time.monotonic() + 0.6  # pauses are a twentieth here: 0.05, 0.075, 0.11, 0.17, 0.2, 0.2
    while time.monotonic() < end:
        assert oracle.poll(ticket) is None
        time.sleep(0.005)
    assert 3 <= len(server.asked) - asked_so_far <= 6


def test_a_token_is_in_no_setting_and_in_no_message(
    server: LabServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = lab(server.url)
    assert TOKEN not in settings.model_dump_json()
    monkeypatch.setenv("LAB_TOKEN", "se\ncret")
    with pytest.raises(ValueError, match="LAB_TOKEN") as error:
        settings.build()
    assert "cret" not in str(error.value)
    monkeypatch.setenv("LAB_TOKEN", "another secret")
    with pytest.raises(OSError, match="no entry") as refused:
        submitted(settings.build(), request_for(settings))
    assert "another secret" not in str(refused.value)
