"""A lab behind a folder: what goes out, what comes back, and what must never happen to either."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from lab_folder import answer, asked, lab, names, put, why
from lab_requests import desk_with, request_for, submitted, the_outcome, until
from pydantic import ValidationError

from loop.executors.tickets import TicketDesk
from materials.evaluation import FailureKind, Status


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "exchange"
    place.mkdir()
    return place


def test_a_request_is_a_file_and_its_answer_an_outcome(folder: Path) -> None:
    settings = lab(folder)
    oracle, ticket = asked(settings)
    request = json.loads((folder / "requests" / f"{ticket.key}.json").read_text())
    assert request["formula"] == "Li3ClO"
    assert request["targets"][0]["property"] == "band_gap"
    assert oracle.poll(ticket) is None
    put(folder, f"{ticket.key}.json", {**answer(ticket.key, std=0.1), "seconds": 60.0, "notes": "white"})
    outcome = oracle.poll(ticket)
    assert outcome is not None
    assert outcome.status is Status.DONE
    (measured,) = outcome.measurements
    assert (measured.value, measured.std, measured.fidelity) == (3.2, 0.1, "experiment")
    assert (outcome.seconds, outcome.provenance["notes"]) == (60.0, "white")
    assert names(folder / "accepted") == [f"{ticket.key}.json"]
    assert names(folder / "requests") == names(folder / "results") == names(folder / "refused") == []


def test_a_table_is_filled_in_by_a_spreadsheet(folder: Path) -> None:
    settings = lab(
        folder,
        *("log_ionic_conductivity", "band_gap"),
        format="csv",
        inventory=[{"formula": "Li2O"}, {"formula": "LiCl"}],
    )
    oracle, ticket = asked(settings)
    file = folder / "requests" / f"{ticket.key}.csv"
    with file.open(encoding="utf-8-sig", newline="") as text:
        rows = list(csv.DictReader(text))
    assert [(row["property"], row["unit"], row["value"]) for row in rows] == [
        ("log_ionic_conductivity", rows[0]["unit"], ""),
        ("band_gap", "eV", ""),
    ]
    assert rows[0]["precursors"].startswith("Li2O 0.")
    lines = [
        f"{ticket.key};{r['property']};{v};{r['unit']}" for r, v in zip(rows, ("-3.5", "5"), strict=True)
    ]
    put(folder, "week 12.csv", "\ufeffkey;property;value;unit\r\n" + "\r\n".join(lines) + "\r\n;;;\r\n")
    outcome = oracle.poll(ticket)
    assert outcome is not None
    assert [m.value for m in outcome.measurements] == [-3.5, 5.0]


def test_one_table_answers_many_and_one_failure(folder: Path) -> None:
    settings = lab(folder)
    oracle = settings.build()
    formulas = ("Li3OCl", "MgO", "LiF")
    tickets = [submitted(oracle, request_for(settings, formula)) for formula in formulas]
    one, two, three = (ticket.key for ticket in tickets)
    put(
        folder,
        "all.csv",
        f"key,property,value,unit,std,failure\n{one},band_gap,1.5,eV,0.1,\n{two},band_gap,2.5,eV,,\n"
        f"{three},band_gap,,,,it melted\n",
    )
    outcomes = [oracle.poll(ticket) for ticket in tickets]
    assert [o and o.status for o in outcomes] == [Status.DONE, Status.DONE, Status.FAILED]
    assert outcomes[2] is not None
    assert outcomes[2].failure is not None
    assert (outcomes[2].failure.kind, outcomes[2].failure.message) == (FailureKind.ERROR, "it melted")


@pytest.mark.parametrize("name", ["~$a.csv", ".a.json", "a.json.part", "a.csv.tmp", "a.csv~"])
def test_files_that_are_being_written_are_left_alone(folder: Path, name: str) -> None:
    oracle, ticket = asked(lab(folder))
    put(folder, name, "{")
    assert oracle.poll(ticket) is None
    assert names(folder / "results") == [name]


def test_a_file_that_grows_is_read_when_it_rests(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("oracles.lab.folder.time.monotonic", lambda: now[0])
    oracle, ticket = asked(lab(folder, settle_seconds=5.0))
    whole = json.dumps(answer(ticket.key))
    for end in range(10, len(whole), 20):
        put(folder, "a.json", whole[:end])
        now[0] += 4.0
        assert oracle.poll(ticket) is None
    put(folder, "a.json", whole)
    assert oracle.poll(ticket) is None
    now[0] += 6.0
    assert oracle.poll(ticket) is not None


def test_asking_again_writes_nothing_again(folder: Path) -> None:
    settings = lab(folder)
    request = request_for(settings)
    ticket = submitted(settings.build(), request)
    (folder / "requests" / f"{ticket.key}.json").rename(folder / "taken.json")
    assert submitted(settings.build(), request) == ticket
    assert names(folder / "requests") == []
    put(folder, "a.json", answer(ticket.key))
    oracle = settings.build()
    assert submitted(oracle, request) == ticket
    assert names(folder / "requests") == []
    first = oracle.poll(ticket)
    assert submitted(oracle, request) == ticket
    assert names(folder / "requests") == []
    assert first == oracle.poll(ticket)


def test_a_driver_killed_while_it_gives_an_order_gives_it_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = lab(folder)
    request = request_for(settings)
    place = folder / "requests" / f"{request.key}.json"

    def killed(self: Path, target: Path) -> Path:
        if target == place:
            raise KeyboardInterrupt
        self.rename(target)
        return target

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            submitted(settings.build(), request)
    assert not place.exists()
    submitted(settings.build(), request)
    assert place.exists()


def test_an_answer_is_not_changed_later(folder: Path) -> None:
    oracle, ticket = asked(lab(folder))
    put(folder, "a.json", answer(ticket.key, 3.0))
    first = oracle.poll(ticket)
    put(folder, "again.json", answer(ticket.key, 3.0))
    put(folder, "other.json", answer(ticket.key, 4.0))
    _, another = asked(lab(folder), "MgO")
    assert oracle.poll(another) is None
    assert names(folder / "accepted") == ["a.json", "again.json"]
    assert "answered already, with other values" in why(folder)
    assert oracle.poll(ticket) == first


def test_a_request_can_be_taken_back_until_somebody_took_it(folder: Path) -> None:
    settings = lab(folder)
    oracle, ticket = asked(settings)
    assert oracle.cancel(ticket)
    assert names(folder / "requests") == []
    assert submitted(oracle, request_for(settings)) == ticket
    (folder / "requests" / f"{ticket.key}.json").unlink()
    assert not oracle.cancel(ticket)


def test_what_nobody_takes_until_the_deadline_is_given_up(folder: Path) -> None:
    settings = lab(folder, deadline_hours=1e-9)
    oracle, ticket = asked(settings)
    outcome = oracle.poll(ticket)
    assert outcome is not None
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.TIMEOUT
    assert names(folder / "requests") == []
    oracle, taken = asked(settings, "MgO")
    (folder / "requests" / f"{taken.key}.json").unlink()
    assert oracle.poll(taken) is None


def test_an_answer_that_comes_at_the_last_moment_is_waited_for(folder: Path) -> None:
    settings = lab(folder, deadline_hours=1e-9, settle_seconds=0.2)
    oracle, ticket = asked(settings)
    put(folder, "a.json", answer(ticket.key))
    assert oracle.poll(ticket) is None
    assert until(lambda: oracle.poll(ticket)).status is Status.DONE


def test_what_the_inventory_cannot_give_is_rejected_without_a_request(folder: Path) -> None:
    oracle, ticket = asked(lab(folder, inventory=[{"formula": "MgO"}]))
    outcome = oracle.poll(ticket)
    assert outcome is not None
    assert outcome.status is Status.REJECTED
    assert names(folder) == []


def test_a_driver_that_starts_again_hears_what_came_meanwhile(folder: Path, tmp_path: Path) -> None:
    settings = lab(folder)
    request = request_for(settings)
    desk, ticket = desk_with(settings, request, tmp_path / "evaluations")
    assert desk.poll() == []
    put(folder, "a.csv", f"key,property,value,unit\n{ticket.key},band_gap,3.1,eV\n")
    again = TicketDesk(tmp_path / "evaluations")
    again.resume(settings, request, ticket)
    assert the_outcome(again).measurements[0].value == 3.1


def test_a_drive_that_is_away_delays_and_loses_nothing(folder: Path, tmp_path: Path) -> None:
    settings = lab(folder)
    desk, ticket = desk_with(settings, request_for(settings), tmp_path / "evaluations")
    folder.rename(tmp_path / "away")
    assert desk.poll() == []
    assert not desk.cancel(ticket)
    (tmp_path / "away").rename(folder)
    put(folder, "a.json", answer(ticket.key))
    assert the_outcome(desk).status is Status.DONE


def test_the_way_to_the_lab_is_no_part_of_what_is_asked(folder: Path, tmp_path: Path) -> None:
    assert lab(folder).fingerprint() == lab(tmp_path, format="csv", grams=2.0).fingerprint()
    assert lab(folder).fingerprint() != lab(folder, conditions={"temperature": 300.0}).fingerprint()
    with pytest.raises(ValidationError, match="format"):
        lab(folder, format="xlsx")
