"""Candidates on a plane and a fitted surrogate over them, shared by the tests of the policies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from acquisition.base import Option
from materials.archive import Archive, Progress, Record
from materials.base import Candidate, Composition, Material, Measurement, Origin
from materials.evaluation import Failure, FailureKind
from materials.goals import Constraint, Objective
from surrogates.gaussian_process import GaussianProcessSettings, GaussianProcessSurrogate

Points = npt.NDArray[np.float64]
OPTIONS = [Option("table", "PBE", 12.0)]


class Plane:
    """Candidates at points [n, 2]; `truths` gives each property's values [n] from the points."""

    def __init__(self, points: Points, truths: dict[str, Callable[[Points], Points]]) -> None:
        self.points = points
        self.values = {name: truth(points) for name, truth in truths.items()}
        self.candidates = [
            Candidate(Composition(f"Li{i + 1}O10007"), Origin("files")) for i in range(len(points))
        ]
        self.index = {c.id: i for i, c in enumerate(self.candidates)}
        self._rows = {c.material.to_dict()["formula"]: points[i] for i, c in enumerate(self.candidates)}

    def features(self, materials: Sequence[Material]) -> Points:
        return np.array([self._rows[m.to_dict()["formula"]] for m in materials], dtype=float).reshape(-1, 2)

    def measured(self, i: int, stopped_by: str | None = None) -> Record:
        found = tuple(Measurement(n, float(v[i]), "", "PBE", "table") for n, v in self.values.items())
        candidate = self.candidates[i]
        return Record(candidate, candidate.material, Progress.EVALUATED, found, stopped_by=stopped_by)

    def pending(self, i: int) -> Record:
        return Record(self.candidates[i], self.candidates[i].material, Progress.PENDING)

    def failed(self, i: int) -> Record:
        failure = Failure(FailureKind.EXPLODED, "for the test")
        return Record(self.candidates[i], self.candidates[i].material, Progress.FAILED, failure=failure)

    def archive(
        self,
        measured: Iterable[int],
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        others: Sequence[Record] = (),
    ) -> Archive:
        return Archive([*(self.measured(int(i)) for i in measured), *others], objectives, constraints)

    def surrogate(self, archive: Archive) -> GaussianProcessSurrogate:
        names = [o.property for o in archive.objectives] + [c.property for c in archive.constraints]
        settings = GaussianProcessSettings(descriptor="composition", prior="none")
        surrogate = settings.build(list(dict.fromkeys(names)), self.features)
        surrogate.fit(archive, seed=0)
        return surrogate


def grid(side: int = 12) -> Points:
    axis = np.linspace(0.0, 1.0, side)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
