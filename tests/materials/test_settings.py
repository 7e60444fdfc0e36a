"""Blocks of a campaign file: strict, with a fingerprint of what decides results."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from materials.properties import property_named
from materials.settings import InputPath, Settings


class Inner(Settings):
    values: tuple[float, ...] = (1.0, 2.0)


class Block(Settings):
    inner: Inner = Inner()
    path: InputPath | None = None
    number: float = 1.0


def test_an_unknown_key_is_refused_with_its_place() -> None:
    with pytest.raises(ValidationError, match=r"inner\.valuse"):
        Block.model_validate({"inner": {"valuse": [1]}})


def test_numbers_are_finite() -> None:
    with pytest.raises(ValidationError, match="finite"):
        Block(number=float("nan"))


def test_relative_paths_are_found_beside_the_campaign_file(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("x")
    block = Block.model_validate({"path": "data.csv"}, context={"folder": tmp_path})
    assert block.path == tmp_path.resolve() / "data.csv"
    with pytest.raises(ValidationError, match=r"no such file or folder: other\.csv"):
        Block.model_validate({"path": "other.csv"}, context={"folder": tmp_path})


def test_the_fingerprint_follows_content_not_place(tmp_path: Path) -> None:
    first, second, third = tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "c.csv"
    first.write_text("same")
    second.write_text("same")
    third.write_text("different")
    assert Block(path=first).fingerprint() == Block(path=second).fingerprint()
    assert Block(path=first).fingerprint() != Block(path=third).fingerprint()
    assert Block().fingerprint() != Block(number=2.0).fingerprint()


def test_a_folder_counts_by_the_names_and_content_below_it(tmp_path: Path) -> None:
    def folder(name: str, files: dict[str, str]) -> str:
        for file, text in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Block(path=tmp_path / name).fingerprint()

    original = folder("a", {"x.cif": "1", "deep/y.cif": "2"})
    assert folder("b", {"x.cif": "1", "deep/y.cif": "2"}) == original
    assert folder("c", {"x.cif": "2", "deep/y.cif": "1"}) != original
    assert folder("d", {"x.cif": "1", "y.cif": "2"}) != original


def test_a_misspelt_property_names_the_nearest() -> None:
    assert property_named("band_gap").unit == "eV"
    with pytest.raises(ValueError, match="did you mean 'band_gap'"):
        property_named("bandgap")
