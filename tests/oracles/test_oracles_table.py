"""The table oracle: answers, typed failures, and the same answer to the same question."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from materials.base import Candidate, Composition, Crystal, Material, Origin
from materials.evaluation import FailureKind, Outcome, Request, Status
from oracles.table import TableSettings

ROCK_SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
).get_primitive_structure()


def request_for(material: Material, key: str = "k", note: str = "") -> Request:
    return Request(key, Candidate(material, Origin("files", note=note)), material, "table")


def table(folder: Path, text: str, **options: object) -> TableSettings:
    file = folder / "answers.csv"
    file.write_text(text)
    return TableSettings.model_validate({"file": file, "measures": ["band_gap"]} | options)


def ask(settings: TableSettings, *requests: Request) -> list[Outcome]:
    return list(settings.build().evaluate(requests))


def gaps(outcomes: Sequence[Outcome]) -> list[float]:
    return [m.value for o in outcomes for m in o.measurements]


def test_answers_by_formula_in_any_order_of_elements_and_any_multiple(tmp_path: Path) -> None:
    oracle = table(tmp_path, "formula,band_gap (eV)\nO2Mg2,7.8\nNaN,1.5\n")
    mgo, nitride = ask(oracle, request_for(Crystal(ROCK_SALT)), request_for(Composition("Na3N3"), "l"))
    assert (mgo.status, mgo.measurements[0].value) == (Status.DONE, 7.8)
    assert (mgo.measurements[0].unit, mgo.measurements[0].fidelity) == ("eV", "experiment")
    assert nitride.measurements[0].value == 1.5


def test_polymorphs_are_told_apart_by_candidate_id_or_by_name(tmp_path: Path) -> None:
    stretched = Crystal(ROCK_SALT.copy().scale_lattice(25))
    other = Crystal(ROCK_SALT)
    by_id = Candidate(other, Origin("files")).id
    oracle = table(tmp_path, f"id,formula,band_gap\nmp-1,MgO,1\n{by_id},MgO,2\nmp-3,MgO,3\n")
    named, identified, ambiguous = ask(
        oracle,
        request_for(stretched, note="mp-3 of pool.csv, row 4"),
        request_for(other),
        request_for(stretched, note="mp-4 of pool.csv, row 5"),
    )
    assert gaps([named, identified]) == [3, 2]
    assert ambiguous.failure is not None
    assert ambiguous.failure.kind is FailureKind.MISSING_ANSWER
    assert "column 'id'" in ambiguous.failure.message


@pytest.mark.parametrize("text", ["formula,band_gap\nLi2O,5\n", "formula,band_gap\nMgO,\n"])
def test_a_missing_answer_is_rejected_for_good(tmp_path: Path, text: str) -> None:
    (outcome,) = ask(table(tmp_path, text), request_for(Crystal(ROCK_SALT)))
    assert outcome.status is Status.REJECTED
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.MISSING_ANSWER
    assert "MgO" in outcome.failure.message


@given(keys=st.lists(st.text(min_size=1), min_size=1, unique=True), seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_noise_and_failures_depend_on_the_question_only(
    tmp_path_factory: pytest.TempPathFactory, keys: list[str], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("table")
    oracle = table(folder, "formula,band_gap\nMgO,7.8\n", noise=0.3, failure_rate=0.4, seed=seed)
    requests = [request_for(Crystal(ROCK_SALT), key) for key in keys]
    together = ask(oracle, *requests)
    apart = [ask(oracle, request_for(Crystal(ROCK_SALT), key))[0] for key in reversed(keys)][::-1]
    assert [(o.status, o.measurements) for o in together] == [(o.status, o.measurements) for o in apart]


def test_noise_makes_no_value_impossible(tmp_path: Path) -> None:
    oracle = table(tmp_path, "formula,band_gap\nMgO,0.01\n", noise=0.3)
    found = gaps(ask(oracle, *(request_for(Crystal(ROCK_SALT), str(i)) for i in range(20))))
    assert min(found) == 0.0 < max(found)


def test_noise_and_failures_have_the_size_asked_for(tmp_path: Path) -> None:
    oracle = table(tmp_path, "formula,band_gap\nMgO,7.8\n", noise=0.3, failure_rate=0.4)
    outcomes = ask(oracle, *(request_for(Crystal(ROCK_SALT), str(i)) for i in range(2000)))
    values = gaps(outcomes)
    assert 0.36 < 1 - len(values) / 2000 < 0.44
    mean = sum(values) / len(values)
    assert abs(mean - 7.8) < 0.03
    assert 0.28 < math.sqrt(sum((v - mean) ** 2 for v in values) / len(values)) < 0.32
    assert {m.std for o in outcomes for m in o.measurements} == {0.3}
    assert {o.failure.kind for o in outcomes if o.failure} == {FailureKind.NOT_CONVERGED}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name,band_gap\nMgO,1\n", "material_id or id or formula"),
        ("formula,gap\nMgO,1\n", "no column 'band_gap'"),
        ("formula,band_gap\nMgO,1\nLi2O,wide\n", "line 3, column band_gap: 'wide'"),
        ("formula,band_gap\nMgO,nan\n", "line 2"),
        ("formula,band_gap\nMgO,-3\n", "line 2, column band_gap: -3 is impossible"),
    ],
)
def test_a_bad_table_is_refused_with_its_place(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        table(tmp_path, text).build()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"measures": ["bandgap"]}, "did you mean 'band_gap'"),
        ({"measures": []}, "at least 1 item"),
        ({"fidelity": "guess"}, "band_gap has no fidelity 'guess'"),
        ({"failure_rate": 1.5}, "less than or equal to 1"),
        ({"file": "nowhere.csv"}, "no such file"),
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        table(tmp_path, "formula,band_gap\nMgO,1\n", **options)


def test_the_settings_can_be_written_and_read_back(tmp_path: Path) -> None:
    oracle = table(tmp_path, "formula,band_gap\nMgO,1\n", noise=0.1)
    again = TableSettings.model_validate(oracle.model_dump(mode="json"))
    assert again == oracle
    assert again.fingerprint() == oracle.fingerprint()
    assert (again.measures, again.fidelity) == (("band_gap",), "experiment")
