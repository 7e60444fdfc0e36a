"""What the block `executor: {kind: parsl}` accepts, and what it asks of Parsl."""

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from executor_oracles import TrialSettings, request_for
from parsl_executors import needs_parsl, quick_parsl
from pydantic import ValidationError

from loop.errors import CampaignError
from loop.executors import parsl as parsl_executor
from loop.executors import parsl_task
from loop.executors.parsl import ParslExecutorSettings, WorkersSettings
from loop.executors.parsl_jobs import CPU, Jobs
from loop.executors.parsl_providers import SlurmProviderSettings, walltime_of
from loop.executors.parsl_task import NotSharedError, Task, supervise

SLURM = {
    "kind": "slurm",
    "partition": "long",
    "account": "chemistry",
    "walltime": "12:00:00",
    "nodes": 2,
    "cores": 64,
    "scheduler_options": "#SBATCH --mail-type=END",
    "worker_init": "module load python",
}
PBS = {"kind": "other", "name": "PBSProProvider", "options": {"queue": "debug", "walltime": "00:30:00"}}


def settings(**blocks: Any) -> ParslExecutorSettings:
    return ParslExecutorSettings.model_validate({"kind": "parsl", **blocks})


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ({"workers": 2}, "workers"),
        ({"cpu": {"provider": {"kind": "slurm", "walltime": "one hour"}}}, "walltime"),
        ({"cpu": {"provider": {"kind": "slurm", "patition": "long"}}}, "patition"),
        ({"cpu": {"provider": {"kind": "moab"}}}, "'local', 'slurm', 'other'"),
        ({"cpu": {"workers": 0}}, "greater than or equal to 1"),
        ({"gpu": {"workers": 4}}, "gpu.accelerators is missing"),
        ({"heartbeat_seconds": 30, "lost_after_seconds": 30}, "must be more than heartbeat_seconds"),
    ],
)
def test_mistakes_are_refused(blocks: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        settings(**blocks)


@needs_parsl
@pytest.mark.parametrize(
    ("provider", "words"),
    [
        ({**PBS, "name": "PBSProvider"}, "did you mean 'PBSProProvider'.* It has AWSProvider"),
        ({**PBS, "options": {"que": "x"}}, "no option 'que'; did you mean 'queue'"),
        ({**PBS, "options": {"max_blocks": 2}}, "said by `jobs`"),
        ({**PBS, "options": {"launcher": "SrunLauncer"}}, "no launcher 'SrunLauncer'; it has .*SrunLauncher"),
    ],
)
def test_mistakes_in_a_provider_by_name_are_refused(provider: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        settings(cpu={"provider": provider})


@needs_parsl
def test_a_provider_by_name_gets_its_options_and_says_its_walltime() -> None:
    options = {**PBS["options"], "launcher": "MpiExecLauncher"}  # type: ignore[dict-item]
    provider = settings(cpu={"provider": {**PBS, "options": options}}).cpu.provider.build(30, max_blocks=3)
    assert type(provider).__name__ == "PBSProProvider"
    assert (provider.queue, provider.max_blocks, provider.status_polling_interval) == ("debug", 3, 30)
    assert type(provider.launcher).__name__ == "MpiExecLauncher"
    assert walltime_of(provider) == 1800


@needs_parsl
def test_jobs_of_slurm_are_as_the_file_says() -> None:
    provider = SlurmProviderSettings.model_validate(SLURM).build(60, max_blocks=4)
    assert (provider.nodes_per_block, provider.cores_per_node, provider.max_blocks) == (2, 64, 4)
    assert "#SBATCH --mail-type=END" in provider.scheduler_options
    assert "#SBATCH --account=chemistry" in provider.scheduler_options
    assert type(provider.launcher).__name__ == "SrunLauncher", "one node after the other would not do for two"
    assert walltime_of(provider) == 12 * 3600


@pytest.mark.parametrize(
    ("workers", "slots"),
    [
        ({}, 1),
        ({"workers": 8, "jobs": 3}, 24),
        ({"accelerators": 4, "jobs": 2}, 8),
        ({"accelerators": ["0", "1"], "workers": 1}, 1),
        ({"workers": 32, "provider": SLURM}, 64),
    ],
)
def test_the_number_of_workers(workers: dict[str, Any], slots: int) -> None:
    assert WorkersSettings.model_validate(workers).slots() == slots


@needs_parsl
@pytest.mark.parametrize(
    ("walltime", "longest", "drain", "warned"),
    [("01:00:00", 600, 2940, False), ("00:10:00", 600, 300, True), ("01:00:00", 1800, 1800, True)],
)
def test_a_job_takes_nothing_that_would_outlast_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, walltime: str, longest: float, drain: int, warned: bool
) -> None:
    block = settings(cpu={"provider": {"kind": "slurm", "walltime": walltime}})
    jobs = Jobs(block, tmp_path)
    jobs.seconds[CPU] = longest
    with caplog.at_level(logging.WARNING):
        assert jobs._executor(CPU, block.cpu).drain_period == drain
    assert ("raise the provider's walltime" in caplog.text) is warned


def test_without_parsl_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsl_executor, "find_spec", lambda name: None)
    with pytest.raises(CampaignError, match=r"pip install 'matloop\[cluster\]'"):
        settings().build(tmp_path, 60)


@needs_parsl
def test_an_oracle_that_needs_a_gpu_is_refused_where_there_is_none(tmp_path: Path) -> None:
    trial = TrialSettings(gpus=1)
    with quick_parsl().build(tmp_path, 60) as dispatcher:
        with pytest.raises(CampaignError, match="an oracle needs a GPU"):
            dispatcher.warm([trial])
        with pytest.raises(CampaignError, match="an oracle needs a GPU"):
            dispatcher.submit(trial, request_for(trial), attempt=1)
        assert dispatcher.running() == []


def test_a_node_that_does_not_see_the_run_folder_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsl_task, "SHARING_SECONDS", 0.0)
    with pytest.raises(NotSharedError, match=r"does not see /no/such/folder: put the run folder"):
        supervise(Task("name", "/no/such/folder", (), b"", 1.0))


def test_reading_a_campaign_does_not_import_parsl() -> None:
    code = "import sys; from loop.plugins import EXECUTORS; EXECUTORS.load('parsl'); print('parsl' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
