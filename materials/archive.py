"""Read-only view of all a campaign knows, as objects and as a pandas table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from materials.base import Candidate, Material, Measurement
from materials.evaluation import Failure
from materials.goals import Constraint, Objective
from materials.properties import property_named
from materials.ranking import non_dominated_fronts, rank_records

if TYPE_CHECKING:
    import pandas as pd


class Progress(StrEnum):
    """How far a candidate's line of oracles has come."""

    PENDING = "pending"
    EVALUATED = "evaluated"
    FAILED = "failed"


@dataclass(frozen=True)
class Record:
    """A candidate with everything measured on it.

    `material` is as the last stage left it (relaxed, for example). `stopped_by` names the gate or doubt that
    ended the line early; such a record counts as evaluated. `doubt` says why what was measured should not be
    believed, empty where nothing does. `known_before` marks the user's own prior data.
    """

    candidate: Candidate
    material: Material
    progress: Progress
    measurements: tuple[Measurement, ...] = ()
    failure: Failure | None = None
    stopped_by: str | None = None
    duplicate_of: str | None = None
    round: int | None = None
    known_before: bool = False
    doubt: str = ""

    @property
    def id(self) -> str:
        return self.candidate.id

    @property
    def doubted(self) -> bool:
        """Whether its line is over, with values that should not be believed."""
        return bool(self.doubt) and self.progress is Progress.EVALUATED

    @property
    def stopped_at_gate(self) -> bool:
        """Whether a measured value ended its line early, not a doubt or a failure."""
        return self.stopped_by is not None and self.progress is Progress.EVALUATED and not self.doubt

    def measured(self, name: str, fidelity: str | None = None) -> Measurement | None:
        """The measurement of `name` at the named fidelity, else at the highest one; the latest wins a tie."""
        found = [m for m in self.measurements if m.property == name and fidelity in (None, m.fidelity)]
        if not found:
            return None
        ladder = property_named(name).fidelities
        ranks = [ladder.index(m.fidelity) if m.fidelity in ladder else -1 for m in found]
        best = max(range(len(found)), key=lambda i: (ranks[i], i))
        return found[best]

    def value(self, name: str, fidelity: str | None = None) -> float | None:
        """The value of `measured(name, fidelity)`, or None where there is none."""
        measurement = self.measured(name, fidelity)
        return None if measurement is None else measurement.value


class Archive(Mapping[str, Record]):
    """All records of a campaign by candidate id, in the order in which they were first seen."""

    def __init__(
        self,
        records: Iterable[Record],
        objectives: Sequence[Objective] = (),
        constraints: Sequence[Constraint] = (),
    ) -> None:
        self._records = {record.id: record for record in records}
        self.objectives = tuple(objectives)
        self.constraints = tuple(constraints)

    def __getitem__(self, candidate_id: str) -> Record:
        return self._records[candidate_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def _with(self, progress: Progress) -> list[Record]:
        return [r for r in self._records.values() if r.progress is progress]

    @property
    def evaluated(self) -> list[Record]:
        """Records whose line has ended with values, including those a gate stopped."""
        return self._with(Progress.EVALUATED)

    @property
    def pending(self) -> list[Record]:
        """Records picked and not yet answered."""
        return self._with(Progress.PENDING)

    @property
    def failed(self) -> list[Record]:
        """Records whose line ended in a failure."""
        return self._with(Progress.FAILED)

    def measured(self, record: Record, name: str) -> Measurement | None:
        """The measurement of `name` that counts here: at the fidelity an objective names, else the highest."""
        named = (o.fidelity for o in self.objectives if o.property == name)
        return record.measured(name, next(named, None))

    def scores(self, record: Record) -> tuple[float, ...] | None:
        """One number per objective, larger is better; None unless all were measured.

        A bound on the better side (a conductivity of at most ..., where more is wanted) says only how good the material
        could be, so it is no score.
        """
        measured = [(o, record.measured(o.property, o.fidelity)) for o in self.objectives]
        known = [(o, m) for o, m in measured if m is not None and o.known_by(m.bound)]
        if not known or len(known) < len(measured):
            return None
        return tuple(o.score(m.value) for o, m in known)

    def feasible(self, record: Record) -> bool:
        """Whether every constraint is measured and kept, and no gate or failure ended the line."""
        if record.progress is not Progress.EVALUATED or record.stopped_by:
            return False
        measured = [(c, self.measured(record, c.property)) for c in self.constraints]
        return all(m is not None and c.kept_by(m) for c, m in measured)

    @property
    def complete(self) -> list[Record]:
        """Feasible records, none a duplicate, with every objective measured."""
        return [
            r
            for r in self.evaluated
            if r.duplicate_of is None and self.feasible(r) and self.scores(r) is not None
        ]

    def pareto_front(self) -> list[Record]:
        """The complete records that no other complete record dominates, best first objective first."""
        complete = self.complete
        scores = [self.scores(r) or () for r in complete]
        fronts = non_dominated_fronts(np.array(scores).reshape(len(complete), len(self.objectives)))
        best_first = sorted(fronts[0], key=lambda i: scores[i], reverse=True) if fronts else []
        return [complete[i] for i in best_first]

    def incumbents(self, n: int) -> list[Record]:
        """The n best records to build on: by non-dominated rank, then by crowding (Deb et al. 2002).

        Where fewer than n records are complete, evaluated ones that broke a constraint or stopped at a gate
        follow, those nearest to being feasible first.
        """
        return rank_records(self)[:n]

    def table(self) -> pd.DataFrame:
        """One row per record; measured columns are named `property (unit)`."""
        import pandas as pd

        rows = []
        for record in self._records.values():
            row: dict[str, object] = {
                "id": record.id,
                "formula": record.material.formula,
                "generator": record.candidate.origin.generator,
                "round": record.round,
                "progress": str(record.progress),
                "stopped_by": record.stopped_by,
                "duplicate_of": record.duplicate_of,
                "failure": None if record.failure is None else str(record.failure.kind),
            }
            for name in dict.fromkeys(m.property for m in record.measurements):
                unit = property_named(name).unit
                row[f"{name} ({unit})" if unit else name] = record.value(name)
            rows.append(row)
        return pd.DataFrame(rows)
