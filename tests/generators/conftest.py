from __future__ import annotations

from collections.abc import Sequence

import pytest
from generator_cases import ELEMENTS, Evaluated

from materials.archive import Archive, Progress, Record
from materials.base import Candidate, Measurement
from materials.goals import Objective
from materials.space import Space


@pytest.fixture(scope="session")
def space() -> Space:
    return Space(
        elements=ELEMENTS,
        required=["Li"],
        number_of_elements=(2, 5),
        number_of_atoms=(2, 20),
        charge_balanced=True,
    )


@pytest.fixture
def empty() -> Archive:
    return Archive([], [Objective("energy_above_hull", "minimize")])


@pytest.fixture
def evaluated() -> Evaluated:
    """An archive of evaluated candidates, the first the best."""

    def archive(candidates: Sequence[Candidate]) -> Archive:
        records = [
            Record(
                candidate,
                candidate.material,
                Progress.EVALUATED,
                (Measurement("energy_above_hull", float(i), "eV/atom", "potential", "hull"),),
            )
            for i, candidate in enumerate(candidates)
        ]
        return Archive(records, [Objective("energy_above_hull", "minimize")])

    return archive
