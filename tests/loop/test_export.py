"""Exports of a campaign: every format holds what was measured, and another campaign reads it again."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from ase.db import connect
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Element, Lattice, Structure
from typer.testing import CliRunner

from loop import campaign, export
from loop.database.store import Store
from loop.exporting.optimade import anonymous_formula, hill_formula, reduced_formula
from loop.prior import read_prior
from materials.base import Crystal
from materials.reading import read_materials
from materials.writing import cif_text

FILE = """
name: salts
seed: 1
space: {kind: crystal, elements: [Li, Na, K, F, Cl, Br], number_of_elements: [2, 2], number_of_atoms: [2, 8]}
objectives: [{property: band_gap, goal: maximize}]
generators: [{kind: files, path: pool.csv}]
oracles:
  - {kind: table, file: pool.csv, measures: [band_gap], fidelity: PBE, noise: 0.1}
  - {kind: table, file: barriers.csv, measures: [migration_barrier], fidelity: bond_valence}
surrogate: {kind: gp, descriptor: composition, prior: none}
acquisition: {kind: random}
executor: {kind: serial}
budget: {rounds: 2, batch: 3, pool: 6}
tracking: none
"""
SALTS = [(a, b) for a in ("Li", "Na", "K") for b in ("F", "Cl")]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished campaign on six salts."""
    tmp_path = tmp_path_factory.mktemp("salts")
    with (tmp_path / "pool.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "cif", "band_gap"])
        for number, (a, b) in enumerate(SALTS):
            salt = Structure.from_spacegroup(
                "Fm-3m", Lattice.cubic(5 + number / 10), [a, b], [[0] * 3, [0.5] * 3]
            )
            writer.writerow([a + b, cif_text(Crystal(salt.get_primitive_structure())), 5 + number / 7])
    rows = [f"{a}{b},{0.3 + number / 10}" for number, (a, b) in enumerate(SALTS)]
    (tmp_path / "barriers.csv").write_text("\n".join(["formula,migration_barrier", *rows]) + "\n")
    (tmp_path / "salts.yaml").write_text(FILE)
    found = CliRunner().invoke(campaign.app, [str(tmp_path / "salts.yaml"), "--dir", str(tmp_path / "run")])
    assert found.exit_code == 0, found.output
    return tmp_path / "run"


def exported(folder: Path, *formats: str) -> Path:
    options = [part for name in formats for part in ("--format", name)]
    found = CliRunner().invoke(export.app, [str(folder), *options])
    assert found.exit_code == 0, found.output
    assert "6 materials" in found.output
    return folder / "export"


def measured(folder: Path) -> dict[tuple[str, str], tuple[float, float | None, str]]:
    """Value, std and fidelity by formula and property, from the database itself."""
    with Store.view(folder / "campaign.db") as view:
        archive = view.archive((), (), ["table", "table"])
    return {
        (record.material.formula, m.property): (m.value, m.std, m.fidelity)
        for record in archive.values()
        for m in record.measurements
    }


@pytest.mark.parametrize("name", ["measured.csv", "measured.extxyz"])
def test_another_campaign_reads_it_as_prior_knowledge(run_folder: Path, name: str) -> None:
    folder = exported(run_folder, "csv", "extxyz")
    prior = read_prior([folder / name])
    materials = {candidate.id: candidate for candidate in prior.candidates}
    again = {
        (materials[i].formula, m.property): (m.value, m.std, m.fidelity)
        for i, found in prior.measurements.items()
        for m in found
    }
    assert again == measured(run_folder)
    assert all("salts:" in candidate.origin.note for candidate in prior.candidates)


def test_structures_come_back_as_they_were(run_folder: Path) -> None:
    entries = read_materials(exported(run_folder, "csv") / "measured.csv")
    with Store.view(run_folder / "campaign.db") as view:
        known = {f"salts:{c.id}": c.material for c in view.candidates()}
    for entry in entries:
        before, after = known[entry.name], entry.material
        assert isinstance(before, Crystal)
        assert isinstance(after, Crystal)
        assert after.structure.lattice.volume == pytest.approx(before.structure.lattice.volume, rel=1e-6)


def test_an_ase_database_answers_questions(run_folder: Path) -> None:
    with connect(exported(run_folder, "ase") / "measured.db") as database:
        best = max(database.select("band_gap>5"), key=lambda row: row.band_gap)
        assert best.campaign == "salts"
        every = {m["property"] for m in best.data["measurements"]}
    assert every == {"band_gap", "migration_barrier"}


def test_optimade_entries_keep_the_specification(run_folder: Path) -> None:
    document = json.loads((exported(run_folder, "optimade") / "measured.optimade.json").read_text())
    assert document["meta"]["api_version"].startswith("1.")
    for entry in document["data"]:
        check_entry(entry)


def check_entry(entry: dict[str, Any]) -> None:
    """The rules of specification 1.2.0, chapter Structures Entries."""
    told = entry["attributes"]
    assert entry["type"] == "structures"
    assert told["elements"] == sorted(told["elements"])
    assert told["nelements"] == len(told["elements"]) == len(told["elements_ratios"])
    assert sum(told["elements_ratios"]) == pytest.approx(1)
    assert re.fullmatch(r"([A-Z][a-z]?([2-9]|[1-9]\d+)?)+", told["chemical_formula_reduced"])
    assert re.fullmatch(r"([A-Z][a-z]?([2-9]|[1-9]\d+)?)+", told["chemical_formula_anonymous"])
    assert told["chemical_formula_hill"] == told["chemical_formula_reduced"]  # salts without carbon
    assert len(told["lattice_vectors"]) == 3
    assert len(told["cartesian_site_positions"]) == told["nsites"] == len(told["species_at_sites"])
    assert {s["name"] for s in told["species"]} == set(told["species_at_sites"])
    assert all(sum(s["concentration"]) == pytest.approx(1) for s in told["species"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", told["last_modified"])
    assert sum(told["dimension_types"]) == told["nperiodic_dimensions"]
    standard = {name for name in told if not name.startswith("_")}
    assert standard >= {"structure_features", "chemical_formula_descriptive"}
    assert told["_matloop_band_gap"] > 0


AMOUNTS = st.dictionaries(st.sampled_from(["Li", "Na", "O", "P", "S", "Cl"]), st.integers(1, 40), min_size=1)


@given(AMOUNTS, st.integers(1, 7))
def test_formulas_do_not_depend_on_the_size_of_the_cell(amounts: dict[str, int], times: int) -> None:
    one = {e: float(n) for e, n in amounts.items()}
    more = {e: float(n * times) for e, n in amounts.items()}
    assert reduced_formula(one) == reduced_formula(more)
    assert anonymous_formula(one) == anonymous_formula(more)
    counts = [int(n or 1) for n in re.findall(r"[A-Z](\d*)", anonymous_formula(one))]
    assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize(
    ("amounts", "reduced", "anonymous", "hill"),
    [
        ({"Na": 4, "Cl": 4}, "ClNa", "AB", "ClNa"),
        ({"Ca": 2, "C": 2, "O": 6}, "CCaO3", "A3BC", "CCaO3"),
        ({"H": 4, "O": 4}, "HO", "AB", "H2O2"),
        ({"N": 1, "H": 5, "C": 1, "I": 1}, "CH5IN", "A5BCD", "CH5IN"),
        ({"Br": 2, "C": 2, "H": 6}, "BrCH3", "A3BC", "CH3Br"),
        ({"Li": 5.5, "P": 1, "S": 4.5, "Cl": 1.5}, "Cl3Li11P2S9", "A11B9C3D2", None),
    ],
)
def test_formulas_stand_in_the_order_of_the_specification(
    amounts: dict[str, float], reduced: str, anonymous: str, hill: str | None
) -> None:
    assert (reduced_formula(amounts), anonymous_formula(amounts), hill_formula(amounts)) == (
        reduced,
        anonymous,
        hill,
    )


def test_letters_of_anonymous_formulas_go_on_after_z() -> None:
    elements = [Element.from_Z(z).symbol for z in range(1, 55)]
    counts = dict(zip(elements, range(54, 0, -1), strict=True))
    formula = anonymous_formula({e: float(n) for e, n in counts.items()})
    assert formula.startswith("A54B53")
    assert "Z29Aa28Ba27" in formula
    assert formula.endswith("Za3Ab2Bb")


def test_no_run_folder_is_told(tmp_path: Path) -> None:
    found = CliRunner().invoke(export.app, [str(tmp_path)])
    assert found.exit_code == 2
    assert "is no run folder" in found.output
