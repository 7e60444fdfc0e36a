"""Candidates on a line, shared by the tests of the surrogates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from materials.archive import Archive, Progress, Record
from materials.base import Candidate, Composition, Material, Measurement, Origin
from materials.evaluation import Failure, FailureKind
from surrogates.base import FeatureSource


class Line:
    """Candidates on a line: the n-th is described by x_n, its cosine and a constant column."""

    def __init__(self, x: Sequence[float]) -> None:
        self.x = np.asarray(x, dtype=float)
        self.candidates = [Candidate(Composition(f"Li{i + 1}O1000"), Origin("files")) for i in range(len(x))]
        self._rows = {c.material.to_dict()["formula"]: self.x[i] for i, c in enumerate(self.candidates)}

    def features(self, materials: Sequence[Material]) -> npt.NDArray[np.float64]:
        x = np.array([self._rows[m.to_dict()["formula"]] for m in materials], dtype=float)
        return np.stack([x, np.cos(x), np.full(len(x), 7.0)], axis=1).reshape(len(x), 3)

    def source(self) -> FeatureSource:
        return self.features

    def measured(self, i: int, *measurements: Measurement, **changes: object) -> Record:
        candidate = self.candidates[i]
        return Record(candidate, candidate.material, Progress.EVALUATED, measurements, **changes)  # type: ignore[arg-type]

    def failed(self, i: int, kind: FailureKind = FailureKind.EXPLODED) -> Record:
        candidate = self.candidates[i]
        return Record(candidate, candidate.material, Progress.FAILED, failure=Failure(kind, "for the test"))

    def archive(self, name: str, values: Sequence[float], **changes: object) -> Archive:
        return Archive(
            self.measured(i, measurement(name, value, **changes)) for i, value in enumerate(values)
        )


def measurement(name: str, value: float, **changes: object) -> Measurement:
    return Measurement(name, value, **({"unit": "", "fidelity": "PBE", "oracle": "table"} | changes))  # type: ignore[arg-type]
