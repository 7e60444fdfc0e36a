"""One evaluation: the request to an oracle, and the outcome that came back.

Frozen values like those of `materials.base`, with the same exact JSON form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from materials.base import Candidate, Material, Measurement, content_hash, material_from_dict

if TYPE_CHECKING:
    from materials.relaxation import Frame


class FailureKind(StrEnum):
    """The closed list of ways an evaluation ends without a value."""

    BAD_INPUT = "bad_input"
    NOT_CONVERGED = "not_converged"
    EXPLODED = "exploded"
    UNSUPPORTED_ELEMENT = "unsupported_element"
    UNSUPPORTED_MATERIAL = "unsupported_material"
    NOT_FINITE = "not_finite"
    NO_PERCOLATION = "no_percolation"
    UNKNOWN_REFERENCE = "unknown_reference"
    DISTRUSTED = "distrusted"
    MISSING_PROGRAM = "missing_program"
    MISSING_DATA = "missing_data"
    MISSING_ANSWER = "missing_answer"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    WORKER_LOST = "worker_lost"
    BAD_RESULT = "bad_result"
    ERROR = "error"


@dataclass(frozen=True)
class Failure:
    """Why an evaluation gave no value: a kind from the closed list and a sentence a person can act on."""

    kind: FailureKind
    message: str


class Status(StrEnum):
    """How an evaluation ended. FAILED may be retried, REJECTED never again, UNKNOWN asks a human."""

    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Request:
    """One question to one oracle. `material` and `measurements` are as the earlier stages left them.

    `doubt` says why what was measured so far should not be believed; empty where nothing does. `begun` is what is known
    already of a relaxation of the material: it makes an oracle quicker and changes no answer. `folder`, the same for
    every attempt, is where the oracle may keep inputs, logs and checkpoints; None outside of an executor.
    """

    key: str
    candidate: Candidate
    material: Material
    oracle: str
    measurements: tuple[Measurement, ...] = ()
    conditions: Mapping[str, float] = field(default_factory=dict)
    replicate: int = 0
    doubt: str = ""
    begun: tuple[Frame, ...] = field(default=(), compare=False)
    folder: Path | None = field(default=None, compare=False)

    def measured(self, name: str) -> Measurement | None:
        """The latest measurement of the property `name` made by an earlier stage."""
        return next((m for m in reversed(self.measurements) if m.property == name), None)


def request_key(
    candidate_id: str,
    oracle: str,
    fingerprint: str,
    conditions: Mapping[str, float] | None = None,
    replicate: int = 0,
) -> str:
    """The key under which a question is asked once: equal questions have equal keys.

    `fingerprint` identifies the oracle's settings and model version (see `Settings.fingerprint`), including
    those of the stages before it, because they decide the material it is asked about.
    """
    return content_hash([candidate_id, oracle, fingerprint, dict(conditions or {}), replicate])


@dataclass(frozen=True)
class Outcome:
    """What came back for a request. `material` is set when the oracle changed it (a relaxed structure).

    `doubt` says why what was measured so far should not be believed (potentials that disagree); an empty one lifts an
    earlier doubt, and None says nothing about it.
    """

    key: str
    candidate_id: str
    oracle: str
    status: Status
    measurements: tuple[Measurement, ...] = ()
    material: Material | None = None
    failure: Failure | None = None
    seconds: float = 0.0
    provenance: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    doubt: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "candidate_id": self.candidate_id,
            "oracle": self.oracle,
            "status": str(self.status),
            "measurements": [m.to_dict() for m in self.measurements],
            "material": None if self.material is None else self.material.to_dict(),
            "failure": None if self.failure is None else asdict(self.failure),
            "seconds": self.seconds,
            "provenance": dict(self.provenance),
            "artifacts": {name: dict(entry) for name, entry in self.artifacts.items()},
            "doubt": self.doubt,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Outcome:
        failure = data.get("failure")
        material = data.get("material")
        return cls(
            key=data["key"],
            candidate_id=data["candidate_id"],
            oracle=data["oracle"],
            status=Status(data["status"]),
            measurements=tuple(Measurement.from_dict(m) for m in data.get("measurements", ())),
            material=None if material is None else material_from_dict(material),
            failure=None if failure is None else Failure(FailureKind(failure["kind"]), failure["message"]),
            seconds=float(data.get("seconds", 0.0)),
            provenance=data.get("provenance", {}),
            artifacts=data.get("artifacts", {}),
            doubt=data.get("doubt"),
        )


@dataclass(frozen=True)
class Ticket:
    """Enough to find a running evaluation again after a restart; `handle` holds JSON values only."""

    oracle: str
    key: str
    handle: Mapping[str, Any] = field(default_factory=dict)
