"""Results that cannot be believed: refused as a whole, kept, and explained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lab_folder import answer, asked, lab, names, put, why
from lab_requests import request_for, submitted


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "exchange"
    place.mkdir()
    return place


BAD = {
    "another unit": ("meV", "3.2", "not in 'meV'"),
    "impossible": ("eV", "-40", "impossible"),
    "decimal comma": ("eV", '"3,2"', "decimal comma; write 3.2"),
    "a cell too many": ("eV", "3,2", "decimal comma"),
    "no number": ("eV", "big", "'big' is no number"),
    "not a number": ("eV", "nan", "no number"),
    "infinite": ("eV", "1e999", "finite"),
    "empty": ("eV", "", "value is empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_table_with_one_bad_row_is_refused_as_a_whole(folder: Path, case: str) -> None:
    unit, value, told = BAD[case]
    settings = lab(folder)
    oracle = settings.build()
    good = submitted(oracle, request_for(settings, "MgO"))
    bad = submitted(oracle, request_for(settings, "LiF"))
    text = f"key,property,unit,value\n{good.key},band_gap,eV,7\n{bad.key},band_gap,{unit},{value}\n"
    put(folder, "table.csv", text)
    assert oracle.poll(good) is None
    assert oracle.poll(bad) is None
    assert told in why(folder)
    assert (folder / "refused" / "table.csv").read_text() == text
    put(folder, "table.csv", text.replace(f"{unit},{value}\n", "eV,7\n"))
    assert oracle.poll(good) is not None
    assert oracle.poll(bad) is not None


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.json", b"{", "EOF"),
        ("a.json", b"", "EOF"),
        ("a.json", b"[]", "nothing in it"),
        ("a.json", answer("../../records/x"), "nobody asked"),
        ("a.json", answer("0" * 16), "nobody asked"),
        ("a.json", {**answer("KEY"), "surprise": 1}, "surprise"),
        ("a.json", answer("KEY", "3.2"), "valid number"),
        ("a.json", [answer("KEY"), answer("KEY")], "given twice"),
        ("a.json", {**answer("KEY"), "failure": "melted"}, "both values and a failure"),
        ("a.json", {"key": "KEY"}, "neither a value nor a failure"),
        ("a.csv", "key;value;unti\nKEY;3;eV", "'unti' is unknown"),
        ("a.csv", "key,property,value,unit\nKEY,band_gap,3,eV\nKEY,band_gap,4,eV", "given twice"),
        ("a.csv", "key,property,value,unit\nKEY,band_gap,3,eV".encode("utf-16"), "UTF-8"),
        ("a.xlsx", b"PK", "neither .json nor .csv"),
        ("a.json", b" " * 5_000_001, "larger than"),
    ],
)
def test_what_cannot_be_believed_is_kept_aside_with_the_reason(
    folder: Path, name: str, content: object, told: str
) -> None:
    oracle, ticket = asked(lab(folder))
    if not isinstance(content, bytes):
        text = content if isinstance(content, str) else json.dumps(content)
        content = text.replace("KEY", ticket.key)
    file = put(folder, name, content)
    before = file.read_bytes()
    assert oracle.poll(ticket) is None
    assert told in why(folder)
    assert (folder / "refused" / name).read_bytes() == before
    assert names(folder / "results") == []


def test_refused_files_of_one_name_do_not_overwrite_each_other(folder: Path) -> None:
    oracle, ticket = asked(lab(folder))
    for content in ("one", "two"):
        put(folder, "a.json", content)
        assert oracle.poll(ticket) is None
    assert names(folder / "refused") == ["a-2.json", "a-2.json.why.txt", "a.json", "a.json.why.txt"]
