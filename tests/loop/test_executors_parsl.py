"""What the executor `parsl` promises when workers, nodes and drivers are lost; with real jobs on this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from campaigns import write_campaign
from executor_oracles import TrialSettings, die, double, double_but_die_once, request_for
from parsl_executors import needs_parsl, quick_parsl

from loop.errors import NoWorkersError
from loop.executors.parsl import ParslDispatcher, WorkersSettings
from loop.executors.pool import WorkerLostError
from loop.loading import load_campaign
from materials.evaluation import FailureKind, Outcome, Status, Ticket

pytestmark = needs_parsl
PATIENCE = 60.0  # seconds until a test gives up


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParslDispatcher]:
    gpu = WorkersSettings(accelerators=["3", "5"], cores_per_worker=0.1)
    folder = tmp_path_factory.mktemp("run") / "evaluations"
    with quick_parsl(workers=2, gpu=gpu).build(folder, 600) as dispatcher:
        yield dispatcher


@pytest.fixture
def dispatcher(shared: ParslDispatcher) -> Iterator[ParslDispatcher]:
    shared.seconds_per_evaluation = 600
    yield shared
    assert shared.running() == []
    until(lambda: not list((shared.folder / "parsl" / "notes").iterdir()), shared)


def submit(dispatcher: ParslDispatcher, does: str, mark: Path, number: int = 0, gpus: int = 0) -> Ticket:
    settings = TrialSettings(does=does, mark=mark, gpus=gpus)
    return dispatcher.submit(settings, request_for(settings, number), attempt=1)


def all_outcomes(dispatcher: ParslDispatcher) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    while dispatcher.running():
        outcomes |= {o.key: o for o in dispatcher.wait(PATIENCE)}
    return outcomes


def until(condition: Callable[[], bool], dispatcher: ParslDispatcher | None = None) -> None:
    """Waits for a condition, while the dispatcher works."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)
        assert dispatcher is None or dispatcher.wait(0.02) == []


def lives(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has reaped does not."""
    return parent(pid, of_zombies=False) is not None


def parent(pid: int, of_zombies: bool = True) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[1]) if of_zombies or fields[0] != "Z" else None


def worker_of(dispatcher: ParslDispatcher, key: str) -> int:
    """The evaluating process of a running request, once it is known."""

    def found() -> int | None:
        return next((task.worker for task in dispatcher.running() if task.key == key), None)

    until(lambda: found() is not None, dispatcher)
    return found() or 0


def failure_kind(outcome: Outcome) -> FailureKind | None:
    return outcome.failure.kind if outcome.failure else None


def test_workers_work_at_the_same_time_and_keep_what_they_loaded(
    dispatcher: ParslDispatcher, tmp_path: Path
) -> None:
    for number in range(2):
        submit(dispatcher, "waits for a second", tmp_path, number)
    outcomes = list(all_outcomes(dispatcher).values())
    assert len({o.provenance["pid"] for o in outcomes}) == 2
    for number in range(2, 8):
        submit(dispatcher, "waits for a second", tmp_path, number)
    outcomes += all_outcomes(dispatcher).values()
    assert len({o.provenance["pid"] for o in outcomes}) == 2
    assert sum(o.provenance["asked"] == 1 for o in outcomes) == 2, "each built its oracle once"


def test_a_gpu_oracle_runs_where_one_gpu_is_seen_and_others_see_none(
    dispatcher: ParslDispatcher, tmp_path: Path
) -> None:
    (tmp_path / "g").mkdir()
    on_gpu = [submit(dispatcher, "waits for a second", tmp_path / "g", n, gpus=1) for n in range(2)]
    outcomes = all_outcomes(dispatcher)
    assert [ticket.handle["pool"] for ticket in on_gpu] == ["gpu", "gpu"]
    seen = [Path(f"/proc/{outcomes[t.key].provenance['pid']}/environ").read_bytes() for t in on_gpu]
    assert sorted(b"CUDA_VISIBLE_DEVICES=3" in text for text in seen) == [False, True]
    assert sorted(b"CUDA_VISIBLE_DEVICES=5" in text for text in seen) == [False, True]
    ticket = submit(dispatcher, "answers", tmp_path)
    pid = all_outcomes(dispatcher)[ticket.key].provenance["pid"]
    assert ticket.handle["pool"] == "cpu"
    assert b"CUDA_VISIBLE_DEVICES=" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert dispatcher.harvest(on_gpu[0].key) == outcomes[on_gpu[0].key]


def test_a_ticket_names_the_jobs_that_may_do_it(dispatcher: ParslDispatcher, tmp_path: Path) -> None:
    submit(dispatcher, "answers", tmp_path, 1)
    all_outcomes(dispatcher)
    ticket = submit(dispatcher, "answers", tmp_path, 2)
    all_outcomes(dispatcher)
    (job,) = ticket.handle["jobs"]
    assert lives(int(job))  # of the local provider it is a process id
    assert json.loads(json.dumps(ticket.handle)) == ticket.handle


def test_a_killed_process_is_replaced_and_its_task_repeated(
    dispatcher: ParslDispatcher, tmp_path: Path
) -> None:
    tickets = [submit(dispatcher, "waits for go", tmp_path, n) for n in range(2)]
    killed, kept = (worker_of(dispatcher, ticket.key) for ticket in tickets)
    os.kill(killed, signal.SIGKILL)
    (tmp_path / "go").touch()
    outcomes = all_outcomes(dispatcher)
    assert all(outcomes[t.key].status is Status.DONE for t in tickets)
    assert outcomes[tickets[1].key].provenance["pid"] == kept
    assert outcomes[tickets[0].key].provenance["pid"] != killed


def test_a_killed_worker_of_parsl_is_noticed_and_its_task_repeated(
    dispatcher: ParslDispatcher, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ticket = submit(dispatcher, "waits for go", tmp_path)
    process = worker_of(dispatcher, ticket.key)
    os.kill(parent(process) or 0, signal.SIGKILL)
    until(lambda: not lives(process), dispatcher)
    (tmp_path / "go").touch()
    assert all_outcomes(dispatcher)[ticket.key].status is Status.DONE
    assert "a worker was lost (worker " in caplog.text


def test_a_task_that_kills_its_worker_twice_fails_and_the_rest_goes_on(
    dispatcher: ParslDispatcher, tmp_path: Path
) -> None:
    once = submit(dispatcher, "dies once", tmp_path)
    dying = submit(dispatcher, "dies", tmp_path)
    others = [submit(dispatcher, "answers", tmp_path, n) for n in range(5)]
    outcomes = all_outcomes(dispatcher)
    assert failure_kind(outcomes[dying.key]) is FailureKind.WORKER_LOST
    assert "SIGKILL" in str(outcomes[dying.key].failure)
    assert all(outcomes[t.key].status is Status.DONE for t in (once, *others))


def test_a_worker_of_parsl_killed_twice_gives_up(dispatcher: ParslDispatcher, tmp_path: Path) -> None:
    ticket = submit(dispatcher, "hangs", tmp_path)
    for _ in range(2):
        process = worker_of(dispatcher, ticket.key)
        os.kill(parent(process) or 0, signal.SIGKILL)
        end = time.monotonic() + PATIENCE
        outcomes = []
        while not outcomes and any(task.worker == process for task in dispatcher.running()):
            assert time.monotonic() < end
            outcomes = dispatcher.wait(0.1)
    outcomes = outcomes or dispatcher.wait(PATIENCE)
    assert failure_kind(outcomes[0]) is FailureKind.WORKER_LOST


@pytest.mark.parametrize("does", ["hangs", "hangs in native code"])
def test_a_hang_ends_with_a_timeout_and_the_rest_goes_on(
    dispatcher: ParslDispatcher, tmp_path: Path, does: str
) -> None:
    dispatcher.seconds_per_evaluation = 0.5
    hanging = submit(dispatcher, does, tmp_path)
    dispatcher.seconds_per_evaluation = 600
    others = [submit(dispatcher, "answers", tmp_path, n) for n in range(3)]
    outcomes = all_outcomes(dispatcher)
    assert failure_kind(outcomes[hanging.key]) is FailureKind.TIMEOUT
    assert "no answer for 0.5 s; killed (raise limits.seconds_per_evaluation)" in str(
        outcomes[hanging.key].failure
    )
    assert all(outcomes[t.key].status is Status.DONE for t in others)
    (hung,) = [int(p.name.split()[1]) for p in tmp_path.glob("pid *")]
    until(lambda: not lives(hung))


def test_what_runs_can_be_cancelled(dispatcher: ParslDispatcher, tmp_path: Path) -> None:
    ticket = submit(dispatcher, "hangs in native code", tmp_path)
    process = worker_of(dispatcher, ticket.key)
    (task,) = dispatcher.running()
    assert (task.oracle, task.formula) == ("trial", "MgO")
    assert task.seconds is not None
    assert dispatcher.cancel(ticket)
    assert dispatcher.wait(1) == []
    until(lambda: not lives(process))


def test_a_lost_call_of_map_is_repeated(dispatcher: ParslDispatcher, tmp_path: Path) -> None:
    work = [(n, tmp_path) for n in range(6)]
    assert dispatcher.map(double_but_die_once, work) == [2 * n for n in range(6)]
    with pytest.raises(WorkerLostError, match="SIGKILL"):
        dispatcher.map(die, [(1,)])
    assert dispatcher.map(double, [(1,)]) == [2]


def test_a_node_that_is_lost_is_replaced_and_its_task_repeated(tmp_path: Path) -> None:
    with quick_parsl().build(tmp_path / "e", 600) as dispatcher:
        ticket = submit(dispatcher, "waits for go", tmp_path)
        process = worker_of(dispatcher, ticket.key)
        manager = parent(parent(process) or 0) or 0
        os.kill(manager, signal.SIGKILL)
        until(lambda: not lives(process), dispatcher)  # nothing of a lost job goes on
        (tmp_path / "go").touch()
        assert all_outcomes(dispatcher)[ticket.key].status is Status.DONE


DRIVER = """
import sys
from pathlib import Path
from executor_oracles import TrialSettings, request_for
from parsl_executors import quick_parsl

mark = Path(sys.argv[1])
dispatcher = quick_parsl(workers=2).build(mark / "evaluations", 600)
for does in ("answers", "hangs"):
    settings = TrialSettings(does=does, mark=mark)
    dispatcher.submit(settings, request_for(settings), 1)
while True:
    dispatcher.wait(1)
"""


def test_a_killed_driver_leaves_nothing_behind_and_the_next_one_harvests(tmp_path: Path) -> None:
    here = Path(__file__)
    places = [str(here.parent), str(here.parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path)], env=environment)
    done, lost = (request_for(TrialSettings(does=does, mark=tmp_path)) for does in ("answers", "hangs"))
    try:
        until(lambda: any(tmp_path.glob("pid *")))
        until((tmp_path / "evaluations" / done.key / "1" / "outcome.json").exists)
    finally:
        driver.kill()
        driver.wait()
    (hung,) = [int(p.name.split()[1]) for p in tmp_path.glob("pid *")]
    manager = parent(parent(hung) or 0) or 0
    until(lambda: not lives(hung))
    until(lambda: not lives(manager))
    with quick_parsl().build(tmp_path / "evaluations", 600) as dispatcher:
        found = dispatcher.harvest(done.key)
        assert found is not None
        assert found.status is Status.DONE
        assert dispatcher.harvest(lost.key) is None
        settings = TrialSettings(does="answers", mark=tmp_path)
        ticket = dispatcher.submit(settings, request_for(settings), attempt=1)
        assert dispatcher.wait(PATIENCE) == [found], "an attempt is evaluated once"
        assert not dispatcher.resume(settings, request_for(settings), ticket)


def test_jobs_that_end_before_a_worker_answers_are_an_error_not_a_loop(tmp_path: Path) -> None:
    cpu = WorkersSettings.model_validate(
        {"provider": {"kind": "local", "worker_init": "echo no such module >&2; exit 3"}}
    )
    with quick_parsl(cpu=cpu).build(tmp_path / "e", 600) as dispatcher:
        submit(dispatcher, "answers", tmp_path)
        with pytest.raises(NoWorkersError, match=r"pool cpu: 3 jobs in a row .*no such module"):
            dispatcher.wait(PATIENCE)


def test_workers_that_cannot_start_are_an_error_not_a_loop(tmp_path: Path) -> None:
    with quick_parsl().build(tmp_path / "e", 600) as dispatcher:
        submit(dispatcher, "dies when built", tmp_path)
        with pytest.raises(NoWorkersError, match=r"SIGKILL.*workers-.*\.log"):
            dispatcher.wait(PATIENCE)


def test_an_interchange_that_is_killed_is_an_error_not_a_hang(tmp_path: Path) -> None:
    with quick_parsl().build(tmp_path / "e", 600) as dispatcher:
        ticket = submit(dispatcher, "hangs", tmp_path)
        process = worker_of(dispatcher, ticket.key)
        dispatcher._jobs._executors["cpu"].interchange_proc.kill()
        for _ in range(2):
            with pytest.raises(NoWorkersError, match="interchange has ended"):
                dispatcher.wait(PATIENCE)
    until(lambda: not lives(process))


def test_close_ends_what_runs(tmp_path: Path) -> None:
    with quick_parsl().build(tmp_path / "e", 600) as dispatcher:
        ticket = submit(dispatcher, "hangs in native code", tmp_path)
        process = worker_of(dispatcher, ticket.key)
    until(lambda: not lives(process))


def test_a_campaign_runs_on_parsl(tmp_path: Path) -> None:
    from loop.engine import Campaign

    executor = quick_parsl(workers=2).model_dump(mode="json")
    file = write_campaign(tmp_path, executor=executor, budget={"rounds": 1, "batch": 3, "pool": 20})
    with Campaign(load_campaign(str(file)).config, tmp_path / "run") as campaign:
        campaign.run()
    outcomes = list((tmp_path / "run" / "evaluations").glob("*/*/outcome.json"))
    assert len(outcomes) >= 3
