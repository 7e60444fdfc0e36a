"""Many runs of molecular dynamics at once are what single ones are; run where torch-sim is installed (Python 3.12)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

pytest.importorskip("torch_sim", reason="torch-sim is not installed (it needs Python 3.12)")

from materials.base import Candidate, Crystal, Origin
from materials.evaluation import FailureKind, Request, Status
from materials.potential import Potential, load_potential, to_atoms
from oracles.conduction.batched_dynamics import BatchedDynamics
from oracles.conduction.dynamics import Job, Plan, UnusableRunError, simulate
from oracles.conduction.md import MolecularDynamicsSettings
from oracles.conduction.trajectory import read_checkpoint

LIF = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.05), ["Li", "F"], [[0, 0, 0], [0.5, 0.5, 0.5]])
PRIMITIVE = LIF.get_primitive_structure()
STEP = 5.0  # fs
RUNS = [(PRIMITIVE, 300.0), (LIF, 900.0), (PRIMITIVE, 600.0)]
SAME = 1e-4  # angstrom, and relative; rounding, which chaos makes grow


def jobs_in(folder: Path, frames: int = 4, step: float = STEP) -> list[Job]:
    return [
        Job(to_atoms(start), Plan(t, step, frames, seed), folder / str(seed), lambda part: None)
        for seed, (start, t) in enumerate(RUNS)
    ]


@pytest.fixture(scope="module")
def potential() -> Potential:
    return load_potential(device="cpu")


@pytest.fixture(scope="module")
def together(potential: Potential) -> BatchedDynamics:
    return BatchedDynamics(potential)


def test_runs_together_are_those_alone(
    tmp_path: Path, potential: Potential, together: BatchedDynamics
) -> None:
    many, single = jobs_in(tmp_path / "many"), jobs_in(tmp_path / "single")
    together.finish(many)
    for job, alone in zip(many, single, strict=True):
        found, expected = job.trajectory(), simulate(alone, potential.calculator())
        np.testing.assert_allclose(found.displacements, expected.displacements, atol=SAME)
        np.testing.assert_allclose(found.temperatures, expected.temperatures, rtol=SAME)
        np.testing.assert_allclose(found.energies, expected.energies, atol=SAME)


def test_what_was_begun_alone_goes_on_in_a_batch(
    tmp_path: Path, potential: Potential, together: BatchedDynamics
) -> None:
    """A run is stopped at a checkpoint, and goes on in another company."""
    whole, (_, _, broken) = jobs_in(tmp_path / "whole", 14), jobs_in(tmp_path / "broken", 14)
    together.finish(whole)
    simulate(replace(broken, plan=replace(broken.plan, frames=10)), potential.calculator())
    together.finish([broken])
    np.testing.assert_allclose(
        broken.trajectory().displacements, whole[2].trajectory().displacements, atol=100 * SAME
    )


@pytest.mark.slow
def test_each_run_has_its_own_temperature(tmp_path: Path, together: BatchedDynamics) -> None:
    """The mean kinetic energy, and its scatter: that of the canonical ensemble, by the three degrees of freedom.

    3 ps of each hold some 20 independent frames: the mean of one is known to 0.2.
    """
    jobs = [
        Job(to_atoms(PRIMITIVE), Plan(t, STEP, 75, seed), tmp_path / str(seed), lambda part: None)
        for seed, t in enumerate((100.0, 300.0, 900.0))
    ]
    together.finish(jobs)
    told = np.array([job.trajectory().temperatures[15:] / job.plan.temperature for job in jobs])
    assert told.mean(axis=1) == pytest.approx(1.0, abs=0.6)
    assert told.mean() == pytest.approx(1.0, abs=0.3)
    assert told.std() == pytest.approx(np.sqrt(2 / 3), rel=0.35)


def test_a_run_that_explodes_ends_alone(tmp_path: Path, together: BatchedDynamics) -> None:
    good, _, _ = jobs_in(tmp_path, 3, step=60.0)
    heavy = Structure(
        Lattice.cubic(5.0), ["Cs", "Cl"], [[0] * 3, [0.5] * 3]
    )  # at rest for a while at any step
    steady = Job(to_atoms(heavy), Plan(1.0, 60.0, 3, 9), tmp_path / "steady", lambda part: None)
    together.finish([good, steady])
    with pytest.raises(UnusableRunError) as caught:
        good.trajectory()
    assert caught.value.kind in (FailureKind.EXPLODED, FailureKind.NOT_FINITE)
    assert steady.is_finished


class Small(BatchedDynamics):
    """A device on which so many runs fit at once."""

    def __init__(self, potential: Potential, fitting: int) -> None:
        super().__init__(potential)
        self._fitting = fitting
        self.tried: list[int] = []

    def begin(self, runs: Any) -> None:
        self.tried.append(len(runs))
        if len(runs) > self._fitting:
            raise RuntimeError("CUDA out of memory.")
        super().begin(runs)


def test_without_memory_fewer_are_made_at_once_down_to_one(tmp_path: Path, potential: Potential) -> None:
    small, jobs = Small(potential, 1), jobs_in(tmp_path / "one", 1)
    small.finish(jobs)
    assert small.tried == [3, 1, 2, 1, 1]
    assert all(job.is_finished for job in jobs)
    none, jobs = Small(potential, 0), jobs_in(tmp_path / "none", 1)
    none.finish(jobs)
    assert not any(job.is_finished for job in jobs)


class BatchesOnProcessor(MolecularDynamicsSettings):
    """As on a GPU, without one."""

    @property
    def batched(self) -> bool:
        return True


@pytest.mark.slow
def test_the_oracle_makes_all_runs_of_a_batch_beforehand(tmp_path: Path) -> None:
    """Runs too short to tell, and a crystal without lithium: the same answers as one after another."""
    pytest.importorskip("kinisi")
    options: dict[str, Any] = {
        "picoseconds": 2.0, "equilibration": 0.1, "supercell": 2.0, "timestep": STEP, "device": "cpu",
    }  # fmt: skip
    salt = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
    ends = []
    for kind in (BatchesOnProcessor, MolecularDynamicsSettings):
        folder = tmp_path / kind.__name__
        requests = [
            Request(
                str(number), Candidate(crystal, Origin("test")), crystal, "md", folder=folder / str(number)
            )
            for number, crystal in enumerate(map(Crystal, (PRIMITIVE, salt, LIF)))
        ]
        outcomes = list(kind(**options).build().evaluate(requests))
        assert [outcome.status for outcome in outcomes] == [Status.REJECTED] * 3
        ends.append([outcome.failure for outcome in outcomes])
    assert ends[0] == ends[1]
    coldest = read_checkpoint(tmp_path / BatchesOnProcessor.__name__ / "2" / "600K")
    assert coldest is not None
    assert coldest.frames == 42
