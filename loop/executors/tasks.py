"""What a task does: builds the oracle once per process, evaluates a request, records its outcome."""

from __future__ import annotations

import errno
import json
import logging
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from loop.executors.records import attempt_folder, file_artifacts, find_outcome, write_outcome
from materials.base import BadMeasurementError, Measurement, canonical_json
from materials.checkpoints import NoCheckpointError
from materials.evaluation import Failure, FailureKind, Outcome, Request, Status
from materials.memory import is_out_of_memory
from materials.properties import PROPERTIES
from oracles.base import Oracle, OracleSettings

log = logging.getLogger(__name__)

TRACEBACK_FILE = "traceback.txt"
WORK_FOLDER = "work"
"""Beside the attempts of a request: what an oracle keeps for the next one, such as checkpoints."""
LONGEST_MESSAGE = 1000
"""Characters of an exception's text kept in a failure; the traceback has all of it."""

_oracles: dict[tuple[type[OracleSettings], str], Oracle] = {}


@dataclass(frozen=True)
class RunningTask:
    """A request that was submitted and has not come back.

    `seconds` since it started, None while it waits for a free worker; `worker` is the process id, None while
    it waits and for what runs outside of this machine (`outside`: a lab, a remote queue).
    """

    key: str
    oracle: str
    candidate_id: str
    formula: str
    seconds: float | None = None
    worker: int | None = None
    outside: bool = False

    @classmethod
    def of(
        cls, request: Request, seconds: float | None = None, worker: int | None = None, outside: bool = False
    ) -> RunningTask:
        """The request as a running task."""
        formula = request.material.formula
        return cls(request.key, request.oracle, request.candidate.id, formula, seconds, worker, outside)


def oracle_of(settings: OracleSettings) -> Oracle:
    """The oracle of these settings, built on first use and kept for the life of the process."""
    name = (type(settings), settings.model_dump_json())
    if name not in _oracles:
        oracle = settings.build()
        if not isinstance(oracle, Oracle):
            raise TypeError(f"oracle {settings.kind}: build() gave {type(oracle).__name__}, not an Oracle")
        _oracles[name] = oracle
    return _oracles[name]


def preload(settings: OracleSettings) -> None:
    """Builds an oracle ahead of its first request. A fault is logged; the requests will report it."""
    try:
        oracle_of(settings)
    except Exception:
        log.exception("oracle %s could not be built", settings.kind)


def evaluate(settings: OracleSettings, request: Request, folder: Path, attempt: int) -> Outcome:
    """Evaluates one request in this process; see `evaluate_together`."""
    [outcome] = evaluate_together(settings, [(request, attempt)], folder)
    return outcome


def evaluate_together(
    settings: OracleSettings, asked: Sequence[tuple[Request, int]], folder: Path
) -> list[Outcome]:
    """Evaluates requests, each with the number of its attempt, in this process; a fault becomes a typed failure.

    Writes outcome.json as soon as an outcome arrives, and traceback.txt where the oracle raised, into
    `folder/<key>/<attempt>/`. An outcome that could not be written still comes back, with the reason under `unsaved` in
    its provenance.
    """
    outcomes: list[Outcome] = []
    todo: list[tuple[Request, Path]] = []
    for request, attempt in asked:
        place = attempt_folder(folder, request.key, attempt)
        try:
            place.mkdir(parents=True, exist_ok=True)
            # A worker can be lost after it wrote its outcome and before it gave it back.
            before = find_outcome(folder, request.key, attempt)
        except OSError as error:
            outcomes.append(failed(request, _kind_of(error), f"{place}: {error}"))
            continue
        if before is not None and before.status in (Status.DONE, Status.REJECTED):
            outcomes.append(before)
        else:
            todo.append((request, place))
    return outcomes + (_ask(settings, todo) if todo else [])


def _ask(settings: OracleSettings, todo: Sequence[tuple[Request, Path]]) -> list[Outcome]:
    """Each request's outcome, recorded when it arrived."""
    places = {request.key: (request, place) for request, place in todo}
    answers: dict[str, list[Outcome]] = {key: [] for key in places}
    outcomes: dict[str, Outcome] = {}
    stray: list[Outcome] = []
    fault: BaseException | None = None
    started = time.perf_counter()
    try:
        oracle = oracle_of(settings)
        started = time.perf_counter()  # loading a model is not part of what an evaluation costs
        for answer in oracle.evaluate([replace(r, folder=p.parent / WORK_FOLDER) for r, p in todo]):
            if answer.key not in answers:
                stray.append(answer)
                continue
            answers[answer.key].append(answer)
            request, place = places[answer.key]
            seconds = (time.perf_counter() - started) / len(todo)
            outcomes[request.key] = _recorded(answers[request.key], settings, request, place, seconds)
    except (Exception, SystemExit) as error:
        fault = error
    for request, place in todo:
        if request.key in outcomes:
            continue
        if fault is None:
            outcomes[request.key] = _recorded(stray, settings, request, place, 0.0)
        else:
            with suppress(OSError):
                text = "".join(traceback.format_exception(fault))
                (place / TRACEBACK_FILE).write_text(text, encoding="utf-8")
            seconds = (time.perf_counter() - started) / len(todo)
            outcomes[request.key] = _written(failed_by(fault, request, seconds), place)
    return list(outcomes.values())


def _recorded(
    answers: Sequence[Outcome], settings: OracleSettings, request: Request, place: Path, seconds: float
) -> Outcome:
    """The outcome that an oracle's answers to a request come to, with its files, on disk."""
    outcome = checked(answers, settings, request, seconds)
    try:
        outcome = file_artifacts(outcome, place)
    except OSError as error:
        with suppress(OSError):
            (place / TRACEBACK_FILE).write_text(traceback.format_exc(), encoding="utf-8")
        outcome = failed_by(error, request, seconds)
    return _written(outcome, place)


def _written(outcome: Outcome, place: Path) -> Outcome:
    try:
        write_outcome(outcome, place)
    except OSError as error:
        return replace(outcome, provenance={**outcome.provenance, "unsaved": f"{place}: {error}"})
    return outcome


def failed(request: Request, kind: FailureKind, message: str, seconds: float = 0.0) -> Outcome:
    """The outcome of a request that gave no value, open to another attempt."""
    return Outcome(
        key=request.key,
        candidate_id=request.candidate.id,
        oracle=request.oracle,
        status=Status.FAILED,
        failure=Failure(kind, message),
        seconds=seconds,
    )


def failed_by(error: BaseException, request: Request, seconds: float = 0.0) -> Outcome:
    """The outcome of a request whose oracle raised."""
    message = f"{type(error).__name__}: {error}"[:LONGEST_MESSAGE]
    return failed(request, _kind_of(error), message, seconds)


def _kind_of(error: BaseException) -> FailureKind:
    if isinstance(error, BadMeasurementError):
        return FailureKind.BAD_RESULT
    if isinstance(error, NoCheckpointError):
        return FailureKind.MISSING_DATA
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FailureKind.DISK_FULL
    if is_out_of_memory(error):
        return FailureKind.OUT_OF_MEMORY
    return FailureKind.ERROR


def checked(
    answers: Sequence[Outcome], settings: OracleSettings, request: Request, seconds: float = 0.0
) -> Outcome:
    """The one outcome an oracle owed for a request, or a failure of kind bad_result saying what is wrong.

    What is returned went through JSON, so that an outcome is the same whether it comes from a process, a file
    or this one. `seconds` is filled in where the oracle left it 0.
    """
    fault = _fault_of(answers, settings, request)
    if fault is None:
        answer = answers[0]
        try:
            return Outcome.from_dict(
                json.loads(canonical_json({**answer.to_dict(), "seconds": answer.seconds or seconds}))
            )
        except (TypeError, ValueError) as error:
            fault = f"its outcome cannot be written as JSON: {error}"
    message = f"oracle {request.oracle}, {request.material.formula}: {fault}"
    return failed(request, FailureKind.BAD_RESULT, message, seconds)


def _fault_of(answers: Sequence[Outcome], settings: OracleSettings, request: Request) -> str | None:
    if len(answers) != 1:
        return f"it gave {len(answers)} outcomes for one request"
    answer = answers[0]
    asked = (request.key, request.candidate.id, request.oracle)
    if (answer.key, answer.candidate_id, answer.oracle) != asked:
        return f"it answered {answer.key} ({answer.candidate_id}, {answer.oracle}) instead of {request.key}"
    if answer.status is Status.DONE and answer.failure is not None:
        return "its outcome is done and a failure at once"
    if answer.status in (Status.FAILED, Status.REJECTED) and answer.failure is None:
        return f"its outcome is {answer.status} without a reason"
    return next((fault for m in answer.measurements if (fault := _measurement_fault(m, settings))), None)


def _measurement_fault(measurement: Measurement, settings: OracleSettings) -> str | None:
    name = measurement.property
    if name not in settings.measures:
        return f"it measured {name}, which it does not declare (it declares {', '.join(settings.measures)})"
    known = PROPERTIES.get(name)
    if known is None:
        return None
    if measurement.unit != known.unit:
        return f"{name} is in {measurement.unit!r}, but its unit is {known.unit!r}"
    low, high = known.possible
    if not low <= measurement.value <= high:
        return f"{name} is {measurement.value:g} {known.unit}, which is impossible (from {low:g} to {high:g})"
    return None
