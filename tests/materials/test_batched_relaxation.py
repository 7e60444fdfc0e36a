"""Many relaxations at once give what single ones give; run where torch-sim is installed (Python 3.12)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

pytest.importorskip("torch_sim", reason="torch-sim is not installed (it needs Python 3.12)")

import torch
from sevenn.torchsim import Float64Wrapper

from materials.batched_relaxation import BatchedRelaxation, End
from materials.calculators import UnsupportedElementError
from materials.memory import is_out_of_memory
from materials.potential import Potential, load_potential
from materials.relaxation import NonFiniteEnergy, Relaxation, RelaxationExploded, relax

SAME = 1e-3  # eV/atom
FMAX = 0.05


def rock_salt(cation: str, anion: str, length: float) -> Structure:
    cubic = Lattice.cubic(length)
    return Structure.from_spacegroup("Fm-3m", cubic, [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


NACL, MGO = rock_salt("Na", "Cl", 5.75), rock_salt("Mg", "O", 4.35)
STARTS = [
    NACL.copy().perturb(0.1, seed=1),
    MGO.get_primitive_structure().perturb(0.1, seed=2),
    Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.6), ["Si"], [[0, 0, 0]]).perturb(0.05, seed=3),
    Structure.from_spacegroup("Pm-3m", Lattice.cubic(3.0), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
]


@pytest.fixture(scope="module")
def potential() -> Potential:
    return load_potential(device="cpu")


@pytest.fixture(scope="module")
def alone(potential: Potential) -> list[Relaxation]:
    return [relax(start, potential, fmax=FMAX) for start in STARTS]


class Strange:
    """A potential whose batched model does something else first."""

    def __init__(self, potential: Potential, first: Any) -> None:
        self._potential, self._first = potential, first

    def __getattr__(self, name: str) -> Any:
        return getattr(self._potential, name)

    def batched(self) -> Any:
        first = self._first

        class Model(Float64Wrapper):  # type: ignore[misc]
            def forward(self, state: Any, **options: Any) -> Any:
                return first(state, super().forward(state, **options))

        return Model(self._potential.batched())


def ends_of(relaxation: BatchedRelaxation, structures: list[Structure]) -> list[End]:
    ends = dict(relaxation.relax(structures))
    return [ends[place] for place in range(len(structures))]


def same(ends: list[End], others: list[Relaxation]) -> bool:
    return all(
        isinstance(end, Relaxation) and abs(end.energy_per_atom - other.energy_per_atom) < SAME
        for end, other in zip(ends, others, strict=True)
    )


@settings(max_examples=3, deadline=None)
@given(pairs=st.floats(50, 5000))
def test_a_batch_gives_what_single_relaxations_give_whatever_it_holds(
    potential: Potential, alone: list[Relaxation], pairs: float
) -> None:
    ends = ends_of(BatchedRelaxation(potential, fmax=FMAX, pairs=pairs), STARTS)
    assert same(ends, alone)
    for start, end, single in zip(STARTS, ends, alone, strict=True):
        assert isinstance(end, Relaxation)
        assert (end.converged, end.optimizer) == (True, single.optimizer)
        assert abs(end.steps - single.steps) <= 1
        assert end.volume_change == pytest.approx(single.volume_change, abs=1e-3)
        assert end.start_energy_per_atom == pytest.approx(single.start_energy_per_atom, abs=1e-5)
        assert end.structure.species == start.species
        assert end.structure.volume / start.volume - 1 == pytest.approx(end.volume_change)


def test_a_held_cell_stays(potential: Potential) -> None:
    [end] = ends_of(BatchedRelaxation(potential, fmax=FMAX, cell=False), STARTS[:1])
    single = relax(STARTS[0], potential, fmax=FMAX, cell=False)
    assert same([end], [single])
    assert isinstance(end, Relaxation)
    assert end.structure.lattice == STARTS[0].lattice


def test_under_pressure_the_enthalpy_is_minimised(potential: Potential) -> None:
    options = {"fmax": FMAX, "pressure": 30.0}
    [end] = ends_of(BatchedRelaxation(potential, **options), STARTS[1:2])
    single = relax(STARTS[1], potential, **options)
    assert same([end], [single])
    assert isinstance(end, Relaxation)
    assert end.enthalpy_per_atom == pytest.approx(single.enthalpy_per_atom, abs=SAME)
    assert end.start_energy_per_atom == pytest.approx(single.start_energy_per_atom, abs=1e-5)


def test_when_the_steps_run_out_the_last_state_comes_back_unconverged(potential: Potential) -> None:
    [end] = ends_of(BatchedRelaxation(potential, fmax=1e-4, steps=2), STARTS[:1])
    single = relax(STARTS[0], potential, fmax=1e-4, steps=2)
    assert isinstance(end, Relaxation)
    assert (end.converged, end.steps) == (False, 2)
    assert end.energy_per_atom == pytest.approx(single.energy_per_atom, abs=1e-5)


def test_what_cannot_be_relaxed_ends_as_it_does_alone_and_disturbs_nobody(
    potential: Potential, alone: list[Relaxation]
) -> None:
    overlapping = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.05, 0, 0]])
    flat = Structure(Lattice.orthorhombic(3, 3, 0.1), ["Na"], [[0, 0, 0]])
    unknown = rock_salt("Po", "O", 5)
    ends = ends_of(BatchedRelaxation(potential, fmax=FMAX), [overlapping, flat, unknown, *STARTS])
    kinds = [RelaxationExploded, NonFiniteEnergy, UnsupportedElementError]
    for structure, kind in zip((overlapping, flat, unknown), kinds, strict=True):
        with pytest.raises(kind):
            relax(structure, potential, fmax=FMAX)
    assert [type(end) for end in ends[:3]] == kinds
    assert same(ends[3:], alone)


def test_not_a_number_ends_one_and_not_the_others(potential: Potential, alone: list[Relaxation]) -> None:
    def no_number(state: Any, output: Any) -> Any:
        output["energy"][state.n_atoms_per_system == len(MGO.get_primitive_structure())] = torch.nan
        return output

    strange = Strange(potential, no_number)
    ends = ends_of(BatchedRelaxation(strange, fmax=FMAX), STARTS)  # type: ignore[arg-type]
    wrong = [place for place, start in enumerate(STARTS) if len(start) == 2]
    assert all(isinstance(ends[place], NonFiniteEnergy) for place in wrong)
    right = [place for place in range(len(STARTS)) if place not in wrong]
    assert same([ends[place] for place in right], [alone[place] for place in right])


def test_the_second_optimiser_takes_over_where_the_first_goes_astray(
    potential: Potential, alone: list[Relaxation]
) -> None:
    calls = 0

    def climbs(state: Any, output: Any) -> Any:
        nonlocal calls
        calls += 1
        output["energy"] += 100.0 * (calls == 4)
        return output

    strange = Strange(potential, climbs)
    [end] = ends_of(BatchedRelaxation(strange, fmax=FMAX), STARTS[:1])  # type: ignore[arg-type]
    assert same([end], alone[:1])
    assert isinstance(end, Relaxation)
    assert end.optimizer == "FIRE"
    assert end.steps > alone[0].steps


def test_a_batch_is_halved_until_it_fits_and_one_too_large_alone_fails(
    potential: Potential, alone: list[Relaxation]
) -> None:
    def cramped(state: Any, output: Any) -> Any:
        if state.n_atoms > len(STARTS[0]):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return output

    relaxation = BatchedRelaxation(Strange(potential, cramped), fmax=FMAX)  # type: ignore[arg-type]
    before = relaxation.pairs
    ends = ends_of(relaxation, [*STARTS, NACL * (2, 1, 1)])
    assert same(ends[:-1], alone)
    assert isinstance(ends[-1], torch.OutOfMemoryError)
    assert relaxation.pairs < before / 2


def test_memory_that_runs_out_beside_others_condemns_nobody(
    potential: Potential, alone: list[Relaxation]
) -> None:
    """The second start of two that together are too much: it fits alone, and is tried so."""
    sizes: list[int] = []

    def cramped(state: Any, output: Any) -> Any:
        sizes.append(state.n_atoms)
        if state.n_atoms == 2 and sizes.count(2) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return output

    relaxation = BatchedRelaxation(Strange(potential, cramped), fmax=FMAX)  # type: ignore[arg-type]
    relaxation.pairs = 1.01 * relaxation.pairs_of(STARTS[0])
    assert same(ends_of(relaxation, STARTS[:2]), alone[:2])
    assert sizes[0] == len(NACL)
    assert sizes.count(2) > 1


def test_one_too_large_for_the_memory_alone_ends_no_others(
    potential: Potential, alone: list[Relaxation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a fault of the batch sends all to be relaxed one by one."""

    def broken(state: Any, output: Any) -> Any:
        raise RuntimeError("a singular matrix")

    def cramped(structure: Structure, *args: Any, **options: Any) -> Relaxation:
        if len(structure) > len(STARTS[0]):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return relax(structure, *args, **options)

    monkeypatch.setattr("materials.batched_relaxation.relax", cramped)
    relaxation = BatchedRelaxation(Strange(potential, broken), fmax=FMAX)  # type: ignore[arg-type]
    ends = ends_of(relaxation, [NACL * (2, 1, 1), *STARTS[:2]])
    assert isinstance(ends[0], torch.OutOfMemoryError)
    assert same(ends[1:], alone[:2])


REAL = """
import resource
from materials.batched_relaxation import BatchedRelaxation
from materials.potential import load_potential
from materials.relaxation import Relaxation
from pymatgen.core import Lattice, Structure

salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.75), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
relaxation = BatchedRelaxation(load_potential(device="cpu"), fmax=0.05, pairs=40_000)
list(relaxation.relax([salt]))
size = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (size * 1024 + 100 * 2**20,) * 2)
ends = list(relaxation.relax([salt.copy().perturb(0.1, seed=n) for n in range(64)]))
print(sum(isinstance(end, Relaxation) for _, end in ends), relaxation.pairs < 40_000)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space as Linux does")
def test_a_real_lack_of_memory_halves_the_batch() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", REAL]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "64 True"


def test_what_counts_as_a_lack_of_memory() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"))
    assert not is_out_of_memory(RuntimeError("a singular matrix"))
    assert not is_out_of_memory(OSError(28, "No space left on device"))
