"""Oracles that are elsewhere: a robot in a process of its own, reached through a folder."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest
from executor_oracles import RobotSettings, TrialSettings, request_for, robot_at

from loop.executors import base
from loop.executors.base import Dispatcher, ExecutorSettings
from loop.executors.local import LocalExecutorSettings
from loop.executors.serial import SerialExecutorSettings
from materials.evaluation import FailureKind, Outcome, Status


@pytest.fixture(autouse=True)
def _quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "POLL_SECONDS", 0.05)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Path]:
    """The folder between us and the robot, which works while it is used."""
    folder = tmp_path / "desk"
    folder.mkdir()
    robot = multiprocessing.get_context("spawn").Process(target=robot_at, args=(folder,), daemon=True)
    robot.start()
    yield folder
    (folder / "stop").touch()
    robot.join()


@pytest.fixture(params=[SerialExecutorSettings(), LocalExecutorSettings(workers=1)], ids=lambda s: s.kind)
def executor(request: pytest.FixtureRequest) -> ExecutorSettings:
    settings: ExecutorSettings = request.param
    return settings


def all_outcomes(dispatcher: Dispatcher) -> list[Outcome]:
    outcomes = []
    while dispatcher.running():
        outcomes += dispatcher.wait(60)
    return outcomes


def test_a_robot_and_a_worker_look_the_same(executor: ExecutorSettings, desk: Path, tmp_path: Path) -> None:
    robot, trial = RobotSettings(desk=desk), TrialSettings()
    with executor.build(tmp_path / "evaluations", 60) as dispatcher:
        dispatcher.warm([robot, trial])
        for number in range(3):
            dispatcher.submit(robot, request_for(robot, number), attempt=1)
            dispatcher.submit(trial, request_for(trial, number), attempt=1)
        assert [t.outside for t in dispatcher.running()] == [False] * 3 + [True] * 3
        outcomes = all_outcomes(dispatcher)
        values = sorted((o.oracle, o.measurements[0].value) for o in outcomes)
        assert values == [("robot", 1), ("robot", 2), ("robot", 3), ("trial", 0), ("trial", 1), ("trial", 2)]
        assert all(dispatcher.harvest(o.key) == o for o in outcomes)


def test_a_ticket_outlives_its_driver(desk: Path, tmp_path: Path) -> None:
    robot = RobotSettings(desk=desk)
    request = request_for(robot, 4)
    (desk / "pause").touch()
    with SerialExecutorSettings().build(tmp_path / "evaluations", 60) as dispatcher:
        ticket = dispatcher.submit(robot, request, attempt=2)
        assert dispatcher.wait(0.2) == []
    (desk / "pause").unlink()
    with SerialExecutorSettings().build(tmp_path / "evaluations", 60) as dispatcher:
        assert dispatcher.resume(robot, request, ticket)
        (outcome,) = all_outcomes(dispatcher)
        assert outcome.measurements[0].value == 5
        assert dispatcher.harvest(request.key, attempt=2) == outcome


def test_an_outage_delays_the_answer_and_loses_nothing(desk: Path, tmp_path: Path) -> None:
    robot = RobotSettings(desk=desk)
    with SerialExecutorSettings().build(tmp_path / "evaluations", 60) as dispatcher:
        ticket = dispatcher.submit(robot, request_for(robot), attempt=1)
        (desk / "offline").touch()
        assert dispatcher.wait(0.5) == []
        assert not dispatcher.cancel(ticket)
        assert len(dispatcher.running()) == 1
        (desk / "offline").unlink()
        assert [o.status for o in all_outcomes(dispatcher)] == [Status.DONE]


def test_what_cannot_be_sent_is_sent_when_the_line_is_back(desk: Path, tmp_path: Path) -> None:
    robot = RobotSettings(desk=desk)
    (desk / "offline").touch()
    with SerialExecutorSettings().build(tmp_path / "evaluations", 60) as dispatcher:
        ticket = dispatcher.submit(robot, request_for(robot, 4), attempt=1)
        assert dispatcher.wait(0.5) == []
        assert not dispatcher.cancel(ticket)
        assert [task.key for task in dispatcher.running()] == [ticket.key]
        assert not list(desk.glob("*.question"))
        (desk / "offline").unlink()
        assert [o.measurements[0].value for o in all_outcomes(dispatcher)] == [5]


def test_what_one_driver_could_not_send_the_next_one_sends(desk: Path, tmp_path: Path) -> None:
    robot = RobotSettings(desk=desk)
    request = request_for(robot, 4)
    (desk / "offline").touch()
    with SerialExecutorSettings().build(tmp_path / "evaluations", 60) as dispatcher:
        ticket = dispatcher.submit(robot, request, attempt=1)
    (desk / "offline").unlink()
    with SerialExecutorSettings().build(tmp_path / "evaluations", 60) as dispatcher:
        assert dispatcher.resume(robot, request, ticket)
        (outcome,) = all_outcomes(dispatcher)
        assert outcome.measurements[0].value == 5
        assert dispatcher.harvest(request.key, attempt=1) == outcome


def test_what_could_not_be_sent_can_be_cancelled(desk: Path, tmp_path: Path) -> None:
    robot = RobotSettings(desk=desk)
    for mark in ("pause", "offline"):
        (desk / mark).touch()
    with SerialExecutorSettings().build(tmp_path / "evaluations", 60) as dispatcher:
        ticket = dispatcher.submit(robot, request_for(robot), attempt=1)
        (desk / "offline").unlink()
        assert dispatcher.cancel(ticket)
        assert dispatcher.running() == []
        assert not list(desk.glob("*.question"))


def test_a_bad_answer_from_outside_is_a_typed_failure(desk: Path, tmp_path: Path) -> None:
    robot = RobotSettings(desk=desk)
    with SerialExecutorSettings().build(tmp_path / "evaluations", 60) as dispatcher:
        dispatcher.submit(robot, request_for(robot, 13), attempt=1)
        (outcome,) = all_outcomes(dispatcher)
        assert outcome.failure is not None
        assert outcome.failure.kind is FailureKind.BAD_RESULT


def test_what_waits_outside_can_be_cancelled(desk: Path, tmp_path: Path) -> None:
    robot = RobotSettings(desk=desk)
    (desk / "pause").touch()
    with SerialExecutorSettings().build(tmp_path / "evaluations", 60) as dispatcher:
        ticket = dispatcher.submit(robot, request_for(robot), attempt=1)
        assert dispatcher.cancel(ticket)
        assert dispatcher.running() == []
        assert not list(desk.glob("*.question"))
