"""The md oracle: runs that go on after a kill, guards, statistics with a known answer, and typed rejections."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from experiments.lattice_walks import INTERVAL, lattice_walk
from materials.base import Candidate, Composition, Crystal, Material, Origin
from materials.evaluation import FailureKind, Outcome, Request, Status
from materials.potential import load_potential, to_atoms
from oracles.conduction.arrhenius import BOLTZMANN, arrhenius, log_conductivity
from oracles.conduction.diffusion import Diffusion, diffusion_of, picoseconds_needed, why_too_short
from oracles.conduction.dynamics import Job, Plan, UnusableRunError, simulate
from oracles.conduction.md import MolecularDynamicsSettings
from oracles.conduction.melting import why_not_held
from oracles.conduction.molecular_dynamics import MolecularDynamicsOracle
from oracles.conduction.simulation_cell import SimulationCell, simulation_cell
from oracles.conduction.trajectory import (
    CHECKPOINT,
    END,
    BrokenTrajectoryError,
    Checkpoint,
    Trajectory,
    read_checkpoint,
    read_end,
    write_checkpoint,
    write_chunk,
)

LIF = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.05), ["Li", "F"], [[0, 0, 0], [0.5, 0.5, 0.5]])
PRIMITIVE = LIF.get_primitive_structure()
LIF_CELL = simulation_cell(LIF, "Li", 8.0, 64)  # 32 lithium ions
SHORT_STEPS = Plan(temperature=300.0, timestep=10.0, frames=24, seed=7)


def request_for(material: Material | Structure, folder: Path | None = None) -> Request:
    if isinstance(material, Structure):
        material = Crystal(material)
    return Request("key", Candidate(material, Origin("test")), material, "md", folder=folder)


def answered(material: Material | Structure, folder: Path | None = None, **options: Any) -> Outcome:
    (outcome,) = MolecularDynamicsSettings(**options).build().evaluate([request_for(material, folder)])
    return outcome


def job_in(folder: Path, plan: Plan = SHORT_STEPS) -> Job:
    return Job(to_atoms(PRIMITIVE), plan, folder, lambda part: None)


def kept_trajectory(
    folder: Path, oracle: MolecularDynamicsOracle, temperature: float, walk: Trajectory
) -> None:
    """Writes a finished run of the oracle."""
    place = folder / f"{temperature:g}K"
    place.mkdir(parents=True)
    steady = Trajectory(walk.displacements, walk.energies, np.full(len(walk), temperature), walk.interval)
    write_chunk(place, 0, steady)
    nothing = np.zeros((1, 3))
    write_checkpoint(place, Checkpoint(len(walk), nothing, nothing, {}))


# --- runs -----------------------------------------------------------------------------------------------------------

KILLED = """
import sys
from pathlib import Path
from tests.oracles.test_oracles_md import job_in
from materials.potential import load_potential
from oracles.conduction.dynamics import simulate
simulate(job_in(Path(sys.argv[1])), load_potential().calculator())
"""


def test_a_killed_run_goes_on_as_if_it_had_not_been_killed(tmp_path: Path) -> None:
    """A real process is killed after a checkpoint; what is left of it may lie anywhere between two."""
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(broken)])
    while process.poll() is None and not (broken / CHECKPOINT).exists():
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    found = read_checkpoint(broken)
    assert found is not None
    assert found.frames < SHORT_STEPS.frames
    calculator = load_potential().calculator()
    runs = [simulate(job_in(folder), calculator) for folder in (broken, whole)]
    assert len(runs[0]) == SHORT_STEPS.frames
    np.testing.assert_array_equal(runs[0].displacements, runs[1].displacements)
    np.testing.assert_array_equal(runs[0].energies, runs[1].energies)
    np.testing.assert_array_equal(runs[0].temperatures, runs[1].temperatures)


def test_a_run_that_leaves_the_material_ends_with_its_kind(tmp_path: Path) -> None:
    hot = Plan(temperature=300.0, timestep=60.0, frames=10, seed=1)  # far too long steps
    with pytest.raises(UnusableRunError, match="at 300 K") as caught:
        simulate(job_in(tmp_path, hot), load_potential().calculator())
    assert caught.value.kind in (FailureKind.EXPLODED, FailureKind.NOT_FINITE)
    with pytest.raises(UnusableRunError, match=str(caught.value)):
        job_in(tmp_path, hot).trajectory()  # nobody runs it again


def test_a_broken_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"no zip")
    with pytest.raises(BrokenTrajectoryError, match="delete the folder"):
        read_checkpoint(tmp_path)
    (tmp_path / END).write_text('{"kind": "bored", "message": ""}')
    with pytest.raises(BrokenTrajectoryError, match="delete the folder"):
        read_end(tmp_path)


def test_frames_are_fifty_femtoseconds_apart_whatever_the_step() -> None:
    assert [Plan(1, step, 1, 0).steps_per_frame for step in (0.5, 2.0, 60.0)] == [100, 25, 1]
    assert Plan.lasting(300, 2.0, 20.0, 0).frames == 400


# --- guards ---------------------------------------------------------------------------------------------------------


def test_only_a_framework_that_does_not_hold_is_called_molten() -> None:
    rng = np.random.default_rng(0)
    atoms = len(LIF_CELL.structure)
    vibrating = 0.3 * rng.standard_normal((20, atoms, 3)) + 4.0  # and shifted as a whole
    vibrating[:, LIF_CELL.mobile] += 10 * rng.standard_normal((20, len(LIF_CELL.mobile), 3))
    still = np.zeros(20)

    def verdict(paths: np.ndarray) -> str | None:
        return why_not_held(LIF_CELL, Trajectory(paths.astype(np.float32), still, still, 0.05))

    assert verdict(vibrating) is None
    molten = vibrating + 1.2 * rng.standard_normal((1, atoms, 3))
    assert "melts" in str(verdict(molten))
    apart = vibrating + 5.0 * rng.standard_normal((1, atoms, 3))
    assert "comes apart" in str(verdict(apart))


def test_turning_ligands_are_no_melt() -> None:
    cell = simulation_cell(
        Structure(Lattice.cubic(8), ["Li", "P", *["S"] * 4], [
            [0.5] * 3, [0] * 3, [0.15, 0.15, 0.15], [0.15, -0.15, -0.15], [-0.15, 0.15, -0.15], [-0.15, -0.15, 0.15],
        ]), "Li", 8.0, 6,
    )  # fmt: skip
    places = cell.structure.frac_coords[2:] @ np.eye(3) * 8
    places = (places + 4) % 8 - 4
    turned = np.zeros((20, 6, 3))
    turned[:, 2:] = places[[1, 2, 3, 0]] - places
    assert why_not_held(cell, Trajectory(turned.astype(np.float32), np.zeros(20), np.zeros(20), 0.05)) is None


# --- statistics -----------------------------------------------------------------------------------------------------


@given(
    energy=st.floats(0.05, 1.0),
    intercept=st.floats(-12, -4),
    hottest=st.floats(700, 1500),
    error=st.floats(0.02, 0.4),
)
@settings(max_examples=30, deadline=None)
def test_arrhenius_recovers_a_law_and_is_least_sure_far_away(
    energy: float, intercept: float, hottest: float, error: float
) -> None:
    rng = np.random.default_rng(1)
    points = [
        Diffusion(
            t, 20, math.exp(intercept - energy / (BOLTZMANN * t)) * rng.normal(1, error / 4, 500), 1, 1, 1, 1
        )
        for t in (hottest, 0.8 * hottest, 0.6 * hottest)
    ]
    law = arrhenius(points, seed=0)
    assert abs(law.activation_energy - energy) < 4 * law.activation_energy_std + 1e-3
    assert law.log_diffusivity(300.0)[1] > law.log_diffusivity(0.8 * hottest)[1]


def test_points_off_the_line_widen_the_error() -> None:
    def fit(factor: float) -> float:
        samples = np.random.default_rng(0).normal(1, 0.05, 500)
        bent = [
            Diffusion(t, 20, samples * d, 1, 1, 1, 1) for t, d in ((600, 1), (800, 2 * factor), (1000, 3))
        ]
        return arrhenius(bent, seed=0).activation_energy_std

    assert fit(3.0) > 2 * fit(1.0)


def test_conductivity_follows_nernst_and_einstein() -> None:
    # 1e22 ions per cubic centimetre at 1e-8 cm^2/s: n e^2 D / kT = 1e22 * 1.602e-19 * 1e-8 / 0.025852 S/cm
    assert log_conductivity(math.log(1e-8), 0.01, 1, 300.0) == pytest.approx(math.log10(6.1974e-4), abs=1e-3)
    assert log_conductivity(math.log(1e-8), 0.01, 2, 300.0) == pytest.approx(
        math.log10(4 * 6.1974e-4), abs=1e-3
    )


def test_a_walk_of_known_diffusivity_is_found_and_seeded() -> None:
    found, again = (
        diffusion_of(LIF_CELL, lattice_walk(LIF_CELL, 400, 2e-5, 3), 600, seed=5) for _ in range(2)
    )
    assert abs(found.diffusivity / 2e-5 - 1) < 3 * found.relative_error
    assert 0.05 < found.relative_error < 0.5
    assert found.hops == pytest.approx(32 * 6 * 2e-5 * 1e4 * 20 / LIF_CELL.site_distance() ** 2, rel=0.5)
    assert picoseconds_needed(found) == found.picoseconds
    np.testing.assert_array_equal(found.samples, again.samples)


@pytest.mark.slow
def test_ninety_five_percent_intervals_hold_about_so_often() -> None:
    """40 walks of 18 ions and some 70 hops; 95 % of 40 are 38, and fewer than 34 have a chance of 0.2 %."""
    cell: SimulationCell = simulation_cell(LIF, "Li", 4.0, 8)
    held = 0
    for seed in range(40):
        found = diffusion_of(cell, lattice_walk(cell, 800, 1e-4, seed), 600, seed)
        logs = found.log_samples(np.random.default_rng(seed), 4000)
        low, high = np.quantile(logs, (0.025, 0.975))
        held += low <= math.log(1e-4) <= high
    assert held >= 34


# --- the oracle -----------------------------------------------------------------------------------------------------


def law_of(temperature: float) -> float:
    """A made-up conductor: activation energy 0.2 eV."""
    return 3e-4 * math.exp(-0.2 / (BOLTZMANN * temperature))


def test_finished_runs_become_three_measurements(tmp_path: Path) -> None:
    options = MolecularDynamicsSettings(picoseconds=20, equilibration=2, temperatures=(900, 600, 750))
    oracle, request = options.build(), request_for(LIF, tmp_path)
    for temperature in options.temperatures:
        kept_trajectory(
            tmp_path, oracle, temperature, lattice_walk(LIF_CELL, 440, law_of(temperature), int(temperature))
        )
    (outcome,) = oracle.evaluate([request])
    assert outcome.status is Status.DONE
    values = {m.property: m for m in outcome.measurements}
    slope = values["activation_energy"]
    assert slope.std is not None
    assert abs(slope.value - 0.2) < 3 * slope.std < 0.4
    diffusivity, conductivity = values["diffusivity"], values["log_ionic_conductivity"]
    assert diffusivity.conditions == conductivity.conditions == {"temperature": 300.0}
    assert conductivity.std is not None
    assert diffusivity.std == pytest.approx(diffusivity.value * conductivity.std * math.log(10))
    per_volume = 32 / LIF_CELL.structure.volume
    truth = log_conductivity(math.log(law_of(300)), per_volume, 1, 300)
    assert abs(conductivity.value - truth) < 3 * conductivity.std
    assert [run["temperature"] for run in outcome.provenance["runs"]] == [900, 750, 600]


def test_diffusivities_that_fall_with_temperature_are_no_activation_energy(tmp_path: Path) -> None:
    options = MolecularDynamicsSettings(picoseconds=20, equilibration=2, temperatures=(900, 600, 750))
    oracle, request = options.build(), request_for(LIF, tmp_path)
    for temperature in options.temperatures:
        upside_down = 4 * law_of(1500 - temperature)
        kept_trajectory(
            tmp_path, oracle, temperature, lattice_walk(LIF_CELL, 440, upside_down, int(temperature))
        )
    (outcome,) = oracle.evaluate([request])
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.NOT_CONVERGED
    assert "activation energy of -0" in outcome.failure.message


def test_runs_without_hops_are_not_converged_and_never_a_number(tmp_path: Path) -> None:
    options = MolecularDynamicsSettings(picoseconds=20, equilibration=2, temperatures=(600, 750, 900))
    kept_trajectory(tmp_path, options.build(), 900, lattice_walk(LIF_CELL, 440, 2e-8, 0))
    (outcome,) = options.build().evaluate([request_for(LIF, tmp_path)])
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.NOT_CONVERGED
    assert not outcome.measurements
    assert "no hop was seen in 20 ps at 900 K" in outcome.failure.message
    assert "how much longer cannot be told" in outcome.failure.message


@pytest.mark.parametrize(("hops", "needed"), [(0.3, None), (4.0, "about 12 ps are needed")])
def test_a_length_is_told_from_hops_alone(hops: float, needed: str | None) -> None:
    slope = np.random.default_rng(0).normal(1e-6, 1e-7, 500)
    reason = why_too_short(Diffusion(1400.0, 2.5, slope, 1.0, 9.0, hops, 2.8))
    assert reason is not None
    assert "2.5 ps at 1400 K" in reason
    assert ("ps are needed" in reason) == (needed is not None)
    assert needed is None or needed in reason


@pytest.mark.parametrize(
    ("material", "kind", "words"),
    [
        (Structure(Lattice.cubic(4), ["Na", "Cl"], [[0] * 3, [0.5] * 3]), "unsupported_material", "no Li"),
        (Structure(Lattice.cubic(3.5), ["Li"], [[0] * 3]), "unsupported_material", "nothing but"),
        (
            Structure(Lattice.cubic(4), [{"Li": 0.5}, "F"], [[0] * 3, [0.5] * 3]),
            "unsupported_material",
            "order",
        ),
        (
            Structure(Lattice.cubic(1.5), ["Li", "F"], [[0] * 3, [0.5] * 3]),
            "unsupported_material",
            "most_atoms",
        ),
        (Structure(Lattice.cubic(5), ["Li", "Po"], [[0] * 3, [0.5] * 3]), "unsupported_element", "Po"),
        (Composition("LiF"), "unsupported_material", "only a crystal"),
    ],
)
def test_what_cannot_be_simulated_is_rejected_by_name(material: Any, kind: str, words: str) -> None:
    outcome = answered(material)
    assert outcome.status is Status.REJECTED
    assert outcome.failure is not None
    assert outcome.failure.kind == kind
    assert words in outcome.failure.message


def test_hydrogen_gets_short_steps_and_seeds_follow_the_candidate() -> None:
    oracle = MolecularDynamicsSettings().build()
    hydride = Structure(Lattice.cubic(4.08), ["Li", "H"], [[0] * 3, [0.5] * 3])
    plans = [oracle.plan(request_for(s), simulation_cell(s, "Li", 8, 200), 600) for s in (hydride, LIF, LIF)]
    assert [plan.timestep for plan in plans] == [0.5, 2.0, 2.0]
    assert plans[0].seed != plans[1].seed == plans[2].seed
    assert plans[0].interval == plans[1].interval == INTERVAL


@pytest.mark.parametrize(
    "options",
    [
        {"temperatures": [300, 400]},
        {"temperatures": [300, 400, 400]},
        {"mobile_ion": "Xx"},
        {"picoseconds": 0},
    ],
)
def test_settings_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MolecularDynamicsSettings.model_validate(options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"picoseconds": 0.4}, "picoseconds: 2 ps are the least that can be looked at, not 0.4"),
        ({"temperatures": [900, 1000]}, "Value error, 2 given; at least 3 tell an activation energy"),
    ],
)
def test_settings_of_no_use_are_refused_in_plain_words(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        MolecularDynamicsSettings.model_validate(options)
