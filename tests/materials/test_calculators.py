"""Any ASE calculator by import path: what names it, what it gives, and every way it can fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.emt import EMT
from pymatgen.core import Lattice, Structure

from materials.calculators import (
    CalculatorFaultError,
    ImportedCalculator,
    UnsupportedElementError,
    imported_calculator,
)
from materials.evaluation import FailureKind
from materials.potential import to_atoms
from materials.relaxation import relax
from oracles.one_by_one import FailedError, RejectedError, without_potential

COPPER = Structure(Lattice.cubic(3.7), ["Cu"] * 4, [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])

FAULTY = """
import subprocess
import numpy as np
from ase.calculators.calculator import CalculationFailed, Calculator, SCFError, all_changes

class Faulty(Calculator):
    implemented_properties = ["energy", "forces", "stress"]

    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        n = len(atoms)
        self.results = {"energy": -1.0 * n, "forces": np.zeros((n, 3)), "stress": np.zeros(6)}
        if self.fault == "no forces":
            del self.results["forces"]
        elif self.fault == "short forces":
            self.results["forces"] = np.zeros((n + 1, 3))
        elif self.fault == "words":
            self.results["energy"] = "low"
        elif self.fault == "nan":
            self.results["stress"] = np.full(6, np.nan)
        elif self.fault == "raise":
            raise KeyError("a bug")
        elif self.fault == "program":
            raise FileNotFoundError("no such file: pw.x")
        elif self.fault == "server":
            raise ConnectionRefusedError(111, "the licence server does not answer")
        elif self.fault == "not a program":
            raise subprocess.CalledProcessError(127, "vasp_std")
        elif self.fault == "may not run":
            raise CalculationFailed('Calculator "vasp" failed with command "vasp" failed in /tmp with error code 126')
        elif self.fault == "killed":
            raise subprocess.CalledProcessError(-9, "vasp_std")
        elif self.fault == "crash":
            raise subprocess.CalledProcessError(-11, "vasp_std")
        elif self.fault == "electrons":
            raise SCFError("200 cycles")
        elif self.fault == "memory":
            raise RuntimeError("CUDA out of memory")
        elif self.fault == "square stress":
            self.results["stress"] = np.array([[1.0, 6, 5], [6, 2, 4], [5, 4, 3]])

class WithoutStress(Calculator):
    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}

def a_word():
    return "EMT"
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of the user's own, beside no distribution."""
    path = tmp_path / "mine_of_the_test.py"
    path.write_text(FAULTY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine_of_the_test", raising=False)
    return path


def faulty(fault: str) -> ImportedCalculator:
    return ImportedCalculator("mine_of_the_test:Faulty", {"fault": fault})


def test_the_numbers_are_those_of_the_calculator_itself() -> None:
    ours, theirs = to_atoms(COPPER), to_atoms(COPPER)
    source = imported_calculator("ase.calculators.emt:EMT", {})
    ours.calc, theirs.calc = source.calculator(), EMT()
    ours.rattle(0.1, seed=1)
    theirs.rattle(0.1, seed=1)
    assert ours.get_potential_energy() == theirs.get_potential_energy()
    np.testing.assert_array_equal(ours.get_forces(), theirs.get_forces())
    np.testing.assert_allclose(ours.get_stress(), theirs.get_stress(), atol=1e-12)
    relaxed = relax(COPPER, source, fmax=0.001)
    assert relaxed.structure.lattice.a == pytest.approx(3.59, abs=0.01)  # EMT's copper (Jacobsen et al. 1996)


def test_every_user_gets_a_calculator_of_its_own() -> None:
    source = imported_calculator("ase.calculators.emt:EMT", {})
    assert source is imported_calculator("ase.calculators.emt:EMT", {})
    assert source.calculator() is not source.calculator()


def test_the_version_names_class_distribution_and_arguments(mine: Path) -> None:
    import ase

    def version(sigma: float) -> str:
        return ImportedCalculator("ase.calculators.lj:LennardJones", {"sigma": sigma}).version

    assert version(2.5) == f'ase.calculators.lj:LennardJones (ase {ase.__version__}) {{"sigma":2.5}}'
    assert version(2.5) != version(2.6)
    before = faulty("none").version
    assert "mine_of_the_test:Faulty (sha256:" in before
    mine.write_text(FAULTY + "# changed\n")
    assert faulty("none").version != before


def test_a_file_among_the_arguments_counts_by_its_content(tmp_path: Path) -> None:
    first, second = tmp_path / "a.model", tmp_path / "b.model"
    first.write_bytes(b"weights")
    second.write_bytes(b"weights")
    versions = [
        ImportedCalculator("ase.calculators.emt:EMT", {"x": [str(p)]}).version for p in (first, second)
    ]
    assert versions[0] == versions[1]
    second.write_bytes(b"others")
    assert ImportedCalculator("ase.calculators.emt:EMT", {"x": [str(second)]}).version != versions[0]


@pytest.mark.parametrize(
    ("name", "arguments", "remedy"),
    [
        ("ase.calculators.emt:EMTT", {}, "holds no EMTT; look for a misspelling"),
        ("ase.calculators.emtt:EMT", {}, "no module ase.calculators.emtt; look for a misspelling"),
        ("no_such_package.calculators:all", {}, "pip install the distribution that holds no_such_package"),
        ("ase.atoms:Atoms", {}, "neither a class of ASE calculators nor a function"),
        ("ase.units:GPa", {}, "neither a class of ASE calculators nor a function"),
        ("mine_of_the_test:Faulty", {"fualt": "nan"}, "did you mean fault"),
        ("mine_of_the_test:Faulty", {}, "missing a required argument: 'fault'"),
        ("ase.calculators.emt:EMT", {"asap_cutof": True}, "'asap_cutof'; did you mean asap_cutoff"),
        ("ase.calculators.lj:LennardJones", {"depth": 1.0}, "'depth'; it knows .*epsilon"),
        ("ase.build:bulk", {"nmae": "Cu"}, "did you mean name"),
    ],
)
def test_what_cannot_be_a_calculator_is_said_before_it_is_used(
    mine: Path, name: str, arguments: dict[str, str], remedy: str
) -> None:
    with pytest.raises(ValueError, match=remedy):
        ImportedCalculator(name, arguments).check()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ase.calculators.emt:EMT", {"asap_cutoff": True, "label": "emt"}),
        ("ase.calculators.morse:MorsePotential", {"rho0": 6.0, "neighbor_list": None}),
        ("ase.calculators.eam:EAM", {"elements": ["Cu"]}),  # looked up, and listed nowhere
        ("ase.calculators.gulp:GULP", {"a_keyword_of_the_program": 1}),
        ("ase.calculators.vasp:Vasp", {"encut": 300}),
    ],
)
def test_arguments_that_may_mean_something_are_taken(name: str, arguments: dict[str, object]) -> None:
    ImportedCalculator(name, arguments).check()


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("no forces", FailureKind.BAD_RESULT, "forces not present"),
        ("short forces", FailureKind.BAD_RESULT, r"forces of Cu4 is of shape \(5, 3\)"),
        ("words", FailureKind.BAD_RESULT, "energy of Cu4 is str, no numbers"),
        ("nan", FailureKind.NOT_FINITE, "stress of Cu4 is not finite"),
        ("raise", FailureKind.ERROR, "KeyError: 'a bug'; run it on this material alone"),
        ("program", FailureKind.MISSING_PROGRAM, "pw.x; install the program"),
        ("server", FailureKind.MISSING_PROGRAM, "licence server does not answer; see that the machine"),
        ("not a program", FailureKind.MISSING_PROGRAM, "exit status 127.; install the program"),
        ("may not run", FailureKind.MISSING_PROGRAM, "error code 126; install the program"),
        ("killed", FailureKind.WORKER_LOST, "SIGKILL.*see that the machine"),
        ("crash", FailureKind.ERROR, "SIGSEGV.*run it on this material alone"),
        ("electrons", FailureKind.NOT_CONVERGED, "200 cycles; change `arguments`"),
    ],
)
def test_what_a_calculator_does_wrong_has_a_kind_and_a_remedy(
    mine: Path, fault: str, kind: FailureKind, said: str
) -> None:
    with pytest.raises(CalculatorFaultError, match=said) as failed:
        relax(COPPER, faulty(fault))
    assert failed.value.kind is kind
    transient = fault in ("program", "server", "not a program", "may not run", "killed")
    assert failed.value.mendable is transient
    assert isinstance(without_potential(failed.value), FailedError if transient else RejectedError)


def test_a_lack_of_memory_stays_one(mine: Path) -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        relax(COPPER, faulty("memory"))


def test_a_stress_may_come_as_a_square(mine: Path) -> None:
    atoms = to_atoms(COPPER)
    atoms.calc = faulty("square stress").calculator()
    np.testing.assert_array_equal(atoms.get_stress(), [1, 2, 3, 4, 5, 6])


def test_a_function_that_makes_no_calculator_is_named(mine: Path) -> None:
    with pytest.raises(CalculatorFaultError, match="made str, which is no ASE calculator"):
        ImportedCalculator("mine_of_the_test:a_word", {}).calculator()


def test_without_a_stress_only_atoms_are_relaxed(mine: Path) -> None:
    source = ImportedCalculator("mine_of_the_test:WithoutStress", {})
    with pytest.raises(CalculatorFaultError, match="add  cell: false"):
        relax(COPPER, source)
    assert relax(COPPER, source, cell=False).converged


@pytest.mark.parametrize(
    ("species", "unknown"), [(["Po"] * 4, ("Po",)), (["Cu", "Cu", "Xe", "Po"], ("Po", "Xe"))]
)
def test_elements_that_a_calculator_cannot_compute_are_named(
    species: list[str], unknown: tuple[str, ...]
) -> None:
    structure = Structure(COPPER.lattice, species, COPPER.frac_coords)
    with pytest.raises(UnsupportedElementError) as refused:
        relax(structure, imported_calculator("ase.calculators.emt:EMT", {}))
    assert refused.value.elements == unknown


def test_importing_stays_light() -> None:
    code = (
        "import materials.calculators, materials.checkpoints, sys; sys.exit('ase.calculators' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
