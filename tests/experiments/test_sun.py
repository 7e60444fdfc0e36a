"""The S.U.N. benchmark on a few real crystals, relaxed with the real potential and judged by the hull that ships."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pymatgen.core as pmg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher
from typer.testing import CliRunner

from experiments.benchmarks.sun import app
from experiments.benchmarks.sun_measures import displacement, key_of, measure
from experiments.benchmarks.sun_report import METASTABLE, Run, real_compound, sun
from experiments.benchmarks.sun_sameness import KnownCrystals, Sameness, anonymous_formula, sameness
from materials.base import Crystal
from materials.novelty import why_invalid
from materials.reading import read_materials
from materials.reference_table import structure_text
from materials.writing import write_cif

ATOM = [[0, 0, 0]]


def rock_salt(symbols: tuple[str, str], length: float) -> pmg.Structure:
    places = [[0, 0, 0], [0.5, 0.5, 0.5]]
    return pmg.Structure.from_spacegroup(
        225, pmg.Lattice.cubic(length), symbols, places
    ).get_primitive_structure()


def caesium_chloride(symbols: tuple[str, str], length: float) -> pmg.Structure:
    return pmg.Structure(pmg.Lattice.cubic(length), symbols, [[0, 0, 0], [0.5, 0.5, 0.5]])


def overlapping() -> pmg.Structure:
    return pmg.Structure(pmg.Lattice.cubic(4), ["Mg", "O"], [[0, 0, 0], [0.1, 0, 0]])


def moved(structure: pmg.Structure, by: list[float]) -> pmg.Structure:
    copy = structure.copy()
    copy.translate_sites([0], by, frac_coords=False)
    return copy


DRAWN = {
    "a_magnesia": moved(rock_salt(("Mg", "O"), 4.3), [0.1, 0.05, 0]),
    "b_magnesia_again": rock_salt(("Mg", "O"), 4.1),
    "c_overlapping": overlapping(),
    "d_unjudged": caesium_chloride(("La", "Pm"), 4.2),
    "e_copper_zinc": caesium_chloride(("Cu", "Zn"), 3.05),
    "f_iron": pmg.Structure(pmg.Lattice.cubic(2.45), ["Fe"], ATOM),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the drawn structures, one broken, a reference that knows magnesia, and a finished run."""
    base = tmp_path_factory.mktemp("sun")
    (base / "drawn").mkdir()
    for name, structure in DRAWN.items():
        write_cif(base / "drawn" / f"{name}.cif", Crystal(structure))
    (base / "drawn" / "g_broken.cif").write_text("data_nothing\n_cell_length_a 3\n")
    write_reference(base / "reference.csv", {"mine-1": rock_salt(("Mg", "O"), 4.21)})
    result = run(base)
    assert result.exit_code == 0, result.output
    return base


def write_reference(path: Path, structures: dict[str, pmg.Structure]) -> None:
    with path.open("w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["material_id", "formula", "cell", "sites"])
        for name, structure in structures.items():
            table.writerow([name, structure.composition.reduced_formula, *structure_text(structure)])


def run(base: Path) -> Any:
    arguments = ["run", base / "drawn", "--out", base / "run", "--reference", base / "reference.csv"]
    return CliRunner().invoke(app, [*map(str, arguments), "--workers", "1"])


def records(folder: Path) -> dict[str, dict[str, Any]]:
    lines = (folder / "run" / "judged.jsonl").read_text().splitlines()
    return {record["name"]: record for record in map(json.loads, lines)}


def test_a_known_crystal_is_stable_and_not_new(folder: Path) -> None:
    magnesia = records(folder)["a_magnesia"]
    assert magnesia["converged"]
    assert magnesia["energy_above_hull"] == pytest.approx(0, abs=2e-3)
    assert magnesia["rmsd"] == pytest.approx(np.hypot(0.1, 0.05) / 2, abs=5e-3)
    assert magnesia["volume_change"] < -0.01
    assert magnesia["charge_balanced"]
    for stage in ("generated", "relaxed"):
        assert magnesia[stage]["known_as"] is not None
        assert magnesia[stage]["repeats"] is None


def test_the_second_of_a_pair_repeats_the_first(folder: Path) -> None:
    again = records(folder)["b_magnesia_again"]
    assert again["generated"]["repeats"] == again["relaxed"]["repeats"] == 0


def test_overlapping_atoms_are_invalid_and_never_relaxed(folder: Path) -> None:
    record = records(folder)["c_overlapping"]
    assert record["invalid"] == "atoms too close"
    assert record["steps"] is None
    assert record["seconds"] == 0
    assert record["generated"] is record["relaxed"] is None


def test_where_the_hull_abstains_nothing_is_stable_but_it_counts_as_drawn(folder: Path) -> None:
    record = records(folder)["d_unjudged"]
    assert record["stopped_by"] == "hull: unknown_reference"
    assert record["converged"]
    assert record["energy_above_hull"] is None
    assert not sun(METASTABLE)(record)
    text = report(folder)
    assert "| structures drawn | 7 |" in text
    assert "1 hull: unknown_reference" in text


def test_unreadable_files_count_as_drawn(folder: Path) -> None:
    assert records(folder)["g_broken.cif"]["invalid"].startswith("unreadable")


def test_shares_are_of_all_drawn_and_elements_are_counted_apart(folder: Path) -> None:
    finished = Run.read(folder / "run")
    expected = [
        r["energy_above_hull"] is not None
        and r["energy_above_hull"] <= 0.1
        and r["relaxed"]["repeats"] is None
        and r["relaxed"]["known_as"] is None
        for r in finished.records
    ]
    assert finished.count(sun(METASTABLE)) == sum(expected)
    assert f"**S.U.N., metastable, %** | {100 * sum(expected) / 7:.1f} (" in report(folder)
    assert not real_compound(records(folder)["f_iron"])
    assert real_compound(records(folder)["a_magnesia"])


def report(folder: Path) -> str:
    result = CliRunner().invoke(app, ["report", str(folder / "run"), str(folder / "run")])
    assert result.exit_code == 0, result.output
    return result.stdout.replace(" | run | run |", "").replace(" | 7 | 7 |", " | 7 |")


def test_the_relaxed_structures_can_be_read_again_with_their_energies(folder: Path) -> None:
    relaxed = {entry.name: entry for entry in read_materials(folder / "run" / "relaxed.extxyz")}
    found = records(folder)
    assert set(relaxed) == {name for name, record in found.items() if record["energy_per_atom"] is not None}
    measured = {m.property: m for m in relaxed["a_magnesia"].measurements}
    assert measured["energy_above_hull"].value == found["a_magnesia"]["energy_above_hull"]
    assert measured["energy_above_hull"].fidelity == "potential"


def test_a_second_run_does_nothing_and_a_changed_input_is_noticed(folder: Path) -> None:
    measured, judged = (folder / "run" / name for name in ("measured.jsonl", "judged.jsonl"))
    before, when, table = measured.read_bytes(), judged.stat().st_mtime_ns, report(folder)
    assert "is of this input already" in run(folder).output
    assert (measured.read_bytes(), judged.stat().st_mtime_ns) == (before, when)
    (folder / "drawn" / "c_overlapping.cif").rename(folder / "aside.cif")
    output = run(folder).output
    assert "5 different structures, 5 of them measured already" in output
    assert "1 answers for other structures" in output
    assert "c_overlapping" not in records(folder)
    (folder / "aside.cif").rename(folder / "drawn" / "c_overlapping.cif")
    run(folder)
    assert measured.read_bytes() == before
    assert report(folder) == table


def test_no_run_and_no_structures_are_errors_that_say_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert result.exit_code == 2
    assert "no finished run" in result.output
    result = CliRunner().invoke(app, ["run", str(tmp_path / "none.extxyz"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "no such file" in result.output


@pytest.mark.slow
def test_an_answer_is_the_same_again() -> None:
    crystal = Crystal(caesium_chloride(("Cu", "Zn"), 3.05))
    first, second = measure(crystal), measure(crystal)
    assert first.id == key_of(crystal) == second.id
    assert first.energy_above_hull == second.energy_above_hull
    assert first.relaxed == second.relaxed


def test_lanthanides_count_as_one_element_where_that_is_asked(tmp_path: Path) -> None:
    table = tmp_path / "reference.csv"
    write_reference(table, {"mine": caesium_chloride(("Gd", "Cd"), 3.8)})
    drawn = [Crystal(caesium_chloride((symbol, "Cd"), 3.8)) for symbol in ("Pm", "Tb")]
    known = KnownCrystals(table, {crystal.formula for crystal in drawn})
    assert known.anonymous.find(Crystal(caesium_chloride(("La", "Cd"), 3.8))) is not None
    empty = KnownCrystals(None, set())
    plain, merged = sameness(drawn, empty, [0, 1])
    assert plain == [Sameness(None, None)] * 2
    assert merged == [Sameness(None, None), Sameness(0, None)]
    assert anonymous_formula("GdTbO3") == anonymous_formula("La2O3")


def test_a_table_without_structures_is_refused_by_name(tmp_path: Path) -> None:
    table = tmp_path / "formulas.csv"
    table.write_text("material_id,formula\nmine,MgO\n")
    with pytest.raises(ValueError, match=r"formulas\.csv: no column cell"):
        KnownCrystals(table, {"MgO"})


def test_what_is_no_solid_is_invalid() -> None:
    assert why_invalid(Crystal(overlapping())) == "atoms too close"
    assert (
        why_invalid(Crystal(pmg.Structure(pmg.Lattice.cubic(9), ["Li"], ATOM)))
        == "volume per atom out of range"
    )
    half = pmg.Structure(pmg.Lattice.cubic(3), [{"Fe": 0.5, "Ni": 0.5}], ATOM)
    assert why_invalid(Crystal(half)) == "partial occupancies"
    assert why_invalid(Crystal(rock_salt(("Mg", "O"), 4.2))) == ""


@given(st.integers(0, 10**6), st.floats(0, 0.05), st.floats(0.97, 1.03))
@settings(max_examples=20, deadline=None)
def test_the_displacement_is_the_matchers_for_small_moves(seed: int, size: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    start = pmg.Structure(
        pmg.Lattice.from_parameters(4, 5, 6, 80, 95, 100),
        ["Li", "O", "S"],
        [[0, 0, 0], [0.5, 0.5, 0.4], [0.1, 0.5, 0.8]],
    )
    places = start.frac_coords @ start.lattice.matrix + rng.normal(scale=size, size=(3, 3))
    lattice = pmg.Lattice(start.lattice.matrix * scale)
    fractional = places @ np.linalg.inv(start.lattice.matrix) + rng.integers(-2, 3, (3, 3)) + rng.random(3)
    end = pmg.Structure(lattice, start.species, fractional)
    matcher = StructureMatcher(ltol=0.5, stol=0.5, angle_tol=10, scale=False)
    length = ((start.volume ** (1 / 3) + end.volume ** (1 / 3)) / 2) / len(start) ** (1 / 3)
    assert displacement(start, end) == pytest.approx(
        matcher.get_rms_dist(start, end)[0] * length, rel=1e-2, abs=1e-6
    )


def drawn_thrice(folder: Path, kind: str, *options: str) -> list[list[dict[str, Any]]]:
    """What a baseline draws by the seeds 1, 1 and 2."""
    drawn = []
    for attempt, seed in enumerate(("1", "1", "2")):
        out = folder / f"{kind}{attempt}.extxyz"
        result = CliRunner().invoke(app, ["baseline", kind, str(out), *options, "--seed", seed])
        assert result.exit_code == 0, result.output
        drawn.append([entry.material.to_dict() for entry in read_materials(out)])
    return drawn


def test_rows_of_the_training_set_are_drawn_by_the_seed(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    write_reference(table, {f"row-{i}": rock_salt(("Mg", "O"), 4 + i / 10) for i in range(5)})
    text = table.read_text().splitlines()
    table.write_text("\n".join([f"split,{text[0]}", *(f"train,{line}" for line in text[1:])]) + "\n")
    options = ["--table", str(table), "--splits", "train"]
    drawn = drawn_thrice(tmp_path, "training", "-n", "3", *options)
    assert len(drawn[0]) == 3
    assert drawn[0] == drawn[1] != drawn[2]
    too_many = ["baseline", "training", str(tmp_path / "x.extxyz"), "-n", "9", *options]
    result = CliRunner().invoke(app, too_many)
    assert result.exit_code == 2
    assert "5 rows in train, fewer than 9" in result.output


@pytest.mark.slow
def test_substitution_is_drawn_by_the_seed(tmp_path: Path) -> None:
    drawn = drawn_thrice(tmp_path, "substitution", "-n", "4")
    assert len(drawn[0]) == 4
    assert drawn[0] == drawn[1] != drawn[2]
