"""What an archive teaches: measured values by property, and which lines ended without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from materials.archive import Archive, Progress, Record
from materials.base import Bound, Candidate, Measurement
from materials.evaluation import FailureKind

Floats = npt.NDArray[np.float64]

NOT_THE_MATERIALS_FAULT = frozenset({FailureKind.WORKER_LOST, FailureKind.DISK_FULL})
"""Failures of the machine: they say nothing about the next material."""

SYSTEMATIC = frozenset({"learned", "learned_HSE", "bond_valence"})
"""Fidelities whose values follow from a law or a model, always the same for the same material."""


@dataclass(frozen=True)
class TrainingRows:
    """Measurements of one property, with the candidates as they were proposed.

    As proposed, because a candidate of the pool has not been relaxed either when it is predicted. A duplicate
    keeps its row: another start that led to the same value is evidence.
    """

    candidates: tuple[Candidate, ...]
    measurements: tuple[Measurement, ...]

    @property
    def values(self) -> Floats:
        """[n], in the property's unit."""
        return np.array([m.value for m in self.measurements], dtype=float)

    @property
    def variances(self) -> Floats:
        """[n], the squared standard deviation where one was reported, else 0.

        What a law or a model says of a material errs in a way all its values share; that is no scatter of
        repeated measurements, so at SYSTEMATIC fidelities a standard deviation counts as unreported.
        """
        return np.array(
            [0.0 if m.fidelity in SYSTEMATIC else (m.std or 0.0) ** 2 for m in self.measurements], dtype=float
        )

    def where(self, chosen: Sequence[bool] | npt.NDArray[np.bool_]) -> TrainingRows:
        """The chosen rows."""
        kept = [i for i, keep in enumerate(chosen) if keep]
        return TrainingRows(
            tuple(self.candidates[i] for i in kept), tuple(self.measurements[i] for i in kept)
        )

    def with_bound(self, *bounds: Bound) -> TrainingRows:
        """The rows whose value is of one of these kinds."""
        return self.where([m.bound in bounds for m in self.measurements])


def rows_of(archive: Archive, name: str) -> TrainingRows:
    """The measurement of the property `name` that counts of every record that has one."""
    pairs = [(record.candidate, archive.measured(record, name)) for record in archive.values()]
    found = [(c, m) for c, m in pairs if m is not None]
    return TrainingRows(tuple(c for c, _ in found), tuple(m for _, m in found))


def outcomes_of(archive: Archive) -> tuple[list[Candidate], list[bool]]:
    """Candidates whose line has ended, and whether it ended with something new: no failure, no gate, no duplicate.

    A candidate that relaxed into a known material cost an evaluation and taught next to nothing, like a failed one.
    Known data and failures of the machine are left out.
    """
    ended = [r for r in archive.values() if r.progress is not Progress.PENDING and not r.known_before]
    telling = [r for r in ended if not _machine_failed(r)]
    return [r.candidate for r in telling], [
        r.progress is Progress.EVALUATED and not r.stopped_by and r.duplicate_of is None for r in telling
    ]


def _machine_failed(record: Record) -> bool:
    return record.failure is not None and record.failure.kind in NOT_THE_MATERIALS_FAULT
