"""The contract of an oracle: it answers requests, and says beforehand what it needs and what it gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field, model_validator

from materials.evaluation import Outcome, Request, Ticket
from materials.goals import Constraint
from materials.settings import Settings


@dataclass(frozen=True)
class Resources:
    """What one evaluation occupies: cores, GPUs, memory in GiB."""

    cpus: int = 1
    gpus: int = 0
    memory: float = 2.0


class Oracle(ABC):
    """Runs inside a worker process, is built once there, and keeps what it loaded."""

    @abstractmethod
    def evaluate(self, requests: Sequence[Request]) -> Iterator[Outcome]:
        """Yields one outcome per request, in any order; drained in the worker.

        A material that cannot be measured gives an outcome with a typed failure; only a fault of the program
        itself may raise (the worker turns it into a failure of kind `error`).
        """


class TicketOracle(ABC):
    """An oracle that is physical or lives elsewhere: a robot, a remote queue."""

    @abstractmethod
    def submit(self, requests: Sequence[Request]) -> list[Ticket]:
        """One ticket per request, in order. Asking again with a known key returns the running ticket."""

    @abstractmethod
    def poll(self, ticket: Ticket) -> Outcome | None:
        """The outcome, or None while it is not there yet."""

    @abstractmethod
    def cancel(self, ticket: Ticket) -> bool:
        """Best effort: True when the evaluation will not go on."""


class Gate(Settings):
    """Ends a candidate's line early when a value measured so far lies outside the limits."""

    at_least: float | None = None
    """Smallest value that passes, in the property's unit."""
    at_most: float | None = None
    """Largest value that passes, in the property's unit."""

    @model_validator(mode="after")
    def _one_side(self) -> Gate:
        if self.at_least is None and self.at_most is None:
            raise ValueError("a gate needs at_least, at_most or both")
        return self

    def constraint(self, name: str) -> Constraint:
        """The gate on property `name` as a constraint."""
        limits = {"at_least": self.at_least, "at_most": self.at_most}
        return Constraint(name, **{k: v for k, v in limits.items() if v is not None})


class OracleSettings(Settings):
    """A block under `oracles:`. What it declares is known without importing anything heavy."""

    kind: str
    gate: dict[str, Gate] = Field(default_factory=dict)
    """Limits by property, judged after this oracle; a candidate outside them goes no further."""
    walltime: float | None = Field(default=None, gt=0)
    """Seconds after which one evaluation is given up; by default limits.seconds_per_evaluation."""
    material_kinds: ClassVar[tuple[str, ...]] = ("crystal",)
    resources: ClassVar[Resources] = Resources()
    typical_seconds: ClassVar[float] = 1.0
    """A first guess of one evaluation's cost, until history teaches better."""
    without_meaning: ClassVar[tuple[str, ...]] = ("walltime",)
    """Keys that decide where, when and whether it answers, and no answer: a campaign may go on with others."""

    def meaning(self) -> dict[str, Any]:
        """All but what decides no answer, such as the walltime."""
        return {name: value for name, value in super().meaning().items() if name not in self.without_meaning}

    @property
    def continues(self) -> bool:
        """Whether an evaluation that ran out of time goes on where it stopped when it is asked again."""
        return False

    @property
    def judges_doubt(self) -> bool:
        """Whether it says if an earlier doubt (`Request.doubt`) was right; a doubted candidate goes there first."""
        return False

    @property
    def preferred_batch(self) -> int:
        """How many requests it is best asked at once, on this machine; more than one are counted as one evaluation."""
        return 1

    @property
    def needed_elements(self) -> tuple[str, ...]:
        """Elements without which it can measure nothing."""
        return ()

    @property
    def requires(self) -> tuple[str, ...]:
        """Properties an earlier oracle must have measured."""
        return ()

    @property
    def measures(self) -> tuple[str, ...]:
        """Properties this oracle gives."""
        raise NotImplementedError

    @property
    def fidelity(self) -> str:
        """The fidelity of what it measures."""
        raise NotImplementedError

    @property
    def energy_source(self) -> str | None:
        """The version of the model behind its uncorrected `energy_per_atom`; None where it gives none."""
        return None

    @property
    def why_incomparable(self) -> str | None:
        """What makes its energies others than those of phases at rest without pressure; None where nothing does."""
        return None

    @property
    def energy_zero(self) -> str | None:
        """What its total energies are counted from: those of two oracles compare only where it is the same."""
        return self.energy_source

    def misfit(self, earlier: Sequence[OracleSettings]) -> str | None:
        """Why this oracle cannot follow `earlier` ones in a line, in words; None where it can."""
        return None

    def model_version(self) -> str:
        """The version of the model or data behind the answers; part of the key of every request."""
        return ""

    def build(self) -> Oracle | TicketOracle:
        """The oracle, its heavy libraries imported here; called in the worker."""
        raise NotImplementedError


class TicketOracleSettings(OracleSettings):
    """A block whose oracle is physical or lives elsewhere: the driver builds it and polls it itself."""

    most_waiting: int = Field(default=16, ge=1)
    """While so many requests wait for an answer from it, no further round is decided."""
    without_meaning: ClassVar[tuple[str, ...]] = (*OracleSettings.without_meaning, "most_waiting")

    def build(self) -> TicketOracle:
        raise NotImplementedError
