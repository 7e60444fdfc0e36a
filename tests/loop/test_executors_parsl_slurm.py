"""The executor `parsl` with a real Slurm: jobs, one that is cancelled, one that reaches its walltime."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from campaigns import write_campaign
from executor_oracles import TrialSettings, request_for
from parsl_executors import needs_parsl, quick_parsl
from slurm_cluster import jobs, needs_slurm, said, slurm

from loop.engine import Campaign
from loop.executors.parsl import ParslDispatcher, ParslExecutorSettings
from loop.loading import load_campaign
from materials.evaluation import Outcome, Status, Ticket

pytestmark = [pytest.mark.slow, needs_parsl, needs_slurm]
PATIENCE = 180.0


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with slurm():
        yield


@pytest.fixture(autouse=True)
def nothing_is_left(cluster: None) -> Iterator[None]:
    yield
    until(lambda: jobs() == [])


def on_slurm(**provider: object) -> ParslExecutorSettings:
    cpu: dict[str, Any] = {"workers": 1, "provider": {"kind": "slurm", "partition": "trial", **provider}}
    return quick_parsl(cpu=cpu)


def submit(dispatcher: ParslDispatcher, does: str, mark: Path, number: int = 0) -> Ticket:
    settings = TrialSettings(does=does, mark=mark)
    return dispatcher.submit(settings, request_for(settings, number), attempt=1)


def only_outcome(dispatcher: ParslDispatcher) -> Outcome:
    (outcome,) = dispatcher.wait(PATIENCE)
    return outcome


def until(condition: Callable[[], object], dispatcher: ParslDispatcher | None = None) -> None:
    """Waits for a condition, while the dispatcher works."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"it never happened\n{said('squeue')}"
        time.sleep(0.2)
        assert dispatcher is None or dispatcher.wait(0.1) == []


def test_a_campaign_is_measured_in_a_job(tmp_path: Path) -> None:
    executor = on_slurm(cores=1, memory=1, exclusive=False).model_dump(mode="json")
    file = write_campaign(tmp_path, executor=executor, budget={"rounds": 1, "batch": 3, "pool": 20})
    with Campaign(load_campaign(str(file)).config, tmp_path / "run") as campaign:
        campaign.run()
    assert len(list((tmp_path / "run" / "evaluations").glob("*/*/outcome.json"))) >= 3
    scripts = list((tmp_path / "run" / "evaluations" / "parsl").glob("*/submit_scripts/parsl.cpu.block-0.*"))
    assert any("#SBATCH --partition=trial" in file.read_text() for file in scripts)


def test_a_cancelled_job_is_replaced_and_its_task_repeated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with on_slurm().build(tmp_path / "evaluations", 600) as dispatcher:
        first = submit(dispatcher, "waits for go", tmp_path)
        until((tmp_path / "started 0").exists, dispatcher)
        (job,) = jobs()
        assert submit(dispatcher, "answers", tmp_path, 1).handle["jobs"] == [job]
        said("scancel", job)
        until(lambda: job not in jobs(), dispatcher)
        (tmp_path / "go").touch()
        outcomes = {outcome.key: outcome for outcome in dispatcher.wait(PATIENCE)}
        while dispatcher.running():
            outcomes |= {outcome.key: outcome for outcome in dispatcher.wait(PATIENCE)}
        assert outcomes[first.key].status is Status.DONE
        assert "cancelled or reached its walltime" in caplog.text
        assert jobs() not in ([], [job])


def test_a_job_takes_no_more_before_its_walltime_and_what_it_loses_then_is_repeated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with on_slurm(walltime="00:01:00").build(tmp_path / "evaluations", 600) as dispatcher:
        submit(dispatcher, "answers", tmp_path)
        before = only_outcome(dispatcher).provenance["pid"]
        assert "an evaluation may take 600 s, and a job lasts 60 s" in caplog.text
        time.sleep(32)
        submit(dispatcher, "waits for go", tmp_path, 1)
        until((tmp_path / "started 1").exists, dispatcher)
        (job,) = jobs()
        (task,) = dispatcher.running()
        assert task.worker != before, "the job before had drained"
        until(lambda: job not in jobs(), dispatcher)
        (tmp_path / "go").touch()
        assert only_outcome(dispatcher).status is Status.DONE
        assert "a worker was lost" in caplog.text


def test_the_jobs_of_a_dead_driver_are_cancelled(tmp_path: Path) -> None:
    job = said("sbatch", "--parsable", "--output=/dev/null", "--wrap", "sleep 600").strip()
    until(lambda: job in jobs())
    settings = TrialSettings()
    request = request_for(settings)
    ticket = Ticket("trial", request.key, {"attempt": 1, "pool": "cpu", "jobs": [job]})
    with on_slurm().build(tmp_path / "evaluations", 600) as dispatcher:
        assert not dispatcher.resume(settings, request, ticket)
        until(lambda: job not in jobs())


def test_a_job_that_slurm_refuses_is_an_error(tmp_path: Path) -> None:
    with on_slurm(partition="none_such").build(tmp_path / "evaluations", 600) as dispatcher:
        submit(dispatcher, "answers", tmp_path)
        with pytest.raises(RuntimeError, match="invalid partition"):
            dispatcher.wait(PATIENCE)
