"""The base of oracles that answer one request after another in the worker."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from materials.base import Crystal, Material, Measurement
from materials.calculators import CalculatorFaultError, UnsupportedElementError
from materials.evaluation import Failure, FailureKind, Outcome, Request, Status
from oracles.base import Oracle

SAME_CELL = 1e-8  # angstrom; less than the cell of any relaxation moves


class NoAnswerError(Exception):
    """A request ends without a value; a subclass says whether asking again can help."""

    status: ClassVar[Status]

    def __init__(self, kind: FailureKind, message: str, provenance: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.failure = Failure(kind, message)
        self.provenance = dict(provenance or {})


class RejectedError(NoAnswerError):
    """This material gives no value, and asking again would not help. Ends as a rejected outcome."""

    status = Status.REJECTED


class FailedError(NoAnswerError):
    """The machine gives no value now, but may when it is mended. Ends as a failed outcome, open to another attempt."""

    status = Status.FAILED


@dataclass(frozen=True)
class Answer:
    """What one request gave; `material` where it was changed, provenance as JSON values, the rest as in Outcome."""

    measurements: tuple[Measurement, ...]
    material: Material | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    doubt: str | None = None


class OneByOneOracle(Oracle):
    """Turns `measure`, which answers or raises NoAnswerError, into timed outcomes.

    The oracles built on it are deterministic, so what fails once fails always: it is rejected, never merely failed.
    What a person can mend (a missing program) raises FailedError, and a fault of a potential becomes one of the two.
    Trouble of the machine (memory, a killed worker) is seen and retried by the loop.
    """

    @abstractmethod
    def measure(self, request: Request) -> Answer:
        """The answer to one request. Raises NoAnswerError where there is none."""

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Outcome]:
        for request in requests:
            start = time.perf_counter()
            try:
                answer: Answer | NoAnswerError = self.measure(request)
            except NoAnswerError as reason:
                answer = reason
            except (UnsupportedElementError, CalculatorFaultError) as fault:
                answer = without_potential(fault)
            yield outcome_of(request, answer, time.perf_counter() - start)


def without_potential(fault: UnsupportedElementError | CalculatorFaultError) -> NoAnswerError:
    """Why a potential gave nothing, in the loop's words."""
    if isinstance(fault, UnsupportedElementError):
        return RejectedError(FailureKind.UNSUPPORTED_ELEMENT, str(fault))
    return (FailedError if fault.mendable else RejectedError)(fault.kind, str(fault))


def outcome_of(request: Request, answer: Answer | NoAnswerError, seconds: float) -> Outcome:
    """What came back for a request, as the outcome the loop takes."""
    failure, status = None, Status.DONE
    if isinstance(answer, NoAnswerError):
        failure, status = answer.failure, answer.status
        answer = Answer((), provenance=answer.provenance)
    held = _conditions_of_the_cell(request, answer)
    return Outcome(
        key=request.key,
        candidate_id=request.candidate.id,
        oracle=request.oracle,
        status=status,
        measurements=tuple(replace(m, conditions={**held, **m.conditions}) for m in answer.measurements),
        material=answer.material,
        failure=failure,
        seconds=seconds,
        provenance=answer.provenance,
        artifacts=answer.artifacts,
        doubt=answer.doubt,
    )


def _conditions_of_the_cell(request: Request, answer: Answer) -> Mapping[str, float]:
    """Pressure or strain under which an earlier oracle left the cell; none once the answer has another cell."""
    relaxed = request.measured("energy_per_atom")
    if relaxed is None:
        return {}
    before, after = request.material, answer.material
    if isinstance(before, Crystal) and isinstance(after, Crystal):
        cells = before.structure.lattice.matrix, after.structure.lattice.matrix
        if not np.allclose(*cells, rtol=0, atol=SAME_CELL):
            return {}
    return relaxed.conditions
