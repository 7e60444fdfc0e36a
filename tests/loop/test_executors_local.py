"""What the local executor promises when workers die, hang or lose their driver."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from executor_oracles import TrialSettings, die, double, double_but_die_once, request_for
from pydantic import ValidationError

from loop.executors import pool
from loop.executors.local import LocalDispatcher, LocalExecutorSettings
from materials.evaluation import FailureKind, Outcome, Status, Ticket

PATIENCE = 60.0  # seconds until a test gives up; nothing here takes long on a machine that is not overloaded


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalDispatcher]:
    folder = tmp_path_factory.mktemp("run") / "evaluations"
    with LocalExecutorSettings(workers=2).build(folder, 600) as dispatcher:
        yield dispatcher


@pytest.fixture
def dispatcher(shared: LocalDispatcher) -> Iterator[LocalDispatcher]:
    shared.seconds_per_evaluation = 600
    yield shared
    assert shared.running() == []


def submit(dispatcher: LocalDispatcher, does: str, mark: Path, number: int = 0) -> Ticket:
    settings = TrialSettings(does=does, mark=mark)
    return dispatcher.submit(settings, request_for(settings, number), attempt=1)


def all_outcomes(dispatcher: LocalDispatcher) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    while dispatcher.running():
        outcomes |= {o.key: o for o in dispatcher.wait(PATIENCE)}
    return outcomes


def until(condition: Callable[[], bool], dispatcher: LocalDispatcher | None = None) -> None:
    """Waits for a condition, while the dispatcher works."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never happened"
        if dispatcher is None:
            time.sleep(0.02)
        else:
            assert dispatcher.wait(0.02) == []


def lives(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def failure_kind(outcome: Outcome) -> FailureKind | None:
    return outcome.failure.kind if outcome.failure else None


def test_both_workers_work_at_the_same_time(dispatcher: LocalDispatcher, tmp_path: Path) -> None:
    for number in range(2):
        submit(dispatcher, "waits for a second", tmp_path, number)
    outcomes = all_outcomes(dispatcher).values()
    assert len({o.provenance["pid"] for o in outcomes} - {os.getpid()}) == 2


def test_large_cells_come_first_because_they_take_longest(tmp_path: Path) -> None:
    settings = TrialSettings()
    sizes = (3, 1, 5, 2, 4)
    requests = [request_for(settings, atoms=n) for n in sizes]
    with LocalExecutorSettings(workers=1).build(tmp_path, 600) as dispatcher:
        for request in requests:
            dispatcher.submit(settings, request, attempt=1)
        asked = {key: o.provenance["asked"] for key, o in all_outcomes(dispatcher).items()}
    assert [asked[r.key] for r in requests] == [3, 5, 1, 4, 2]


def test_a_worker_has_one_thread_and_the_driver_keeps_its_own(
    dispatcher: LocalDispatcher, tmp_path: Path
) -> None:
    before = os.environ.get("OMP_NUM_THREADS")
    ticket = submit(dispatcher, "tells threads", tmp_path)
    assert all_outcomes(dispatcher)[ticket.key].measurements[0].value == 1
    assert os.environ.get("OMP_NUM_THREADS") == before


def test_a_lost_workers_task_is_repeated_alone_and_no_other_is_disturbed(
    dispatcher: LocalDispatcher, tmp_path: Path
) -> None:
    other = submit(dispatcher, "waits for go", tmp_path)
    until((tmp_path / "started 0").exists, dispatcher)
    (pid,) = [task.worker for task in dispatcher.running()]
    dying = submit(dispatcher, "dies once", tmp_path)
    until((tmp_path / "died").exists, dispatcher)
    (tmp_path / "go").touch()
    outcomes = all_outcomes(dispatcher)
    assert outcomes[dying.key].status is Status.DONE
    assert outcomes[other.key].provenance["pid"] == pid


def test_a_task_that_loses_two_workers_fails_and_the_rest_goes_on(
    dispatcher: LocalDispatcher, tmp_path: Path
) -> None:
    dying = submit(dispatcher, "dies", tmp_path)
    others = [submit(dispatcher, "answers", tmp_path, n) for n in range(10)]
    outcomes = all_outcomes(dispatcher)
    assert failure_kind(outcomes[dying.key]) is FailureKind.WORKER_LOST
    assert outcomes[dying.key].status is Status.FAILED
    assert "SIGKILL" in outcomes[dying.key].failure.message
    assert all(outcomes[t.key].status is Status.DONE for t in others)


def test_a_worker_killed_from_outside(dispatcher: LocalDispatcher, tmp_path: Path) -> None:
    tickets = [submit(dispatcher, "waits for go", tmp_path, n) for n in range(2)]
    until(lambda: len(list(tmp_path.glob("started *"))) == 2, dispatcher)
    killed, kept = (task.worker for task in dispatcher.running())
    os.kill(killed, signal.SIGKILL)
    (tmp_path / "go").touch()
    outcomes = all_outcomes(dispatcher)
    assert all(outcomes[t.key].status is Status.DONE for t in tickets)
    pids = {o.provenance["pid"] for o in outcomes.values()}
    assert kept in pids
    assert killed not in pids


def test_idle_workers_killed_from_outside_are_replaced(dispatcher: LocalDispatcher, tmp_path: Path) -> None:
    for number in range(2):
        submit(dispatcher, "waits for a second", tmp_path, number)
    pids = [o.provenance["pid"] for o in all_outcomes(dispatcher).values()]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(lives(pid) for pid in pids))
    ticket = submit(dispatcher, "answers", tmp_path)
    assert all_outcomes(dispatcher)[ticket.key].status is Status.DONE


@pytest.mark.parametrize("does", ["hangs", "hangs in native code"])
def test_a_hang_ends_with_a_timeout_and_the_rest_goes_on(
    dispatcher: LocalDispatcher, tmp_path: Path, does: str
) -> None:
    dispatcher.seconds_per_evaluation = 0.5
    hanging = submit(dispatcher, does, tmp_path)
    dispatcher.seconds_per_evaluation = 600
    others = [submit(dispatcher, "answers", tmp_path, n) for n in range(5)]
    outcomes = all_outcomes(dispatcher)
    assert failure_kind(outcomes[hanging.key]) is FailureKind.TIMEOUT
    assert "(raise limits.seconds_per_evaluation)" in str(outcomes[hanging.key].failure)
    assert "0.5 s" in outcomes[hanging.key].failure.message
    assert all(outcomes[t.key].status is Status.DONE for t in others)
    (hung,) = [int(p.name.split()[1]) for p in tmp_path.glob("pid *")]
    until(lambda: not lives(hung))


def test_a_running_evaluation_can_be_cancelled(dispatcher: LocalDispatcher, tmp_path: Path) -> None:
    ticket = submit(dispatcher, "hangs", tmp_path)
    until(lambda: any(tmp_path.glob("pid *")), dispatcher)
    (task,) = dispatcher.running()
    assert (task.key, task.oracle, task.formula) == (ticket.key, "trial", "MgO")
    assert task.seconds is not None
    assert dispatcher.cancel(ticket)
    assert dispatcher.wait(1) == []
    until(lambda: not lives(task.worker or 0))


def test_ctrl_c_does_not_reach_the_workers(dispatcher: LocalDispatcher, tmp_path: Path) -> None:
    ticket = submit(dispatcher, "waits for go", tmp_path)
    until((tmp_path / "started 0").exists, dispatcher)
    (task,) = dispatcher.running()
    os.kill(task.worker or 0, signal.SIGINT)
    assert os.getpgid(task.worker or 0) != os.getpgid(0)
    (tmp_path / "go").touch()
    assert all_outcomes(dispatcher)[ticket.key].provenance["pid"] == task.worker


def test_what_native_code_prints_goes_to_the_log(
    dispatcher: LocalDispatcher, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ticket = submit(dispatcher, "chatters in c", tmp_path)
    all_outcomes(dispatcher)
    log = dispatcher.folder / ticket.key / "1" / "log.txt"
    assert log.read_text() == "straight to descriptor 1\n"
    assert capfd.readouterr() == ("", "")


def test_a_lost_call_of_map_is_repeated(dispatcher: LocalDispatcher, tmp_path: Path) -> None:
    work = [(n, tmp_path) for n in range(10)]
    assert dispatcher.map(double_but_die_once, work) == [2 * n for n in range(10)]
    assert (tmp_path / "died in map").exists()
    with pytest.raises(pool.WorkerLostError, match="SIGKILL"):
        dispatcher.map(die, [(1,)])
    assert dispatcher.map(double, [(1,)]) == [2]


def test_close_ends_workers_that_start_or_hang(tmp_path: Path) -> None:
    with LocalExecutorSettings(workers=2).build(tmp_path / "e", 600) as dispatcher:
        submit(dispatcher, "hangs in native code", tmp_path)
        until(lambda: any(tmp_path.glob("pid *")), dispatcher)
        (pid,) = [task.worker for task in dispatcher.running()]
    until(lambda: not lives(pid or 0))
    with LocalExecutorSettings(workers=1).build(tmp_path / "e", 600) as dispatcher:
        submit(dispatcher, "answers", tmp_path)
        starting = [seat.worker.process for seat in dispatcher._pool._seats]
    until(lambda: not any(process.is_alive() for process in starting))


QUIET = """
from pathlib import Path
from executor_oracles import TrialSettings, request_for
from loop.executors.local import LocalExecutorSettings

if __name__ == "__main__":
    with LocalExecutorSettings(workers=1).build(Path("evaluations"), 600) as dispatcher:
        for does in ("dies", "answers"):
            settings = TrialSettings(does=does)
            dispatcher.submit(settings, request_for(settings), 1)
        while dispatcher.running():
            print([str(outcome.status) for outcome in dispatcher.wait()])
"""


def test_lost_workers_leave_only_our_own_warning_on_the_terminal(tmp_path: Path) -> None:
    driver = start_driver(QUIET, tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    stdout, stderr = driver.communicate(timeout=PATIENCE)
    assert stdout.split() == ["['done']", "['failed']"]
    assert stderr.count("\n") == 1
    assert stderr.startswith("a worker process was lost (killed by SIGKILL")


DRIVER = """
import sys, threading
from pathlib import Path
from executor_oracles import TrialSettings, request_for
from loop.executors.local import LocalExecutorSettings

def drive():
    mark = Path(sys.argv[1])
    dispatcher = LocalExecutorSettings(workers=2).build(mark / "evaluations", 600)
    for does in sys.argv[3:]:
        settings = TrialSettings(does=does, mark=mark)
        dispatcher.submit(settings, request_for(settings), 1)
    while True:
        dispatcher.wait(1)

if __name__ == "__main__":
    if sys.argv[2] == "main thread":
        drive()
    thread = threading.Thread(target=drive)
    thread.start()
    thread.join()
"""


@pytest.mark.parametrize(
    ("thread", "first", "second"),
    [
        ("main thread", "hangs", "hangs in native code"),
        ("other thread", "hangs", "waits for go"),
    ],
)
def test_no_worker_outlives_a_killed_driver(tmp_path: Path, thread: str, first: str, second: str) -> None:
    driver = start_driver(DRIVER, tmp_path, str(tmp_path), thread, first, second)
    try:
        until(lambda: len([*tmp_path.glob("pid *"), *tmp_path.glob("started *")]) == 2)
        workers = children(driver.pid)
        assert len(workers) >= 2
    finally:
        driver.kill()
        driver.wait()
    until(lambda: not any(lives(pid) for pid in workers))


def start_driver(program: str, folder: Path, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    script = folder / "driver.py"
    script.write_text(program)
    here = Path(__file__)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here.parent), str(here.parents[2])])}
    command = [sys.executable, str(script), *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **options)


def children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == parent:
            found.append(int(entry.name))
    return found


def test_workers_that_cannot_start_are_an_error_not_a_loop(tmp_path: Path) -> None:
    with LocalExecutorSettings(workers=1).build(tmp_path / "e", 600) as dispatcher:
        submit(dispatcher, "dies when built", tmp_path)
        with pytest.raises(RuntimeError, match=r"SIGKILL.*workers\.log"):
            dispatcher.wait(PATIENCE)


def test_the_number_of_workers() -> None:
    assert 1 <= LocalExecutorSettings().number_of_workers() <= (os.cpu_count() or 1)
    assert LocalExecutorSettings(workers=3).number_of_workers() == 3
    for wrong in (0, -1, "many", 1.5):
        with pytest.raises(ValidationError):
            LocalExecutorSettings.model_validate({"kind": "local", "workers": wrong})


def test_auto_counts_only_the_cores_the_process_may_use() -> None:
    code = "from loop.executors.local import *; print(LocalExecutorSettings().number_of_workers())"
    core = min(os.sched_getaffinity(0))
    limited = f"import os; os.sched_setaffinity(0, [{core}]); {code}"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", limited], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
