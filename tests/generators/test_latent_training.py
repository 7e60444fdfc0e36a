"""The commands that train the latent generator and sample from it, on a small table of simple crystals."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from ase.io import read
from pymatgen.core import Composition, Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from generators.latent import sample, train
from generators.latent.settings import LatentSettings
from materials.base import Crystal
from materials.chemistry import is_charge_balanced
from materials.novelty import Novelty

PAIRS = [(a, b) for a in ("Li", "Na", "K", "Rb") for b in ("F", "Cl", "Br", "I")]


def rows() -> Iterator[dict[str, object]]:
    """Alkali halides as rock salt and as caesium chloride; each fifth is only looked at."""
    for number, (a, b) in enumerate([*PAIRS, *PAIRS]):
        kind, length = ("Fm-3m", 5.5) if number < len(PAIRS) else ("Pm-3m", 3.6)
        structure = Structure.from_spacegroup(kind, Lattice.cubic(length), [a, b], [[0] * 3, [0.5] * 3])
        primitive = structure.get_primitive_structure()
        sites = ";".join(f"{s.specie} " + " ".join(f"{x:.6f}" for x in s.frac_coords) for s in primitive)
        yield {
            "material_id": f"{a}{b}-{kind}",
            "split": "val" if number % 5 == 0 else "train",
            "formula": a + b,
            "cell": " ".join(f"{v:.6f}" for v in primitive.lattice.parameters),
            "sites": sites,
            "band_gap": 3.0 + 0.1 * number,
        }


@pytest.fixture(scope="module", autouse=True)
def _mlflow_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test leaves runs in the folder it is started from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}")
        yield


@pytest.fixture(scope="module", name="trained")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights that hardly learned anything, trained in two goes."""
    folder = tmp_path_factory.mktemp("latent")
    table = folder / "table.csv"
    write(table, list(rows()))
    arguments = [str(table), "--out", str(folder), "--properties", "band_gap", "--steps"]
    first = CliRunner().invoke(train.app, [*arguments, "10"])
    assert first.exit_code == 0, first.output
    second = CliRunner().invoke(train.app, [*arguments, "20"])
    assert second.exit_code == 0, second.output
    assert "\n20: " in second.output
    assert "\n10: " not in second.output
    return folder


def draw(trained: Path, *words: str, number: int = 6) -> tuple[int, str, list[Structure]]:
    out = trained / "new.extxyz"
    out.unlink(missing_ok=True)
    weights = str(trained / "latent.safetensors")
    arguments = ["--weights", weights, "--out", str(out), "-n", str(number), *words]
    result = CliRunner().invoke(sample.app, arguments)
    return result.exit_code, result.output, read(out, ":") if out.exists() else []


def test_what_is_asked_for_is_what_comes(trained: Path) -> None:
    code, told, frames = draw(trained, "--elements", "Li,Na,Cl", "--atoms", "2", "--band-gap", "3")
    assert code == 0, told
    assert len(frames) == 6
    for frame in frames:
        assert set(frame.get_chemical_symbols()) <= {"Li", "Na", "Cl"}
        assert len(frame) == 2


def test_the_number_of_elements_and_charge_balance_are_kept(trained: Path) -> None:
    words = ["--elements", "Li,Na,Cl,O", "--number-of-elements", "2", "--charge-balanced"]
    code, told, frames = draw(trained, *words)
    assert code == 0, told
    assert frames
    for frame in frames:
        composition = Composition(str(frame.symbols))
        assert len(composition) == 2
        assert is_charge_balanced(composition)


def test_equal_seeds_give_equal_crystals(trained: Path) -> None:
    first, second, third = (
        [(str(frame.symbols), frame.cell.tolist()) for frame in draw(trained, "--seed", seed)[2]]
        for seed in ("4", "4", "5")
    )
    assert first == second
    assert first != third


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--elements", "Li,Xx"], "'Xx' is no element"),
        (["--elements", "Li,Cl", "--required", "Na"], "Na is required but not among the allowed elements"),
        (["--atoms", "500"], "none of 256 crystals drawn met the wishes"),
        (["--elements", "Li,Cl", "--number-of-elements", "3"], "3 different elements cannot be had"),
        (["--formula", "NaCl", "--elements", "Li,O"], "NaCl holds Cl, Na, which the other wishes"),
        (["--formula", "NaCl", "--number-of-elements", "3"], "NaCl holds Cl, Na, which the other wishes"),
        (["--elements", "Rf,O"], "knows no Rf"),
        (["--band-gap", "nan"], "band_gap cannot be nan"),
        (["--group", "231"], "space group 231 does not exist"),
        (["--property", "hardness=3"], "these weights know no hardness; they know band_gap"),
    ],
)
def test_an_impossible_wish_is_told(trained: Path, words: list[str], told: str) -> None:
    code, output, frames = draw(trained, *words)
    assert (code, frames) == (2, [])
    assert told in output


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"split": "other"}, "no crystal of at most 20 atoms is left"),
        ({"band_gap": "n/a"}, "band_gap is 'n/a', which is no number"),
        ({"sites": "Na 0 0 x"}, "cell and sites cannot be read"),
        ({"sites": "Na 0 0"}, "no sites can be read in 'Na 0 0'"),
    ],
)
def test_a_table_that_teaches_nothing_is_told(tmp_path: Path, change: dict[str, object], told: str) -> None:
    table = tmp_path / "table.csv"
    write(table, [row | change for row in rows()])
    result = CliRunner().invoke(train.app, [str(table), "--out", str(tmp_path), "--properties", "band_gap"])
    assert result.exit_code == 2, result.output
    assert told in result.output


def test_a_table_without_rows_is_told(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("material_id,cell,sites,split\n")
    result = CliRunner().invoke(train.app, [str(table), "--out", str(tmp_path)])
    assert result.exit_code == 2, result.output
    assert f"{table}: no crystal" in result.output


def test_a_folder_of_other_crystals_is_not_gone_on_with(trained: Path) -> None:
    table = trained / "other.csv"
    write(table, [row | {"sites": str(row["sites"]).replace("Na", "Cs")} for row in rows()])
    arguments = [str(table), "--out", str(trained), "--properties", "band_gap", "--steps", "30"]
    result = CliRunner().invoke(train.app, arguments)
    assert result.exit_code == 2, result.output
    assert "latent.checkpoint: begun with other crystals" in result.output


def write(table: Path, lines: list[dict[str, object]]) -> None:
    with table.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


def test_new_ones_are_possible_different_and_not_known(tmp_path: Path) -> None:
    out = tmp_path / "new.extxyz"
    result = CliRunner().invoke(sample.app, ["--new", "-n", "30", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "0 have formula and symmetry of a known one" in result.output
    crystals = [Crystal(AseAtomsAdaptor.get_structure(frame)) for frame in read(out, ":")]
    assert len(crystals) == 30
    is_new = Novelty()
    assert all(is_new(crystal) for crystal in crystals)


def test_other_files_are_no_weights(trained: Path, tmp_path: Path) -> None:
    broken = tmp_path / "latent.safetensors"
    broken.write_bytes((trained / "latent.safetensors").read_bytes()[:1000])
    result = CliRunner().invoke(sample.app, ["--weights", str(broken), "--out", str(tmp_path / "new.extxyz")])
    assert result.exit_code == 2
    assert "no weights of the latent generator" in result.output


def test_weights_of_another_version_are_refused(trained: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.safetensors"
    with safe_open(trained / "latent.safetensors", framework="pt") as file:
        about = dict(file.metadata()) | {"version": "1"}
    save_file(load_file(trained / "latent.safetensors"), old, metadata=about)
    result = CliRunner().invoke(sample.app, ["--weights", str(old), "--out", str(tmp_path / "new.extxyz")])
    assert result.exit_code == 2
    assert f"{old}: weights of version 1, but this is version 3; train them again" in result.output


def test_a_table_without_the_split_is_refused(trained: Path, tmp_path: Path) -> None:
    arguments = [str(trained / "table.csv"), "--out", str(tmp_path), "--validation", "test"]
    result = CliRunner().invoke(train.app, arguments)
    assert result.exit_code == 2
    assert "name the splits the table has" in result.output


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--elements", ""], "empty list of elements"),
        (["--formula", " "], "empty formula"),
        (["--band-gap", "-1"], "impossible"),
        (["--out", "nowhere/new.extxyz"], "is no folder"),
        (["--out", "new.cif"], "extended XYZ is written"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(sample.app, ["-n", "2", "--out", "new.extxyz", *options])
    assert found.exit_code == 2
    assert reason in " ".join(found.output.split())
    assert list(tmp_path.iterdir()) == []


def test_weights_of_something_else_are_refused_with_the_campaign_file(tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, other, metadata={"kind": "something"})
    for weights, reason in (
        (other, "weights of something else"),
        (tmp_path, "a folder; name the file in it"),
    ):
        with pytest.raises(ValueError, match=reason):
            LatentSettings.model_validate({"kind": "latent", "weights": str(weights)})
