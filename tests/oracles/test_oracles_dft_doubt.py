"""How DFT judges a material that was doubted: by forces, and by its energy at other volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ase import Atoms
from ase.build import bulk

from loop.line import build_line, following
from oracles.committee import CommitteeSettings
from oracles.dft.oracle import DftSettings
from oracles.hull import HullSettings
from oracles.relax import RelaxSettings
from tests.oracles.dft_materials import (
    COARSE,
    EMT,
    SILICON,
    ask,
    needs_espresso,
    silicon,
    structure_of,
    values,
)

DOUBT = "potentials disagree"


def judged(atoms: Atoms, **options: Any) -> str | None:
    pytest.importorskip("gpaw")
    return ask(structure_of(atoms), doubt=DOUBT, band_gap=False, **options).doubt


def test_a_geometry_without_forces_is_not_believed_for_that() -> None:
    """In rock salt no atom feels a force, whatever the lattice constant: SevenNet-0 holds HeNa for stable."""
    pytest.importorskip("gpaw")
    outcome = ask(
        structure_of(bulk("NaHe", "rocksalt", a=4.6)), doubt=DOUBT, band_gap=False, arguments=COARSE
    )
    assert values(outcome)["max_force"] < 0.01
    assert outcome.doubt
    assert "meV/atom lower at 1.08 of the volume" in outcome.doubt


def test_a_force_keeps_a_doubt() -> None:
    pytest.importorskip("gpaw")
    moved = ask(silicon(0.2), doubt=DOUBT, arguments=COARSE, band_gap=False)
    assert values(moved)["max_force"] > 1.0
    assert moved.doubt
    assert "eV/angstrom" in moved.doubt


@needs_espresso
def test_silicon_is_believed_where_it_is_relaxed_and_not_where_it_is_pressed(tmp_path: Path) -> None:
    def doubt(constant: float, folder: Path) -> str | None:
        atoms = structure_of(bulk("Si", a=constant))
        settings: dict[str, Any] = {"calculator": "espresso", "arguments": SILICON, "band_gap": False}
        return ask(atoms, folder, doubt=DOUBT, **settings).doubt

    assert doubt(5.469, tmp_path / "relaxed") == ""
    assert doubt(5.1, tmp_path / "pressed")
    assert (tmp_path / "relaxed" / "ground_state" / "volume_1.08" / "espresso.pwo").is_file()
    assert not list(tmp_path.rglob("save"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("formula", "prototype", "constant"),
    [("NaCl", "rocksalt", 5.69), ("MgO", "rocksalt", 4.25), ("GaAs", "zincblende", 5.75)],
)
def test_known_crystals_are_believed_at_the_coarsest_protocol(
    formula: str, prototype: str, constant: float
) -> None:
    assert judged(bulk(formula, prototype, a=constant)) == ""


def test_what_nobody_doubted_costs_one_calculation_and_is_not_judged(tmp_path: Path) -> None:
    outcome = ask(structure_of(bulk("Cu", a=4.2)), tmp_path, **EMT)
    assert outcome.doubt is None
    assert not list(tmp_path.rglob("volume_*"))
    assert ask(structure_of(bulk("Cu", a=4.2)), doubt=DOUBT, **EMT).doubt


def test_a_relaxation_by_dft_judges_no_doubt() -> None:
    line = build_line([RelaxSettings(), CommitteeSettings(), HullSettings(), DftSettings()])
    assert following(line, {0, 1}, DOUBT) is line[3]
    relaxing = build_line([RelaxSettings(), CommitteeSettings(), HullSettings(), DftSettings(relax=True)])
    assert following(relaxing, {0, 1}, DOUBT) is None
    outcome = ask(structure_of(bulk("Cu", a=3.7)), doubt=DOUBT, relax=True, **EMT)
    assert outcome.doubt is None
