"""Exports of campaigns that measured anything anybody can measure, under any name and with any doubt."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from ase.db import connect
from ase.io import read
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from stored_campaign import LINE, decision, key
from typer.testing import CliRunner

from loop import export
from loop.database.store import Store
from loop.prior import read_prior
from loop.yaml_text import write_yaml
from materials.base import Bound, Candidate, Crystal, Measurement, Origin
from materials.evaluation import Outcome, Status
from materials.properties import CONDITIONS, PROPERTIES, Property
from materials.reading import read_materials


def crystal(*species: object) -> Crystal:
    cell = Lattice.cubic(5.1)
    return Crystal(Structure.from_spacegroup("Fm-3m", cell, list(species), [[0, 0, 0], [0.5, 0.5, 0.5]]))


SALT = Candidate(crystal("In", "F"), Origin("random"))
MIXED = Candidate(crystal({"Li": 0.75, "Na": 0.125}, "Cl"), Origin("files"))
GAP = Measurement("band_gap", 1.5, "eV", "PBE", "relax", 0.25)


def run_folder(folder: Path, name: str, measured: list[Measurement], doubt: str | None = None) -> Path:
    """A campaign that measured an ordered and a disordered crystal, and doubts the first."""
    with Store.open(folder / "campaign.db", name, create=True) as store:
        store.begin({}, "fingerprint")
        store.commit_decision(1, **decision([SALT, MIXED], [SALT, MIXED]))
        for one, why in ((SALT, doubt), (MIXED, None)):
            answer = Outcome(key(one.id, 0), one.id, LINE[0], Status.DONE, tuple(measured), doubt=why)
            store.record_outcome(answer, 1)
    goals = [{"property": "band_gap", "goal": "maximize"}]
    document = {"name": name, "space": {"elements": ["In", "F"]}, "objectives": goals}
    (folder / "campaign.yaml").write_text(write_yaml(document | {"oracles": [{"kind": "relax"}]}))
    return folder


def exported(folder: Path) -> Path:
    options = [part for name in export.Format for part in ("--format", str(name))]
    result = CliRunner().invoke(export.app, [str(folder), *options])
    assert result.exit_code == 0, (result.output, result.exception)
    assert not list((folder / "export").glob("*.part*")) + list((folder / "export").glob(".*"))
    return folder / "export"


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    """Floats without a negative zero, whose sign SQLite does not keep."""
    return st.floats(low, high).map(lambda value: value + 0.0)


def measurements_of(known: Property) -> st.SearchStrategy[Measurement]:
    low, high = (max(-1e6, min(1e6, limit)) for limit in known.possible)
    return st.builds(
        Measurement,
        property=st.just(known.name),
        value=numbers(low, high),
        unit=st.just(known.unit),
        fidelity=st.sampled_from(known.fidelities),
        oracle=st.sampled_from(["relax", "hull_2", "a robot"]),
        std=st.none() | numbers(0, 1e6),
        bound=st.sampled_from(Bound),
        conditions=st.dictionaries(st.sampled_from(list(CONDITIONS)), numbers(-1e6, 1e6), max_size=3),
    )


ANYTHING = st.lists(
    st.sampled_from(list(PROPERTIES.values())).flatmap(measurements_of), min_size=1, max_size=6
)


def counted(measured: list[Measurement]) -> Counter[str]:
    return Counter(json.dumps(m.to_dict(), sort_keys=True) for m in measured)


@settings(max_examples=12, deadline=None)
@given(ANYTHING)
def test_a_table_and_frames_give_back_what_was_measured(measured: list[Measurement]) -> None:
    with TemporaryDirectory() as place:
        folder = exported(run_folder(Path(place), "first", measured))
        prior = read_prior([folder / "measured.csv"])
        assert [counted(found) for found in prior.measurements.values()] == [counted(measured)] * 2
        (frame,) = read_materials(folder / "measured.extxyz")
        best = {m.property: m for m in frame.measurements}
        with connect(folder / "measured.db") as database:
            (row,) = database.select()
        for name, measurement in best.items():
            assert measurement in measured
            assert row[name] == measurement.value
        assert best.keys() == {m.property for m in measured}


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@settings(max_examples=15, deadline=None)
@given(NAMES, TEXTS)
def test_any_name_and_any_doubt_is_exported(name: str, doubt: str) -> None:
    with TemporaryDirectory() as place:
        folder = exported(run_folder(Path(place), name, [GAP], doubt))
        (frame,) = read_materials(folder / "measured.extxyz")
        assert frame.name == f"{name}:{SALT.id}"
        assert bool(frame.doubt) == bool(doubt.strip())
        assert frame.measurements == (() if doubt.strip() else (GAP,))
        with connect(folder / "measured.db") as database:
            (row,) = database.select("band_gap>1")
            assert database.metadata["key_descriptions"]["band_gap"][2] == "eV"
        assert row.data["about"]["campaign"] == name
        assert (row.band_gap_fidelity, row.band_gap_std) == ("PBE", 0.25)


@pytest.mark.parametrize("name", ["2026", "1e5", "nan", "True"])
def test_names_that_look_like_numbers(tmp_path: Path, name: str) -> None:
    folder = exported(run_folder(tmp_path, name, [GAP]))
    with connect(folder / "measured.db") as database:
        (row,) = database.select()
    assert row.name == f"{name}:{SALT.id}"
    assert read(folder / "measured.extxyz").info["band_gap_unit"] == "eV"


def test_disorder_is_told_to_optimade(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "mixed", [GAP])
    with Store.view(folder / "campaign.db") as view:
        finished = {row.candidate_id: row.finished_at or "" for row in view.evaluations()}
    document = json.loads((exported(folder) / "measured.optimade.json").read_text())
    salt, mixed = (entry["attributes"] for entry in document["data"])
    assert (salt["structure_features"], mixed["structure_features"]) == ([], ["disorder"])
    shared = {name: s for s in mixed["species"] for name in s["chemical_symbols"]}
    assert shared["vacancy"] is shared["Li"] is shared["Na"]
    assert dict(zip(shared["Li"]["chemical_symbols"], shared["Li"]["concentration"], strict=True)) == {
        "Li": 0.75,
        "Na": 0.125,
        "vacancy": pytest.approx(0.125),
    }
    assert mixed["chemical_formula_reduced"] == "Cl8Li6Na"
    assert mixed["chemical_formula_hill"] is None
    assert salt["last_modified"] == finished[SALT.id][:19] + "Z"
