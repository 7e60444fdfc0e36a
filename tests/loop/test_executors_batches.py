"""What executors promise to an oracle that prefers batches, as one on a GPU does."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from executor_oracles import BatchesOnProcessor, TrialSettings, request_for
from parsl_executors import needs_parsl, quick_parsl
from pymatgen.core import Lattice, Structure

from loop.executors.base import Dispatcher, ExecutorSettings
from loop.executors.local import LocalExecutorSettings
from loop.executors.serial import SerialExecutorSettings
from materials.base import Candidate, Crystal, Origin
from materials.evaluation import FailureKind, Outcome, Request, Status, Ticket, request_key
from oracles.relax import RelaxSettings

EXECUTORS = {
    "serial": SerialExecutorSettings(),
    "local": LocalExecutorSettings(workers=2),
    "parsl": quick_parsl(workers=2),
}
PARSL = pytest.param("parsl", marks=needs_parsl)
PATIENCE = 60.0


@pytest.fixture(scope="module", params=["serial", "local", PARSL])
def dispatcher(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Dispatcher]:
    with built(EXECUTORS[request.param], tmp_path_factory) as dispatcher:
        yield dispatcher


@pytest.fixture(scope="module", params=["local", PARSL])
def apart(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dispatcher]:
    """Executors that evaluate in processes of their own."""
    with built(EXECUTORS[request.param], tmp_path_factory) as dispatcher:
        yield dispatcher


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dispatcher]:
    with built(EXECUTORS["local"], tmp_path_factory) as dispatcher:
        yield dispatcher


def built(settings: ExecutorSettings, factory: pytest.TempPathFactory) -> Dispatcher:
    return settings.build(factory.mktemp("run") / "evaluations", 600)


def submit(dispatcher: Dispatcher, settings: TrialSettings, numbers: range) -> list[Ticket]:
    return [dispatcher.submit(settings, request_for(settings, n), attempt=1) for n in numbers]


def all_outcomes(dispatcher: Dispatcher) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    while dispatcher.running():
        for outcome in dispatcher.wait(PATIENCE):
            assert outcome.key not in outcomes, "it came back twice"
            outcomes[outcome.key] = outcome
    return outcomes


def until_exists(path: Path, dispatcher: Dispatcher) -> None:
    end = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < end, f"{path} never appeared"
        assert dispatcher.wait(0.02) == []


def test_requests_are_asked_in_batches_of_the_size_the_oracle_prefers(
    dispatcher: Dispatcher, tmp_path: Path
) -> None:
    together = TrialSettings(mark=tmp_path, batch=3)
    alone = TrialSettings(mark=tmp_path)
    tickets = submit(dispatcher, together, range(7))
    others = submit(dispatcher, alone, range(2))
    outcomes = all_outcomes(dispatcher)
    assert [outcomes[t.key].provenance["together"] for t in tickets] == [3, 3, 3, 3, 3, 3, 1]
    assert [outcomes[t.key].provenance["together"] for t in others] == [1, 1]
    assert [outcomes[t.key].measurements[0].value for t in tickets] == list(range(7))
    assert [dispatcher.harvest(t.key) for t in tickets] == [outcomes[t.key] for t in tickets]


@pytest.mark.parametrize(
    ("does", "kind"),
    [("raises at the second", FailureKind.ERROR), ("forgets the second", FailureKind.BAD_RESULT)],
)
def test_what_came_before_a_fault_is_kept(
    dispatcher: Dispatcher, tmp_path: Path, does: str, kind: FailureKind
) -> None:
    first, second = submit(dispatcher, TrialSettings(does=does, mark=tmp_path, batch=2), range(2))
    outcomes = all_outcomes(dispatcher)
    assert outcomes[first.key].status is Status.DONE
    failure = outcomes[second.key].failure
    assert failure is not None
    assert failure.kind is kind
    assert dispatcher.harvest(second.key) == outcomes[second.key]


def test_an_outcome_is_on_disk_before_the_batch_has_ended(local: Dispatcher, tmp_path: Path) -> None:
    settings = TrialSettings(does="waits for go after the first", mark=tmp_path, batch=2)
    first, second = submit(local, settings, range(2))
    until_exists(tmp_path / "started 1", local)
    early = local.harvest(first.key)
    assert early is not None
    assert local.harvest(second.key) is None
    assert {task.key for task in local.running() if task.worker} == {first.key, second.key}
    (tmp_path / "go").touch()
    assert all_outcomes(local)[first.key] == early


def test_a_lost_worker_loses_only_what_was_not_written(apart: Dispatcher, tmp_path: Path) -> None:
    settings = TrialSettings(does="dies once at the second", mark=tmp_path, batch=3)
    tickets = submit(apart, settings, range(3))
    outcomes = all_outcomes(apart)
    assert all(outcomes[t.key].status is Status.DONE for t in tickets)
    assert [outcomes[t.key].provenance["together"] for t in tickets] == [3, 2, 2]


def test_one_that_kills_every_worker_fails_alone(apart: Dispatcher, tmp_path: Path) -> None:
    settings = TrialSettings(does="dies at the second", mark=tmp_path, batch=3)
    tickets = submit(apart, settings, range(3))
    outcomes = all_outcomes(apart)
    assert [outcomes[t.key].status for t in tickets] == [Status.DONE, Status.FAILED, Status.DONE]
    failure = outcomes[tickets[1].key].failure
    assert failure is not None
    assert failure.kind is FailureKind.WORKER_LOST


def test_one_of_a_running_batch_can_be_cancelled_and_the_others_go_on(
    apart: Dispatcher, tmp_path: Path
) -> None:
    settings = TrialSettings(does="waits for go", mark=tmp_path, batch=2)
    tickets = submit(apart, settings, range(3))
    until_exists(tmp_path / "started 0", apart)
    assert apart.cancel(tickets[2]), "one that waits for the next batch"
    assert apart.cancel(tickets[0]), "one that runs"
    (tmp_path / "go").touch()
    outcomes = all_outcomes(apart)
    assert list(outcomes) == [tickets[1].key]
    assert outcomes[tickets[1].key].status is Status.DONE


def test_a_batch_may_go_on_as_long_as_outcomes_come(apart: Dispatcher, tmp_path: Path) -> None:
    settings = TrialSettings(does="takes a second", mark=tmp_path, batch=9, walltime=1.0)
    tickets = submit(apart, settings, range(9))
    outcomes = all_outcomes(apart)
    assert [outcomes[t.key].provenance["together"] for t in tickets] == [9] * 9


def test_one_that_hangs_takes_no_other_of_its_batch_along(apart: Dispatcher, tmp_path: Path) -> None:
    settings = TrialSettings(does="hangs at the second", mark=tmp_path, batch=4, walltime=1.0)
    tickets = submit(apart, settings, range(4))
    outcomes = all_outcomes(apart)
    failures = [outcomes[t.key].failure for t in tickets]
    assert [f and f.kind for f in failures] == [None, FailureKind.TIMEOUT, None, None]
    assert "(raise the oracle's walltime)" in str(failures[1])
    assert [outcomes[t.key].provenance["together"] for t in (tickets[0], tickets[2])] == [4, 1]
    assert "no answer for 1 s" in str(failures[1])


def test_one_worker_alone_has_the_gpu(local: Dispatcher, tmp_path: Path) -> None:
    (tmp_path / "go").mkdir()
    on_gpu = submit(local, TrialSettings(mark=tmp_path, gpus=1), range(8))
    others = submit(local, TrialSettings(does="waits for a second", mark=tmp_path / "go"), range(2))
    outcomes = all_outcomes(local)
    assert len({outcomes[t.key].provenance["pid"] for t in on_gpu}) == 1
    assert len({outcomes[t.key].provenance["pid"] for t in others}) == 2


def test_relaxations_in_batches_come_back_as_single_ones_do(tmp_path: Path) -> None:
    pytest.importorskip("torch_sim", reason="torch-sim is not installed (it needs Python 3.12)")
    kinds: list[list[tuple[Status, FailureKind | None, float | None]]] = []
    lengths = (4.0, 3.9, 30.0, 4.2)  # the third is no crystal
    for settings in (BatchesOnProcessor(device="cpu", fmax=0.05), RelaxSettings(device="cpu", fmax=0.05)):
        requests = [crystal_request(settings, length) for length in lengths]
        with LocalExecutorSettings(workers=1).build(tmp_path / type(settings).__name__, 600) as dispatcher:
            for request in requests:
                dispatcher.submit(settings, request, attempt=1)
            outcomes = all_outcomes(dispatcher)
        kinds.append([summary(outcomes[request.key]) for request in requests])
    together, alone = kinds
    assert together == alone
    assert [status for status, _, _ in alone] == [Status.DONE, Status.DONE, Status.REJECTED, Status.DONE]


def crystal_request(settings: RelaxSettings, length: float) -> Request:
    """A question about caesium chloride with a cell of that length, angstrom."""
    crystal = Crystal(Structure(Lattice.cubic(length), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.52]]))
    candidate = Candidate(crystal, Origin("test"))
    return Request(request_key(candidate.id, "relax", settings.fingerprint()), candidate, crystal, "relax")


def summary(outcome: Outcome) -> tuple[Status, FailureKind | None, float | None]:
    kind = outcome.failure.kind if outcome.failure else None
    energy = round(outcome.measurements[0].value, 3) if outcome.measurements else None
    return outcome.status, kind, energy
