"""What an archive teaches: measured values by property, and which lines ended without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from materials.archive import Archive, Progress, Record
from materials.base import Bound, Candidate, Measurement
from materials.evaluation import FailureKind
from materials.properties import Property

Floats = npt.NDArray[np.float64]

NOT_THE_MATERIALS_FAULT = frozenset(
    {
        FailureKind.WORKER_LOST,
        FailureKind.DISK_FULL,
        FailureKind.MISSING_PROGRAM,
        FailureKind.MISSING_DATA,
    }
)
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

    def levels(self, wanted: Property, named: str | None = None) -> tuple[str, ...]:
        """The fidelities to learn from, the one that counts first, then the others, most trusted first.

        What counts is the named one, else the most trusted with two different exact values; of the others those with
        two exact values. Nothing where the one that counts has no two.
        """
        exact = self.with_bound(Bound.EXACT).measurements
        ladder = {fidelity: rank for rank, fidelity in enumerate(wanted.fidelities)}
        found = sorted({m.fidelity for m in exact}, key=lambda f: (-ladder.get(f, -1), f))
        telling = [f for f in found if len({m.value for m in exact if m.fidelity == f}) > 1]
        counting = named or next(iter(telling), None)
        if counting not in telling:
            return ()
        others = [f for f in found if f != counting and sum(m.fidelity == f for m in exact) > 1]
        return (counting, *others)

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
    """The latest measurement of the property `name` at each fidelity of every record that has one."""
    found = [
        (record.candidate, measurement)
        for record in archive.values()
        for measurement in {m.fidelity: m for m in record.measurements if m.property == name}.values()
    ]
    return TrainingRows(tuple(c for c, _ in found), tuple(m for _, m in found))


def named_fidelity(archive: Archive, name: str) -> str | None:
    """The fidelity of the property `name` that an objective names, or None."""
    return next((o.fidelity for o in archive.objectives if o.property == name), None)


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
