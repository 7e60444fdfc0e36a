"""A campaign by hand: loop.ask says what to make, loop.tell takes what came of it."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loop import ask, campaign, tell
from loop.database.store import Store

FILE = """
name: hand
seed: 1
space:
  {kind: composition, elements: [Li, Na, S, Cl], required: [Li], number_of_elements: [2, 3], number_of_atoms: [2, 8]}
objectives: [{property: log_ionic_conductivity, goal: maximize}]
generators: [{kind: files, path: known.csv}]
oracles:
  - kind: lab
    measures: [log_ionic_conductivity]
    conditions: {temperature: 300}
    most_waiting: 2
    inventory: [{formula: Li2S}, {formula: LiCl}, {formula: Na2S, purity: 0.5}, {formula: NaCl}]
surrogate: {kind: gp, descriptor: composition, prior: none}
executor: {kind: serial}
budget: {rounds: 4, batch: 2, pool: 8}
tracking: none
"""
VALUE, ERROR = "log_ionic_conductivity (log10(S/cm))", "log_ionic_conductivity_std"


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign whose first round waits to be made."""
    tmp_path = tmp_path_factory.mktemp("hand")
    formulas = ("Li2S", "LiCl", "Li2Na2S2", "LiNaCl2", "Li4S2", "Li3SCl", "LiNaS", "Li2NaCl3")
    (tmp_path / "known.csv").write_text("formula\n" + "\n".join(formulas) + "\n")
    (tmp_path / "hand.yaml").write_text(FILE)
    folder = tmp_path / "run"
    found = CliRunner().invoke(campaign.app, [str(tmp_path / "hand.yaml"), "--dir", str(folder)])
    assert found.exit_code == 75, found.output
    return folder


@pytest.fixture
def run_folder(begun: Path, tmp_path: Path) -> Path:
    """A copy of that campaign to change."""
    return shutil.copytree(begun, tmp_path / "run")


def asked(folder: Path, *options: str) -> Result:
    found = CliRunner().invoke(ask.app, [str(folder), *options])
    assert found.exit_code == 0, found.output
    return found


def told(folder: Path, *lines: str, header: str = f"id,formula,{VALUE},{ERROR}") -> Result:
    file = folder.parent / "results.csv"
    file.write_text("\n".join([header, *lines]) + "\n")
    return CliRunner().invoke(tell.app, [str(folder), str(file), "--yes"])


def form(folder: Path, number: int) -> list[dict[str, str]]:
    """What loop.ask wrote to be filled in."""
    file = folder.parent / "form.csv"
    asked(folder, "-n", str(number), "--out", str(file))
    with file.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_what_is_told_is_learned_and_the_next_question_follows(run_folder: Path) -> None:
    first = form(run_folder, 2)
    found = told(run_folder, *(f"{row['id']},{row['formula']},{-3 - i},0.1" for i, row in enumerate(first)))
    assert found.exit_code == 0, found.output
    second = form(run_folder, 2)
    assert {row["id"] for row in first}.isdisjoint(row["id"] for row in second)
    with Store.view(run_folder / "campaign.db") as view:
        measured = [view.outcome(row["id"]) for row in first]
    assert [o.measurements[0].value for o in measured if o] == [-3, -4]
    assert all(o.measurements[0].fidelity == "experiment" for o in measured if o)
    assert all(dict(o.measurements[0].conditions) == {"temperature": 300} for o in measured if o)


def test_no_more_is_decided_than_was_asked_for(run_folder: Path) -> None:
    asked(run_folder, "-n", "1")
    with Store.open(run_folder / "campaign.db", "hand", create=False) as store:
        assert len(store.lab().orders()) == 2  # the batch of the one round that waits
    asked(run_folder, "-n", "4")
    with Store.open(run_folder / "campaign.db", "hand", create=False) as store:
        assert len(store.lab().orders()) == 4


def test_what_to_weigh_in_is_printed(run_folder: Path) -> None:
    output = asked(run_folder, "-n", "8").output
    weighed = re.findall(r"weigh in  (.+)", output)
    assert len(weighed) == output.count("(id ")
    shelf = "Li2S|LiCl|Na2S|NaCl"
    assert all(
        re.fullmatch(rf"\d\.\d{{4}} g ({shelf})(, \d\.\d{{4}} g ({shelf}))*", line) for line in weighed
    )
    assert "in log10(S/cm) at 300 K" in output


def test_the_same_table_twice_changes_nothing(run_folder: Path) -> None:
    row = form(run_folder, 1)[0]
    line = f"{row['id']},{row['formula']},-4.5,0.1"
    assert told(run_folder, line).exit_code == 0
    again = told(run_folder, line)
    assert "say what was told before" in again.output
    assert again.exit_code == 0


def test_another_value_for_an_answered_order_is_refused(run_folder: Path) -> None:
    row = form(run_folder, 1)[0]
    told(run_folder, f"{row['id']},{row['formula']},-4.5,0.1")
    found = told(run_folder, f"{row['id']},{row['formula']},-2.5,0.1")
    assert found.exit_code == 2
    assert "is answered already" in found.output
    with Store.view(run_folder / "campaign.db") as view:
        asked(run_folder, "-n", "1")
        outcome = view.outcome(row["id"])
        assert outcome is not None
        assert outcome.measurements[0].value == -4.5


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{id},Li9S9,-4,", "the id is of"),
        ("{id},,-99,", "is impossible"),
        ("{id},,abc,", "abc"),
        ("0123456789abcdef,,-4,", "knows no '0123456789abcdef'"),
        (",Xx2,-4,", "is no chemical formula"),
        ("{id},,-4,,,", "more or fewer cells"),
    ],
)
def test_one_bad_row_and_nothing_is_written(run_folder: Path, line: str, reason: str) -> None:
    rows = form(run_folder, 2)
    good = f"{rows[1]['id']},,-4,0.1"
    found = told(run_folder, good, line.format(id=rows[0]["id"]))
    assert found.exit_code == 2
    assert reason in found.output
    assert "row 3" in found.output
    with Store.open(run_folder / "campaign.db", "hand", create=False) as store:
        assert all(row.outcome is None for row in store.lab().orders())


def test_a_column_in_another_unit_is_refused(run_folder: Path) -> None:
    found = told(run_folder, ",LiCl,-4", header="id,formula,log_ionic_conductivity (S/m)")
    assert found.exit_code == 2
    assert "log10(S/cm)" in found.output


def test_a_material_that_was_never_proposed_is_taken(run_folder: Path) -> None:
    assert told(run_folder, ",Li3Na3S3Cl3,-2.5,0.2").exit_code == 0
    with Store.view(run_folder / "campaign.db") as view:
        known = [c for c in view.candidates() if c.formula == "NaLiSCl"]
        archive = view.archive((), (), ["lab"])
    assert len(known) == 1
    assert archive[known[0].id].value("log_ionic_conductivity") == -2.5
    assert archive[known[0].id].known_before


def test_without_a_yes_nothing_is_written(run_folder: Path) -> None:
    row = form(run_folder, 1)[0]
    file = run_folder.parent / "results.csv"
    file.write_text(f"id,{VALUE}\n{row['id']},-4\n")
    found = CliRunner().invoke(tell.app, [str(run_folder), str(file)])
    assert found.exit_code == 1
    assert "nothing is written" in found.output
    assert f"answers order {row['id']}" in found.output
    with Store.open(run_folder / "campaign.db", "hand", create=False) as store:
        assert store.lab().order(row["id"]).outcome is None


def test_a_campaign_without_a_lab_says_how_to_get_one(tmp_path: Path) -> None:
    (tmp_path / "known.csv").write_text(f"formula,{VALUE}\nLi2S,-3\nLiCl,-4\n")
    block = FILE[FILE.index("  - kind: lab") : FILE.index("surrogate:")]
    table = "  - {kind: table, file: known.csv, measures: [log_ionic_conductivity]}\n"
    (tmp_path / "no_lab.yaml").write_text(
        FILE.replace(block, table).replace("batch: 2, pool: 8", "batch: 1, pool: 2")
    )
    ended = CliRunner().invoke(campaign.app, [str(tmp_path / "no_lab.yaml"), "--dir", str(tmp_path / "run")])
    assert ended.exit_code == 0, ended.output
    found = CliRunner().invoke(ask.app, [str(tmp_path / "run")])
    assert found.exit_code == 2
    assert "asks no people" in found.output
    assert "{kind: lab, measures: [log_ionic_conductivity]}" in found.output
