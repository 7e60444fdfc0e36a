"""A campaign with a lab in its line: it goes on while answers are out, learns from them, and asks nothing twice."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loop import status
from loop.config import CampaignConfig
from loop.database.lab_rows import OrderRow
from loop.database.rows import EvaluationStatus
from loop.database.store import Store
from loop.engine import Campaign, ExitCode
from loop.loading import parse_campaign
from materials.evaluation import FailureKind
from oracles.lab.results import MeasuredValue, done, failed, measurements_of

FILE = """
name: lab
seed: 1
space:
  kind: composition
  elements: [Li, Na, K, S, Cl]
  required: [Li]
  number_of_elements: [2, 3]
  number_of_atoms: [2, 12]
objectives: [{{property: log_ionic_conductivity, goal: maximize}}]
constraints: [{{property: band_gap, at_least: 1}}]
generators: [{{kind: files, path: pool.csv}}]
oracles:
  - {{kind: lab, measures: [log_ionic_conductivity], most_waiting: {most}{inventory}}}
  - {{kind: table, file: pool.csv, measures: [band_gap], fidelity: PBE}}
surrogate: {{kind: gp, descriptor: composition, prior: none}}
executor: {{kind: serial}}
budget: {{rounds: 3, batch: 2, pool: 12}}
limits: {{seconds_of_waiting: {waiting}}}
tracking: none
"""


def config(folder: Path, most: int = 4, waiting: float = 0.0, inventory: str = "") -> CampaignConfig:
    formulas = ["Li2S", "LiCl", "LiS", "Li3S", "LiCl2", "Li3Cl", "LiNaCl2", "Li2NaCl3", "Li3NaCl4", "LiKS"]
    formulas += ["LiK2S2", "LiK3S3"]
    rows = [f"{formula},{2 + i / 10}" for i, formula in enumerate(formulas)]
    (folder / "pool.csv").write_text("\n".join(["formula,band_gap", *rows]) + "\n")
    text = FILE.format(most=most, waiting=waiting, inventory=inventory)
    return parse_campaign(text, folder / "lab.yaml")


def answer(store: Store, row: OrderRow, value: float) -> None:
    """What a robot does with an order it has taken."""
    told = MeasuredValue(property="log_ionic_conductivity", value=value, unit="log10(S/cm)", std=0.1)
    outcome = done(row.order, measurements_of(row.order, [told]), 1.0, {})
    store.lab().post(row.order.key, "robot", row.lease, outcome)


def work(store: Store, number: int) -> list[str]:
    """Takes and answers so many orders; their keys."""
    rows = store.lab().lease("robot", number, 60)
    for place, row in enumerate(rows):
        answer(store, row, -3.0 - place)
    return [row.order.key for row in rows]


def test_rounds_close_while_answers_are_out_until_too_many_are(tmp_path: Path) -> None:
    with Campaign(config(tmp_path), tmp_path / "run") as campaign:
        assert campaign.run() is ExitCode.WAITING
        assert "4 by lab" in campaign.stop_reason
        assert [row.closed_at is not None for row in campaign.store.rounds()] == [True, True]
        first, second = ({s.candidate.id for s in campaign.store.selections(number)} for number in (1, 2))
        assert first.isdisjoint(second)  # what is pending is counted and not picked again


def test_a_run_by_a_timer_takes_in_what_came_and_goes_on(tmp_path: Path) -> None:
    answered: list[str] = []
    for _ in range(6):
        with Campaign(config(tmp_path), tmp_path / "run") as campaign:
            code = campaign.run()
            answered += work(campaign.store, 2)
        if code is ExitCode.DONE:
            break
    assert code is ExitCode.DONE
    assert len(answered) == len(set(answered)) == 6
    with Store.view(tmp_path / "run" / "campaign.db") as view:
        rows = view.evaluations()
        later = [row for row in rows if row.arrived_in_round != row.round]
        archive = view.archive((), (), ["lab", "table"])
    assert Counter(row.oracle for row in rows) == {"lab": 6, "table": 6}
    assert all(row.status is EvaluationStatus.DONE for row in rows)
    assert later  # answers that came in a later round than they were asked in
    fidelities = {m.fidelity for r in archive.evaluated for m in r.measurements if m.std == 0.1}
    assert fidelities == {"experiment"}


def test_two_viewers_a_robot_and_a_driver_share_one_database(tmp_path: Path, place: str) -> None:
    settings = config(tmp_path, waiting=60.0).model_copy(
        update={"database": place if "://" in place else f"sqlite:///{place}"}
    )
    stop, seen, faults = threading.Event(), list[list[int]](), list[BaseException]()

    def robot() -> None:
        with Store.open(place, "lab", create=False) as store:
            while not stop.wait(0.05):
                work(store, 1)

    def viewer() -> None:
        mine: list[int] = []
        seen.append(mine)
        try:
            while not stop.wait(0.02):
                with Store.view(place, "lab") as view:
                    mine.append(len(view.archive((), (), ["lab", "table"]).evaluated))
                    view.lab_orders().orders()
        except BaseException as error:
            faults.append(error)

    with Campaign(settings, tmp_path / "run") as campaign:
        threads = [threading.Thread(target=one) for one in (robot, viewer, viewer)]
        for thread in threads:
            thread.start()
        try:
            assert campaign.run() is ExitCode.DONE
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert len(campaign.archive().evaluated) == 6
    assert not faults
    assert all(counts == sorted(counts) for counts in seen)  # nothing that was seen is ever taken back
    assert max(map(max, seen)) > 0


def test_what_the_lab_could_not_make_is_a_failure_and_not_asked_again(tmp_path: Path) -> None:
    with Campaign(config(tmp_path), tmp_path / "run") as campaign:
        campaign.run()
        (row,) = campaign.store.lab().lease("robot", 1, 60)
        outcome = failed(row.order, FailureKind.ERROR, "the pellet broke")
        campaign.store.lab().post(row.order.key, "robot", row.lease, outcome)
    with Campaign(config(tmp_path), tmp_path / "run") as campaign:
        campaign.run()
        record = campaign.archive()[row.order.candidate_id]
        assert record.failure is not None
        assert record.failure.message == "the pellet broke"
        taken = campaign.store.lab().lease("robot", 100, 60)
        assert row.order.key not in {one.order.key for one in taken}


def test_what_the_inventory_cannot_give_is_rejected_before_anybody_is_asked(tmp_path: Path) -> None:
    shelf = ", inventory: [{formula: Li2S}, {formula: LiCl}, {formula: S}]"
    settings = config(tmp_path, most=12, inventory=shelf)
    with Campaign(settings, tmp_path / "run") as campaign:
        campaign.run()
        orders = campaign.store.lab().orders()
        rejected = campaign.store.evaluations(EvaluationStatus.REJECTED)
        assert orders
        assert rejected
        for row in orders:
            assert not {"Na", "K"} & set(row.order.formula)
            assert row.order.precursors
        for evaluation in rejected:
            assert evaluation.failure is not None
            assert evaluation.failure.kind is FailureKind.UNSUPPORTED_MATERIAL
            assert "inventory" in evaluation.failure.message


@pytest.mark.parametrize("verdict", ["repeat", "give_up"])
def test_a_vanished_robot_costs_a_decision_and_never_a_repetition(tmp_path: Path, verdict: str) -> None:
    with Campaign(config(tmp_path), tmp_path / "run") as campaign:
        campaign.run()
        desk = campaign.store.lab()
        (row,) = desk.lease("robot", 1, 0.0)
        assert campaign.run() is ExitCode.WAITING  # notices that the lease has lapsed
        assert desk.order(row.order.key).status == "unknown"
        told = CliRunner().invoke(status.app, [str(tmp_path / "run")]).output
        assert row.order.key in told
        assert "--give-up" in told
        assert row.order.key not in {one.order.key for one in desk.lease("other", 100, 0.0)}
        desk.decide(row.order.key, "person", verdict)  # type: ignore[arg-type]
        assert (row.order.key in {one.order.key for one in desk.lease("third", 1, 60)}) == (
            verdict == "repeat"
        )
