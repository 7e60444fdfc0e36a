"""Reading candidates: every format, every broken file named with its place, its reason and a remedy."""

import csv
from pathlib import Path

import numpy as np
import pymatgen.core as pmg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from materials.base import Bound, Composition, Crystal
from materials.columns import MeasuredColumns
from materials.reading import (
    Entry,
    Problem,
    ReadingError,
    count_materials,
    read_materials,
    stream_materials,
)
from materials.writing import write_cif

SALT = pmg.Structure(pmg.Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
MIXED = pmg.Structure(pmg.Lattice.cubic(4.2), [{"Mg": 0.75, "Zn": 0.25}, "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def cif_of(structure: pmg.Structure) -> str:
    return str(structure.to(fmt="cif"))


def table(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def values(entry: Entry) -> dict[str, float]:
    return {m.property: m.value for m in entry.measurements}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    write_cif(tmp_path / "salt.cif", Crystal(SALT))
    write_cif(tmp_path / "deep" / "mixed.cif", Crystal(MIXED))
    (tmp_path / "notes.txt").write_text("not a crystal")
    return tmp_path


def test_a_folder_of_cif_files(folder: Path) -> None:
    entries = read_materials(folder)
    assert [e.name for e in entries] == ["deep/mixed", "salt"]
    assert [e.material.formula for e in entries] == ["Mg0.75Zn0.25O1", "MgO"]
    assert count_materials(folder) == 2
    assert [e.name for e in stream_materials(folder, only={1})] == ["salt"]


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.tuples(*(st.floats(0, 0.999) for _ in range(3))), min_size=1, max_size=4),
    st.sampled_from(["Mg", {"Mg": 0.5}, {"Mg": 0.25, "Zn": 0.5}]),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, places: list, species: object
) -> None:
    structure = pmg.Structure(
        pmg.Lattice.from_parameters(5, 6, 7, 80, 95, 105), [species] * len(places), places
    )
    if len(structure) > 1 and structure.distance_matrix[np.triu_indices(len(structure), 1)].min() < 0.5:
        return
    path = tmp_path_factory.mktemp("cif") / "x.cif"
    write_cif(path, Crystal(structure))
    (entry,) = read_materials(path)
    assert isinstance(entry.material, Crystal)
    again = entry.material.structure
    assert np.allclose(again.lattice.parameters, structure.lattice.parameters, atol=1e-6)
    assert again.composition.almost_equals(structure.composition)
    shift = again.frac_coords - structure.frac_coords
    assert np.abs(shift - np.round(shift)).max() < 1e-4


def test_a_missing_path_and_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ReadingError, match=r"nowhere\.cif: no such file or folder"):
        read_materials(tmp_path / "nowhere.cif")
    with pytest.raises(ReadingError, match="no materials in it"):
        read_materials(tmp_path)
    (tmp_path / "x.poscar").write_text("")
    with pytest.raises(ReadingError, match=r"unknown format '\.poscar'; use"):
        read_materials(tmp_path / "x.poscar")


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 0.97))
def test_a_truncated_cif_is_never_taken_for_a_whole_one(
    tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    text = cif_of(SALT)
    path = tmp_path_factory.mktemp("cut") / "cut.cif"
    path.write_text(text[: int(share * len(text))])
    with pytest.raises(ReadingError, match=r"cut\.cif: .*(replace|correct|take)"):
        read_materials(path)


def test_a_cif_that_loses_an_atom_contradicts_its_formula(tmp_path: Path) -> None:
    path = tmp_path / "lost.cif"
    path.write_text(
        "\n".join(line for line in cif_of(SALT).splitlines() if not line.strip().startswith("O "))
    )
    with pytest.raises(ReadingError, match="sites add up to Mg, its formula says"):
        read_materials(path)


@pytest.mark.parametrize(
    ("old", "new"), [("4.20000000", "nan"), ("4.20000000", "0.0"), ("0.50000000", "oops")]
)
def test_a_cif_with_bad_numbers(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "bad.cif"
    path.write_text(cif_of(SALT).replace(old, new))
    with pytest.raises(ReadingError, match=r"bad\.cif"):
        read_materials(path)


def test_the_public_mp_20_layout(tmp_path: Path) -> None:
    row = {
        "": 0,
        "material_id": "mp-1265",
        "formation_energy_per_atom": -3.0,
        "band_gap": 4.4,
        "pretty_formula": "MgO",
        "e_above_hull": 0.0,
        "elements": "['Mg', 'O']",
        "cif": cif_of(SALT),
        "spacegroup.number": 225,
    }
    (entry,) = read_materials(table(tmp_path / "mp_20.csv", [row]))
    assert entry.name == "mp-1265"
    assert entry.source == "mp_20.csv, row 2"
    assert values(entry) == {"formation_energy": -3.0, "band_gap": 4.4, "energy_above_hull": 0.0}
    assert {m.fidelity for m in entry.measurements} == {"PBE"}


def test_sodium_nitride_is_not_missing(tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv", [{"id": "a", "formula": "NaN"}, {"id": "b", "formula": "Na3N"}])
    assert [e.material for e in read_materials(path)] == [Composition("NaN"), Composition("Na3N")]


def test_measured_columns_with_units_and_details(tmp_path: Path) -> None:
    rows = [
        {
            "formula": "Li3PS4",
            "log_ionic_conductivity (log10(S/cm))": "-3.5",
            "log_ionic_conductivity_std (log10(S/cm))": "0.2",
            "log_ionic_conductivity_bound": "upper",
            "band_gap": "3.1",
            "band_gap_fidelity": "HSE",
        },
        {"formula": "Li2O", "band_gap": "5.0"},
    ]
    full, plain = read_materials(table(tmp_path / "x.csv", [rows[0], dict.fromkeys(rows[0], "") | rows[1]]))
    conductivity, gap = full.measurements
    assert (conductivity.value, conductivity.std, conductivity.bound) == (-3.5, 0.2, Bound.UPPER)
    assert conductivity.unit == "log10(S/cm)"
    assert (gap.value, gap.fidelity) == (3.1, "HSE")
    (only,) = plain.measurements
    assert (only.value, only.fidelity, only.bound, only.std) == (5.0, "experiment", Bound.EXACT, None)


def test_conditions_are_read_with_what_was_measured_under_them(tmp_path: Path) -> None:
    rows = [
        {
            "formula": "Li3PS4",
            "log_ionic_conductivity": "-3.5",
            "log_ionic_conductivity_temperature (K)": "350",
            "log_ionic_conductivity_strain_xx": "0.01",
            "band_gap": "3.1",
            "band_gap_pressure (GPa)": "",
        },
    ]
    (entry,) = read_materials(table(tmp_path / "x.csv", rows))
    conductivity, gap = entry.measurements
    assert conductivity.conditions == {"temperature": 350.0, "strain_xx": 0.01}
    assert gap.conditions == {}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (["band_gap_temperature (K)"], "no column 'band_gap' beside it"),
        (["band_gap", "band_gap_pressure (kbar)"], "band_gap_pressure is read in GPa"),
        (["bandgap"], "'bandgap' looks like the property 'band_gap'"),
        (["Band gap"], "looks like the property 'band_gap'"),
        (["formation_energy_per_atm"], "looks like the property 'formation_energy_per_atom'"),
        (["band_gap (meV)"], "band_gap is read in eV; convert"),
        (["band_gap_std"], "no column 'band_gap' beside it"),
    ],
)
def test_columns_that_cannot_be_meant(header: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MeasuredColumns(header)


def test_who_measured_and_in_which_unit(tmp_path: Path) -> None:
    row = {"formula": "LiF", "band_gap": 13.6, "band_gap_oracle": "dft", "band_gap_unit": "eV"}
    (entry,) = read_materials(table(tmp_path / "own.csv", [row]))
    assert [m.oracle for m in entry.measurements] == ["dft"]
    with pytest.raises(
        ReadingError, match="row 2: column 'band_gap_unit': band_gap is read in eV, not in meV"
    ):
        read_materials(table(tmp_path / "own.csv", [row | {"band_gap_unit": "meV"}]))


def test_other_columns_are_left_alone() -> None:
    assert not MeasuredColumns(
        ["spacegroup", "split", "gap_source", "ef_source", "nsites", "voltage window", ""]
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"formula": "", "band_gap": "1"}, "neither a cif nor a formula"),
        ({"formula": "LiXx", "band_gap": "1"}, "'LiXx' is no chemical formula"),
        ({"formula": "Li2O", "band_gap": "nan"}, "'band_gap': nan is not a finite number; leave unmeasured"),
        ({"formula": "Li2O", "band_gap": "-inf"}, "not a finite number"),
        ({"formula": "Li2O", "band_gap": "-3"}, "'band_gap': -3 eV is impossible"),
        ({"formula": "Li2O", "band_gap": "5000"}, "5000 eV is impossible"),
        ({"formula": "Li2O", "band_gap": "high"}, "'high' is not a number"),
        ({"formula": "Li2O", "band_gap": "1", "band_gap_std": "-1"}, "cannot be negative"),
        ({"formula": "Li2O", "band_gap": "1", "band_gap_bound": "below"}, "'below' is none of exact, upper"),
        (
            {"formula": "Li2O", "band_gap": "1", "band_gap_fidelity": "pbe"},
            "'pbe' is no fidelity of band_gap; use",
        ),
        ({"formula": "Li2O", "id": "good", "band_gap": "1"}, "the name 'good' is taken by another material"),
        ({"formula": "Li2O", "cif": cif_of(SALT)[:300]}, "the CIF is broken or truncated"),
        ({"formula": "Li2O", "cif": cif_of(SALT)}, "sites add up to MgO, its formula says Li2O"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, row: dict[str, str], message: str) -> None:
    columns = dict.fromkeys(["id", "formula", "cif", "band_gap", "band_gap_std", "band_gap_bound"], "")
    columns["band_gap_fidelity"] = ""
    rows = [
        columns | {"id": "good", "formula": "Na2O"},
        columns | row,
        columns | {"id": "z", "formula": "K2O"},
    ]
    path = table(tmp_path / "x.csv", rows)
    with pytest.raises(ReadingError, match=rf"x\.csv, row 3: .*{message}"):
        read_materials(path)
    problems: list[Problem] = []
    assert [e.name for e in stream_materials(path, problems)] == ["good", "z"]
    assert [p.place for p in problems] == ["row 3"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,gap\nLi2O,1\n", "no column named cif or formula; its columns are name, gap"),
        ("", "no column named cif or formula; its columns are none"),
        ("formula,band_gap,band_gap\nLi2O,1,2\n", "several columns named band_gap"),
        ("formula,bandgap\nLi2O,1\n", "looks like the property"),
        ("formula,band_gap\n", "no materials in it"),
        ("formula,band_gap\nLi2O,1,2\n", "row 2: more or fewer cells than the header"),
        ("formula,band_gap\nLi2O\n", "row 2: more or fewer cells than the header"),
    ],
)
def test_a_broken_table_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(ReadingError, match=rf"x\.csv.*{message}"):
        read_materials(path)


def test_a_table_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"formula,band_gap\nLi2O,1\n\xff\xfe\x00\n")
    with pytest.raises(ReadingError, match=r"x\.csv"):
        read_materials(path)


def test_a_spreadsheet_s_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes("\ufeffformula,band_gap\r\nLi2O,1\r\n".encode())
    assert values(read_materials(path)[0]) == {"band_gap": 1.0}


def test_one_material_may_have_several_rows(tmp_path: Path) -> None:
    rows = [{"id": "a", "formula": "Li2O", "band_gap": g} for g in (1, 2)]
    assert [values(e)["band_gap"] for e in read_materials(table(tmp_path / "x.csv", rows))] == [1.0, 2.0]


def test_a_large_table_is_read_as_a_stream(tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv", [{"formula": f"Li{n}O"} for n in range(1, 50)] + [{"formula": "bad!"}])
    stream = stream_materials(path)
    assert next(stream).material == Composition("Li1O")
    with pytest.raises(ReadingError, match="row 51"):
        list(stream)


FRAME = """2
Lattice="4.2 0 0 0 4.2 0 0 0 4.2" Properties=species:S:1:pos:R:3 id=salt band_gap=4.4 pbc="{pbc}"
Mg 0 0 0
O {x} 2.1 2.1
"""


def test_extended_xyz(tmp_path: Path) -> None:
    path = tmp_path / "x.extxyz"
    path.write_text(
        FRAME.format(pbc="T T T", x="2.1") + FRAME.format(pbc="T T T", x="2.1").replace("id=salt", "")
    )
    first, second = read_materials(path)
    assert (first.name, values(first)) == ("salt", {"band_gap": 4.4})
    assert second.name == "x, frame 2"
    assert isinstance(first.material, Crystal)
    assert np.allclose(first.material.structure.frac_coords, SALT.frac_coords)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FRAME.format(pbc="T T F", x="2.1"), "frame 1: not periodic in three directions"),
        (FRAME.format(pbc="T T T", x="nan"), "frame 1: the cell or a coordinate is not a finite number"),
        (FRAME.format(pbc="T T T", x="2.1")[:-20], "not extended XYZ, or truncated"),
    ],
)
def test_broken_extended_xyz(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.extxyz"
    path.write_text(text)
    with pytest.raises(ReadingError, match=message):
        read_materials(path)
