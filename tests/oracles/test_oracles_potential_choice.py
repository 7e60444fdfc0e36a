"""The keys `potential`, `sha256` and `arguments`: what they name, and that no two sources meet on one hull."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from loop.relaxed_line import relaxed_hull
from materials.base import Candidate, Crystal, Origin
from materials.checkpoints import find_checkpoint
from materials.evaluation import FailureKind, Outcome, Request, Status
from materials.potential import Potential
from oracles.base import OracleSettings
from oracles.committee import CommitteeSettings
from oracles.conduction.md import MolecularDynamicsSettings
from oracles.conduction.neb import NebSettings
from oracles.hull import HullSettings
from oracles.insertion import InsertionSettings
from oracles.learned import LearnedSettings
from oracles.relax import RelaxSettings

EMT_PATH = "ase.calculators.emt:EMT"
NICKEL = Structure(Lattice.cubic(3.6), ["Ni"] * 4, [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def relaxed(settings: RelaxSettings, structure: Structure) -> Outcome:
    crystal = Crystal(structure)
    (outcome,) = settings.build().evaluate(
        [Request("key", Candidate(crystal, Origin("test")), crystal, "relax")]
    )
    return outcome


def test_a_calculator_relaxes_and_signs_its_energies() -> None:
    settings = RelaxSettings(potential=EMT_PATH)
    outcome = relaxed(settings, NICKEL)
    assert outcome.status is Status.DONE
    assert outcome.provenance["version"] == settings.model_version() == settings.energy_source
    assert outcome.provenance["potential"] == EMT_PATH
    assert Outcome.from_dict(outcome.to_dict()) == outcome
    assert relaxed(settings, NICKEL).measurements == outcome.measurements


def test_an_element_unknown_to_a_calculator_is_unsupported() -> None:
    outcome = relaxed(
        RelaxSettings(potential=EMT_PATH), Structure(Lattice.cubic(4.2), ["Mg", "Ni"], [[0] * 3, [0.5] * 3])
    )
    assert outcome.status is Status.REJECTED
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.UNSUPPORTED_ELEMENT
    assert "does not know Mg" in outcome.failure.message


def test_a_missing_program_may_be_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "needs_a_program.py").write_text(
        "def make():\n    raise FileNotFoundError('no such file: vasp_std')\n"
    )
    outcome = relaxed(RelaxSettings(potential="needs_a_program:make"), NICKEL)
    monkeypatch.delitem(sys.modules, "needs_a_program")
    assert outcome.status is Status.FAILED
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.MISSING_PROGRAM
    assert "vasp_std; install the program" in outcome.failure.message


def test_arguments_are_part_of_the_meaning_and_reach_the_calculator() -> None:
    def settings(epsilon: float) -> RelaxSettings:
        path = "ase.calculators.lj:LennardJones"
        return RelaxSettings(
            potential=path, arguments={"epsilon": epsilon, "sigma": 2.2, "rc": 6.0}, fmax=0.001
        )

    weak, strong = settings(0.1), settings(0.2)
    assert weak.model_version() != strong.model_version()
    energies = [relaxed(s, NICKEL).measurements[0].value for s in (weak, strong)]
    assert energies[1] == pytest.approx(2 * energies[0], rel=1e-3)


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"potential": "mace.calculators:mace_mp"}, "pip install the distribution that holds mace"),
        ({"potential": "ase.calculators.emt:ETM"}, "holds no ETM"),
        ({"potential": "ase.atoms:Atoms"}, "neither a class of ASE calculators"),
        ({"potential": "ase.build:bulk", "arguments": {"nmae": 1}}, "change `arguments`"),
        ({"potential": EMT_PATH, "arguments": {"asap_cutof": True}}, "did you mean asap_cutoff"),
        ({"potential": EMT_PATH, "sha256": "0" * 64}, "belongs to a checkpoint file"),
        ({"arguments": {"device": "cpu"}}, "SevenNet takes none"),
        ({"potential": "7net-9"}, "neither a name of SevenNet"),
        ({"potential": "mine.pth:PBE"}, "nor a checkpoint file"),
        ({"potential": "7net-mf-0:HSE"}, "with one of PBE, R2SCAN"),
        ({"potential": "7net-0:PBE"}, "it has no modals"),
    ],
)
def test_what_cannot_be_loaded_is_refused_when_the_file_is_read(options: dict[str, Any], remedy: str) -> None:
    with pytest.raises(ValidationError, match=remedy):
        RelaxSettings.model_validate(options)


def test_files_are_looked_up_beside_the_campaign_file(tmp_path: Path) -> None:
    shipped = find_checkpoint("7net-mf-0")
    shutil.copy(shipped.path, tmp_path / "mine.pth")
    settings = RelaxSettings.model_validate(
        {"potential": "mine.pth:PBE", "sha256": shipped.sha256}, context={"folder": tmp_path}
    )
    assert settings.potential == f"{tmp_path / 'mine.pth'}:PBE"
    loaded = settings.load()
    assert isinstance(loaded, Potential)
    assert loaded.modal == "PBE"
    (tmp_path / "weights.model").write_bytes(b"weights")
    named = RelaxSettings.model_validate(
        {"potential": EMT_PATH, "arguments": {"asap_cutoff": "weights.model"}}, context={"folder": tmp_path}
    )
    assert named.arguments["asap_cutoff"] == str(tmp_path / "weights.model")
    assert "sha256:" in named.model_version()


@pytest.mark.parametrize("potential", [EMT_PATH, "7net-mf-0", "7net-l3i5"])
def test_energies_of_another_source_meet_no_hull(potential: str) -> None:
    line = [RelaxSettings(potential=potential), HullSettings()]
    refused = line[1].misfit(line[:1])
    assert refused is not None
    assert line[0].model_version() in refused
    assert relaxed_hull(line) is None


ON_CPU = [{"potential": name, "device": "cpu"} for name in ("7net-0", "7net-l3i5")]
COMPUTING = [RelaxSettings, NebSettings, MolecularDynamicsSettings, InsertionSettings]


@pytest.mark.parametrize("there_is_one", [True, False])
def test_whoever_loads_a_model_onto_the_gpu_reserves_it(
    there_is_one: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every worker of the machine loads one, and they take its memory from one another."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: there_is_one)
    blocks: list[OracleSettings] = [
        *(kind() for kind in COMPUTING),
        RelaxSettings(keep_symmetry=True),
        CommitteeSettings(),
        CommitteeSettings.model_validate({"potentials": [ON_CPU[0], "7net-l3i5"]}),
        LearnedSettings(measures=("band_gap",)),
    ]
    assert [block.resources.gpus for block in blocks] == [int(there_is_one)] * len(blocks)
    elsewhere: list[OracleSettings] = [
        *(kind(device="cpu") for kind in COMPUTING),
        *(kind(potential=EMT_PATH) for kind in COMPUTING),
        CommitteeSettings.model_validate({"potentials": ON_CPU}),
    ]
    assert not any(block.resources.gpus for block in elsewhere)


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "it is empty"), (b"<html>not found", "no file that torch wrote")]
)
def test_a_file_that_is_no_checkpoint_is_refused_when_the_campaign_is_read(
    content: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.pth").write_bytes(content)
    block = {"potential": "mine.pth", "sha256": hashlib.sha256(content).hexdigest()}
    with pytest.raises(ValidationError, match=f"mine.pth: not a SevenNet checkpoint, {words}"):
        RelaxSettings.model_validate(block, context={"folder": tmp_path})
