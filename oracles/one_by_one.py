"""The base of oracles that answer one request after another in the worker."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from materials.base import Material, Measurement
from materials.evaluation import Failure, FailureKind, Outcome, Request, Status
from oracles.base import Oracle


class RejectedError(Exception):
    """This material gives no value, and asking again would not help. Ends as a rejected outcome."""

    def __init__(self, kind: FailureKind, message: str, provenance: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.failure = Failure(kind, message)
        self.provenance = dict(provenance or {})


@dataclass(frozen=True)
class Answer:
    """What one request gave; `material` where it was changed, provenance as JSON values."""

    measurements: tuple[Measurement, ...]
    material: Material | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


class OneByOneOracle(Oracle):
    """Turns `measure`, which answers or raises RejectedError, into timed outcomes.

    The oracles built on it are deterministic, so what fails once fails always: their failures are rejected,
    never merely failed. Trouble of the machine (memory, a killed worker) is seen and retried by the loop.
    """

    @abstractmethod
    def measure(self, request: Request) -> Answer:
        """The answer to one request. Raises RejectedError for a material that cannot be measured."""

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Outcome]:
        for request in requests:
            start = time.perf_counter()
            answer, failure = Answer(()), None
            try:
                answer = self.measure(request)
            except RejectedError as rejection:
                failure = rejection.failure
                answer = Answer((), provenance=rejection.provenance)
            yield Outcome(
                key=request.key,
                candidate_id=request.candidate.id,
                oracle=request.oracle,
                status=Status.DONE if failure is None else Status.REJECTED,
                measurements=answer.measurements,
                material=answer.material,
                failure=failure,
                seconds=time.perf_counter() - start,
                provenance=answer.provenance,
            )
