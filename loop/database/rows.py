"""What the store hands out and takes in, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from materials.base import Candidate, Measurement, Prediction
from materials.evaluation import Failure, Ticket


class EvaluationStatus(StrEnum):
    """Where an evaluation stands. A failed one may be asked again, an unknown one waits for a person."""

    PLANNED = "planned"
    SUBMITTED = "submitted"
    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"


OPEN = (EvaluationStatus.PLANNED, EvaluationStatus.SUBMITTED, EvaluationStatus.UNKNOWN)
"""Evaluations from which an answer may still come."""

FINAL = (EvaluationStatus.DONE, EvaluationStatus.REJECTED)
"""Answers that nothing changes any more."""

BESIDE_THE_LINE = -1
"""The stage of an audit: it is no part of a candidate's line, and nothing is learned from what it measured."""

DuplicateFound = Literal["before_relaxation", "after_relaxation"]


@dataclass(frozen=True)
class PlannedEvaluation:
    """An evaluation that will be asked for; `stage` is the oracle's place in the line, from 0, or BESIDE_THE_LINE."""

    key: str
    candidate_id: str
    oracle: str
    stage: int
    conditions: Mapping[str, float] = field(default_factory=dict)
    replicate: int = 0


@dataclass(frozen=True)
class Duplicate:
    """A proposed candidate that was refused because it is the same material as a known one."""

    candidate: Candidate
    duplicate_of: str


@dataclass(frozen=True)
class RoundRow:
    """One decision. Times are UTC in ISO 8601; `timings` are seconds per step."""

    number: int
    seed: int
    decided_at: str
    closed_at: str | None
    timings: Mapping[str, float]
    notes: Mapping[str, Any]
    mlflow_run_id: str | None


@dataclass(frozen=True)
class EvaluationRow:
    """One question to one oracle; `number` counts them in the order in which they were planned."""

    number: int
    key: str
    candidate_id: str
    oracle: str
    stage: int
    round: int
    arrived_in_round: int | None
    conditions: Mapping[str, float]
    replicate: int
    status: EvaluationStatus
    attempts: int
    ticket: Ticket | None
    failure: Failure | None
    seconds: float | None
    started_at: str | None
    finished_at: str | None
    provenance: Mapping[str, Any]
    artifacts: Mapping[str, Mapping[str, str]]
    doubt: str | None


@dataclass(frozen=True)
class AnsweredPrediction:
    """A prediction of the round that asked, and a value that came back, in `arrived_in_round`."""

    round: int
    arrived_in_round: int
    candidate_id: str
    prediction: Prediction
    measurement: Measurement


@dataclass(frozen=True)
class ModelEntry:
    """A model that learned during the campaign; `path` is relative to the run folder."""

    round: int | None
    role: str
    version: str
    path: str
    sha256: str
    champion: bool
