"""Evaluations on a cluster, through Parsl: jobs of Slurm or another scheduler, whose workers keep models loaded."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from loop.errors import CampaignError
from loop.executors.base import ExecutorSettings
from loop.executors.parsl_jobs import CPU, GPU, Jobs
from loop.executors.parsl_pool import ParslPool
from loop.executors.parsl_providers import REMEDY, LocalProviderSettings, ProviderSettings
from loop.executors.pooled import SHARING, PoolDispatcher
from materials.evaluation import Request, Ticket
from materials.settings import Settings
from oracles.base import OracleSettings

PARSL_FOLDER = "parsl"
"""Below `evaluations`: what Parsl and its jobs write, and notes between driver and workers."""


class WorkersSettings(Settings):
    """Workers of one sort: where their nodes come from, and how many share a node."""

    provider: ProviderSettings = Field(default_factory=LocalProviderSettings)
    """Who gives the nodes; `kind` is one of `local`, `slurm`, `other`."""
    workers: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Workers on each node; auto: as many as its cores, its memory and `accelerators` allow."""
    cores_per_worker: float = Field(1.0, gt=0)
    """Cores of a node for each worker (each computes with one thread)."""
    memory_per_worker: float | None = Field(None, gt=0)
    """Memory of a node for each worker, GiB; left out, memory limits nothing."""
    accelerators: Annotated[int, Field(ge=0)] | list[str] = 0
    """GPUs of each node, their number or their names: each gets one worker, which sees no other GPU."""
    jobs: int = Field(1, ge=1)
    """The most jobs at a time; as many are kept as there is work for."""
    kept_jobs: int = Field(0, ge=0)
    """So many jobs are kept also when there is no work."""

    def slots(self) -> int:
        """Workers of all jobs, at most; where their number is not known, one for each node."""
        numbers = [len(self.accelerator_names()) or None, None if self.workers == "auto" else self.workers]
        nodes = getattr(self.provider, "nodes", 1)
        return int(min((n for n in numbers if n is not None), default=1) * nodes * self.jobs)

    def accelerator_names(self) -> list[str]:
        """The GPUs by name."""
        if isinstance(self.accelerators, int):
            return [str(number) for number in range(self.accelerators)]
        return self.accelerators


class ParslExecutorSettings(ExecutorSettings):
    """Runs evaluations on a cluster, in jobs of its scheduler. The run folder must be where all nodes see it."""

    kind: Literal["parsl"] = "parsl"
    cpu: WorkersSettings = Field(default_factory=WorkersSettings)
    """Workers for oracles that need no GPU."""
    gpu: WorkersSettings | None = None
    """Workers for oracles that need one (such as `device: cuda`); `accelerators` says how many GPUs a node has."""
    address: str | None = None
    """The address at which nodes reach this machine; left out, they try all it has."""
    python: str | None = None
    """The Python on the nodes, with matloop installed; left out, the one that runs the campaign, by the same path."""
    heartbeat_seconds: int = Field(30, ge=1)
    """How often nodes show that they live, and look whether their workers do."""
    lost_after_seconds: int = Field(120, ge=2)
    """Without a sign of life for so long a node is lost, and what it did is repeated; more than `heartbeat_seconds`."""
    status_seconds: float = Field(60.0, gt=0)
    """How often the scheduler is asked what became of the jobs."""
    idle_seconds: float = Field(120.0, gt=0)
    """A job without work for so long is ended."""

    @model_validator(mode="after")
    def _sound(self) -> ParslExecutorSettings:
        if self.lost_after_seconds <= self.heartbeat_seconds:
            raise ValueError(
                f"lost_after_seconds ({self.lost_after_seconds}) must be more than heartbeat_seconds "
                f"({self.heartbeat_seconds}), or every node is lost at once"
            )
        if self.gpu is not None and not self.gpu.accelerator_names():
            raise ValueError("gpu.accelerators is missing: say how many GPUs each node has, such as 4")
        return self

    def build(self, folder: Path, seconds_per_evaluation: float) -> ParslDispatcher:
        """See ExecutorSettings. Raises CampaignError where Parsl is not installed."""
        if find_spec("parsl") is None:
            raise CampaignError(REMEDY)
        return ParslDispatcher(folder, seconds_per_evaluation, self)

    def workers_of(self, pool: str) -> WorkersSettings:
        """The workers of a pool. Raises CampaignError where there is none for GPUs."""
        if pool == CPU:
            return self.cpu
        if self.gpu is None:
            raise CampaignError(
                "an oracle needs a GPU, and the executor has no workers with one: add  gpu: {provider: ..., "
                "accelerators: 1}  to `executor`, or  device: cpu  to the oracle"
            )
        return self.gpu


class ParslDispatcher(PoolDispatcher):
    """Keeps the workers of a cluster busy. The jobs' scripts and what they print are in `evaluations/parsl`."""

    def __init__(self, folder: Path, seconds_per_evaluation: float, settings: ParslExecutorSettings) -> None:
        place = folder.absolute() / PARSL_FOLDER
        slots = {CPU: settings.cpu.slots(), GPU: settings.gpu.slots() if settings.gpu else 1}
        self._settings = settings
        self._jobs = Jobs(settings, place)
        self._forgotten: set[str] = set()
        super().__init__(folder, seconds_per_evaluation, ParslPool(self._jobs, place / "notes", slots))

    def resume(self, settings: OracleSettings, request: Request, ticket: Ticket) -> bool:
        """Cancels the jobs of the earlier driver, for a scheduler knows them by their ids; see Dispatcher."""
        jobs = [job for job in ticket.handle.get("jobs", []) if job not in self._forgotten]
        pool = str(ticket.handle.get("pool", CPU))
        known = pool == CPU or self._settings.gpu is not None
        # An id of the local provider is a process id, which may be another's by now; its jobs end by themselves.
        if jobs and known and not isinstance(self._settings.workers_of(pool).provider, LocalProviderSettings):
            self._forgotten.update(jobs)
            self._jobs.forget(pool, jobs)
        return super().resume(settings, request, ticket)

    def _preload(self, settings: Sequence[OracleSettings]) -> None:
        for new in settings:
            pool = _pool_of(new)
            seconds = new.walltime or self.seconds_per_evaluation
            seconds *= SHARING if new.preferred_batch > 1 else 1
            self._jobs.seconds[pool] = max(self._jobs.seconds[pool], seconds)
        super()._preload(settings)

    def _whereabouts(self, settings: OracleSettings) -> dict[str, Any]:
        """The jobs that were there when it was submitted; one of them does it, or one that comes later."""
        pool = _pool_of(settings)
        return {"pool": pool, "jobs": self._jobs.ids(pool)}


def _pool_of(settings: OracleSettings) -> str:
    return GPU if settings.resources.gpus > 0 else CPU
