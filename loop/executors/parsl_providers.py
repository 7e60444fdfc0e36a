"""Who gives the nodes: this machine, Slurm, or any provider that Parsl has, by its name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, model_validator

from loop.plugins import did_you_mean
from materials.settings import Settings, is_looking

REMEDY = "Parsl is not installed; run  pip install 'matloop[cluster]'  or use  executor: {kind: local}"

WALLTIME = r"^\d+:[0-5]\d:[0-5]\d$"
OURS = ("init_blocks", "min_blocks", "max_blocks", "parallelism")
"""Options of Parsl's providers that keys of the pool say in other words."""


class LocalProviderSettings(Settings):
    """Workers on the machine of the driver, for trials of a configuration: no scheduler, no walltime."""

    kind: Literal["local"] = "local"
    worker_init: str = ""
    """Shell commands that come before the workers, such as `module load cuda`."""

    def arguments(self) -> dict[str, Any]:
        """The provider's own arguments."""
        return {"worker_init": self.worker_init}

    def build(self, poll_seconds: float, **blocks: int) -> Any:
        """Parsl's provider, which is asked for its jobs every `poll_seconds`."""
        return _built("LocalProvider", poll_seconds, {**self.arguments(), **blocks})


class SlurmProviderSettings(Settings):
    """Jobs of a Slurm cluster. The campaign runs where `sbatch` works, such as on a login node."""

    kind: Literal["slurm"] = "slurm"
    partition: str | None = None
    """The partition to ask; left out, the cluster's default."""
    account: str | None = None
    """Who is charged."""
    qos: str | None = None
    """Quality of service."""
    constraint: str | None = None
    """Features that nodes must have, such as a kind of GPU."""
    walltime: str = Field("01:00:00", pattern=WALLTIME)
    """How long a job lasts, HH:MM:SS."""
    nodes: int = Field(1, ge=1)
    """Nodes of a job."""
    cores: int | None = Field(None, ge=1)
    """Cores asked of each node; left out, what a job gets by itself."""
    memory: int | None = Field(None, ge=1)
    """Memory asked of each node, GiB."""
    gpus: int | None = Field(None, ge=1)
    """GPUs asked of each node (`--gpus-per-node`)."""
    exclusive: bool = True
    """Whether no other job may run on the nodes."""
    scheduler_options: str = ""
    """More lines of the job's script, each beginning with `#SBATCH`."""
    worker_init: str = ""
    """Shell commands that come before the workers, such as `module load cuda` or activating an environment."""

    def arguments(self) -> dict[str, Any]:
        """The provider's own arguments."""
        same = (
            "partition",
            "account",
            "qos",
            "constraint",
            "walltime",
            "exclusive",
            "scheduler_options",
            "worker_init",
        )
        return {name: getattr(self, name) for name in same} | {
            "nodes_per_block": self.nodes,
            "cores_per_node": self.cores,
            "mem_per_node": self.memory,
            "gpus_per_node": self.gpus,
        }

    def build(self, poll_seconds: float, **blocks: int) -> Any:
        """Parsl's provider, which is asked for its jobs every `poll_seconds`."""
        launcher = {"launcher": "SrunLauncher"} if self.nodes > 1 else {}
        return _built("SlurmProvider", poll_seconds, {**self.arguments(), **launcher, **blocks})


class OtherProviderSettings(Settings):
    """Any provider of Parsl by its name, with the options Parsl's documentation lists for it."""

    kind: Literal["other"] = "other"
    name: str
    """A class of parsl.providers, such as PBSProProvider, LSFProvider, GridEngineProvider or KubernetesProvider."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Its arguments; `launcher` is the name of a class of parsl.launchers. How many jobs: `jobs` of the pool."""

    @model_validator(mode="after")
    def _known(self, info: ValidationInfo) -> OtherProviderSettings:
        # Only where the campaign will run: elsewhere Parsl may be missing, and looking imports nothing.
        if not is_looking(info) and find_spec("parsl") is not None:
            check_provider(self.name, self.options)
        return self

    def build(self, poll_seconds: float, **blocks: int) -> Any:
        """Parsl's provider, which is asked for its jobs every `poll_seconds`. Raises ValueError."""
        check_provider(self.name, self.options)
        return _built(self.name, poll_seconds, {**self.options, **blocks})


ProviderSettings = Annotated[
    LocalProviderSettings | SlurmProviderSettings | OtherProviderSettings, Field(discriminator="kind")
]


def check_provider(name: str, options: Mapping[str, Any]) -> None:
    """Raises ValueError for a provider or an option that Parsl does not have, naming those it has."""
    from parsl import launchers, providers

    if name not in providers.__all__:
        hint = did_you_mean(name, providers.__all__)
        raise ValueError(f"Parsl has no {name!r}{hint} It has {', '.join(sorted(providers.__all__))}")
    known = list(inspect.signature(getattr(providers, name).__init__).parameters)[1:]
    for option in options:
        if option in OURS:
            raise ValueError(f"option {option!r} is said by `jobs` and `kept_jobs` of the pool; leave it out")
        if option not in known:
            hint = did_you_mean(option, known)
            raise ValueError(f"{name} has no option {option!r}{hint} It has {', '.join(known)}")
    launcher = options.get("launcher")
    if launcher is not None and not hasattr(launchers, str(launcher)):
        names = ", ".join(name for name in dir(launchers) if name.endswith("Launcher"))
        raise ValueError(f"Parsl has no launcher {launcher!r}; it has {names}")


def _built(name: str, poll_seconds: float, arguments: Mapping[str, Any]) -> Any:
    from parsl import launchers, providers

    cls = getattr(providers, name)
    values = dict(arguments)
    if isinstance(values.get("launcher"), str):
        values["launcher"] = getattr(launchers, values["launcher"])()
    # Providers fix how often they are asked; a minute is long where jobs are short, and short for a busy scheduler.
    timed = type(name, (cls,), {"status_polling_interval": property(lambda self: poll_seconds)})
    return timed(**values)


def walltime_of(provider: Any) -> float | None:
    """Seconds a job of a provider lasts; None where there is no limit."""
    text = getattr(provider, "walltime", None)
    if not text:
        return None
    hours, minutes, seconds = (float(part) for part in str(text).split(":"))
    return 3600 * hours + 60 * minutes + seconds
