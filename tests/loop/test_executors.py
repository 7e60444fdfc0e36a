"""What every executor promises; each test runs with the serial, the local one and Parsl's."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from executor_oracles import TrialSettings, double, refuse, request_for
from parsl_executors import needs_parsl, quick_parsl

from loop.executors.base import Dispatcher, ExecutorSettings
from loop.executors.local import LocalExecutorSettings
from loop.executors.serial import SerialExecutorSettings
from materials.evaluation import FailureKind, Outcome, Status, Ticket

EXECUTORS = {
    "serial": SerialExecutorSettings(),
    "local": LocalExecutorSettings(workers=1),
    "parsl": quick_parsl(),
}
NAMES = ["serial", "local", pytest.param("parsl", marks=needs_parsl)]


@pytest.fixture(scope="module", params=NAMES)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dispatcher]:
    """One dispatcher for all tests of an executor, because workers take seconds to start."""
    folder = tmp_path_factory.mktemp("run") / "evaluations"
    with EXECUTORS[request.param].build(folder, 60) as dispatcher:
        yield dispatcher


@pytest.fixture
def dispatcher(shared: Dispatcher) -> Iterator[Dispatcher]:
    yield shared
    assert shared.running() == []
    assert shared.wait(1) == []


@pytest.fixture
def trial(tmp_path: Path) -> Callable[..., TrialSettings]:
    """Settings whose keys belong to this test alone, because the folder is shared."""
    return lambda does="answers": TrialSettings(does=does, mark=tmp_path)


def all_outcomes(dispatcher: Dispatcher) -> list[Outcome]:
    outcomes = []
    while dispatcher.running():
        outcomes += dispatcher.wait(60)
    return outcomes


def test_each_request_comes_back_once_in_order_and_is_recorded(
    dispatcher: Dispatcher, trial: Callable[..., TrialSettings]
) -> None:
    requests = [request_for(trial(), n) for n in range(20)]
    tickets = [dispatcher.submit(trial(), r, attempt=1) for r in requests]
    assert [t.key for t in tickets] == [r.key for r in requests]
    assert {task.key for task in dispatcher.running()} == {r.key for r in requests}
    outcomes = all_outcomes(dispatcher)
    assert [(o.key, o.status, o.measurements[0].value) for o in outcomes] == [
        (r.key, Status.DONE, float(r.replicate)) for r in requests
    ]
    assert [dispatcher.harvest(r.key) for r in requests] == outcomes


def test_one_failure_does_not_touch_the_next(
    dispatcher: Dispatcher, trial: Callable[..., TrialSettings]
) -> None:
    for does in ("raises", "answers", "gives nan", "exits", "answers"):
        settings = trial(does)
        dispatcher.submit(settings, request_for(settings, len(dispatcher.running())), attempt=1)
    kinds = [o.failure.kind if o.failure else None for o in all_outcomes(dispatcher)]
    assert kinds == [FailureKind.ERROR, None, FailureKind.BAD_RESULT, FailureKind.ERROR, None]


def test_an_oracle_that_cannot_be_built_fails_its_requests_only(
    dispatcher: Dispatcher, trial: Callable[..., TrialSettings]
) -> None:
    settings = trial("cannot be built")
    dispatcher.warm([settings, trial()])
    dispatcher.submit(settings, request_for(settings), attempt=1)
    dispatcher.submit(trial(), request_for(trial()), attempt=1)
    broken, sound = all_outcomes(dispatcher)
    assert broken.failure is not None
    assert "no such model" in broken.failure.message
    assert sound.status is Status.DONE


def test_a_key_is_asked_once_at_a_time(dispatcher: Dispatcher, trial: Callable[..., TrialSettings]) -> None:
    request = request_for(trial())
    dispatcher.submit(trial(), request, attempt=1)
    with pytest.raises(ValueError, match=request.key):
        dispatcher.submit(trial(), request, attempt=2)
    assert len(all_outcomes(dispatcher)) == 1


def test_attempts_keep_their_own_folders(dispatcher: Dispatcher, trial: Callable[..., TrialSettings]) -> None:
    settings = trial("raises")
    request = request_for(settings)
    for attempt in (1, 2):
        dispatcher.submit(settings, request, attempt)
        all_outcomes(dispatcher)
        assert (dispatcher.folder / request.key / str(attempt) / "traceback.txt").exists()


def test_what_waits_can_be_cancelled_and_what_ended_cannot(
    dispatcher: Dispatcher, trial: Callable[..., TrialSettings]
) -> None:
    tickets = [dispatcher.submit(trial(), request_for(trial(), n), attempt=1) for n in range(3)]
    assert dispatcher.cancel(tickets[2])
    assert [o.key for o in all_outcomes(dispatcher)] == [t.key for t in tickets[:2]]
    assert not any(dispatcher.cancel(t) for t in tickets)
    assert not dispatcher.cancel(Ticket("trial", "unknown"))


def test_oracle_chatter_goes_to_the_log_and_quiet_ones_leave_none(
    dispatcher: Dispatcher, trial: Callable[..., TrialSettings], capfd: pytest.CaptureFixture[str]
) -> None:
    loud, quiet = request_for(trial("chatters")), request_for(trial())
    dispatcher.submit(trial("chatters"), loud, attempt=1)
    dispatcher.submit(trial(), quiet, attempt=1)
    all_outcomes(dispatcher)
    log = (dispatcher.folder / loud.key / "1" / "log.txt").read_text()
    assert all(words in log for words in ("to stdout", "to stderr"))
    assert not (dispatcher.folder / quiet.key / "1" / "log.txt").exists()
    assert capfd.readouterr() == ("", "")


def test_map_keeps_the_order_and_raises_what_the_function_raises(dispatcher: Dispatcher) -> None:
    assert dispatcher.map(double, [(n,) for n in range(50)]) == [2 * n for n in range(50)]
    assert dispatcher.map(double, []) == []
    with pytest.raises(ValueError, match="1 is refused"):
        dispatcher.map(refuse, [(1,)])


def test_outcomes_that_arrive_during_map_are_kept(
    dispatcher: Dispatcher, trial: Callable[..., TrialSettings]
) -> None:
    request = request_for(trial())
    dispatcher.submit(trial(), request, attempt=1)
    dispatcher.map(double, [(n,) for n in range(5)])
    assert [o.key for o in all_outcomes(dispatcher)] == [request.key]


def test_tickets_of_an_earlier_driver_are_dead(
    dispatcher: Dispatcher, trial: Callable[..., TrialSettings]
) -> None:
    request = request_for(trial())
    ticket = Ticket("trial", request.key, {"attempt": 1})
    assert not dispatcher.resume(trial(), request, ticket)


@pytest.mark.parametrize("name", NAMES)
def test_a_new_driver_harvests_what_an_earlier_one_finished(name: str, tmp_path: Path) -> None:
    executor: ExecutorSettings = EXECUTORS[name]
    settings = TrialSettings()
    done, never = request_for(settings, 1), request_for(settings, 2)
    with executor.build(tmp_path, 60) as dispatcher:
        dispatcher.submit(settings, done, attempt=1)
        (outcome,) = dispatcher.wait()
    with executor.build(tmp_path, 60) as dispatcher:
        assert dispatcher.harvest(done.key) == outcome
        assert dispatcher.harvest(never.key) is None


@pytest.mark.parametrize("other", NAMES[1:])
def test_no_executor_decides_what_comes_out(tmp_path: Path, other: str) -> None:
    def answers(name: str) -> list[object]:
        with EXECUTORS[name].build(tmp_path / name, 60) as dispatcher:
            for n, does in enumerate(("answers", "raises", "gives two", "answers")):
                settings = TrialSettings(does=does)
                dispatcher.submit(settings, request_for(settings, n), attempt=1)
            return [(o.key, o.status, o.measurements, o.failure) for o in all_outcomes(dispatcher)]

    assert answers("serial") == answers(other)
