"""Molecular dynamics past its walltime, in the executor's own worker: killed, and gone on with by the next attempt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from pymatgen.core import Lattice, Structure

from loop.executors.base import Dispatcher
from loop.executors.local import LocalExecutorSettings
from loop.executors.tasks import WORK_FOLDER
from materials.base import Candidate, Crystal, Origin
from materials.evaluation import FailureKind, Outcome, Request, request_key
from oracles.conduction.md import MolecularDynamicsSettings
from oracles.conduction.trajectory import CHECKPOINT, read_trajectory

SETTINGS = MolecularDynamicsSettings(
    potential="ase.calculators.emt:EMT",  # steps of milliseconds
    mobile_ion="Al",
    supercell=2.0,
    temperatures=(200.0, 300.0, 400.0),
    picoseconds=5.0,
    equilibration=0.0,
    walltime=600.0,
)
ALLOY = Crystal(
    Structure.from_spacegroup("Pm-3m", Lattice.cubic(3.65), ["Al", "Cu"], [[0, 0, 0], [0.5, 0.5, 0]])
)
HOTTEST = "400K"
FRAMES = 100


def outcome_of(dispatcher: Dispatcher, settings: MolecularDynamicsSettings, attempt: int) -> Outcome:
    candidate = Candidate(ALLOY, Origin("test"))
    key = request_key(candidate.id, "md", settings.fingerprint())
    dispatcher.submit(settings, Request(key, candidate, ALLOY, "md"), attempt)
    outcomes: list[Outcome] = []
    while dispatcher.running():
        outcomes += dispatcher.wait(60)
    (outcome,) = outcomes
    return outcome


def test_an_evaluation_past_its_walltime_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    with LocalExecutorSettings(workers=1).build(tmp_path / "stopped", 600) as dispatcher:
        dispatcher.warm([SETTINGS])
        # A busy machine may need longer to come to a checkpoint.
        for attempt in range(1, 9):
            hasty = SETTINGS.model_copy(update={"walltime": 0.25 * 2**attempt})
            stopped = outcome_of(dispatcher, hasty, attempt)
            work = tmp_path / "stopped" / stopped.key / WORK_FOLDER / HOTTEST
            if (work / CHECKPOINT).exists():
                break
        assert stopped.failure is not None
        assert stopped.failure.kind is FailureKind.TIMEOUT
        first = sorted(work.glob("frames-*.npz"))[0]
        written = first.stat().st_mtime_ns
        ended = outcome_of(dispatcher, SETTINGS, attempt + 1)
    with LocalExecutorSettings(workers=1).build(tmp_path / "whole", 600) as dispatcher:
        never_stopped = outcome_of(dispatcher, SETTINGS, 1)
    assert ended.key == stopped.key == never_stopped.key
    assert first.stat().st_mtime_ns == written, "it began anew"
    assert ended.failure == never_stopped.failure
    whole = tmp_path / "whole" / ended.key / WORK_FOLDER / HOTTEST
    one, other = (read_trajectory(folder, FRAMES, 0.05).displacements for folder in (work, whole))
    np.testing.assert_array_equal(one, other)
    assert replace(ended, seconds=0.0) == replace(never_stopped, seconds=0.0)
