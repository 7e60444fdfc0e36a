"""The list of formulas to leave out."""

from __future__ import annotations

from pathlib import Path

import pytest

from materials.leave_out import LeaveOutError, left_out


def test_formulas_are_reduced(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("material_id,reduced_formula\nm,Na4Cl4\nn,NaN\n")
    assert left_out(tmp_path / "out.csv") == {"NaCl", "NaN"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"formula\nNaCl\n", r"out\.csv: no column reduced_formula"),
        (b"", r"out\.csv: no column reduced_formula"),
        (b"reduced_formula\nNaCl\nNaXx\n", r"out\.csv, row 3: 'NaXx' is no formula"),
        (b"material_id,reduced_formula\nm,\n", r"out\.csv, row 2: '' is no formula"),
        (b"\xfd7zXZ\x00\xff", r"out\.csv: no CSV table"),
    ],
)
def test_what_is_no_list_is_named(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "out.csv").write_bytes(content)
    with pytest.raises(LeaveOutError, match=told):
        left_out(tmp_path / "out.csv")
