"""Which file a SevenNet name means, whether it is trusted, and what is said where it cannot be had."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest
from sevenn.util import get_available_pretrained_models

from materials.checkpoints import (
    DOWNLOADED,
    PRETRAINED,
    SHIPPED,
    NoCheckpointError,
    UntrustedPotentialError,
    find_checkpoint,
    potential_version,
)
from materials.potential import load_potential

MULTI_FIDELITY = "7net-mf-0"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without checkpoints, on a machine whose network ends at a closed port."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    return tmp_path


def test_the_names_are_all_that_sevenn_has() -> None:
    assert sorted(PRETRAINED) == sorted(get_available_pretrained_models())


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_models_have_the_modals_that_are_written_down(name: str) -> None:
    modals = SHIPPED[name].modals
    assert load_potential(name, device="cpu").modal == next(iter(modals), None)
    for modal in modals:
        assert load_potential(f"{name}:{modal.lower()}", device="cpu").modal == modal


@pytest.mark.parametrize("name", DOWNLOADED)
def test_a_download_that_fails_says_where_to_put_the_file(home: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError) as failed:
        find_checkpoint(name)
    place = home / ".cache" / "sevennet" / DOWNLOADED[name].file
    assert f"put it at {place}" in str(failed.value)
    assert "or name one that is here: 7net-0" in str(failed.value)


def test_a_file_put_there_is_found_and_its_modal_counts(home: Path) -> None:
    place = home / ".cache" / "sevennet" / DOWNLOADED["7net-mf-ompa"].file
    place.parent.mkdir(parents=True)
    shutil.copy(find_checkpoint(MULTI_FIDELITY).path, place)
    unasked, named = find_checkpoint("7net-mf-ompa"), find_checkpoint("7NET-MF-OMPA:OMAT24")
    assert unasked.path == named.path == place
    assert unasked.version.endswith(":mpa")
    assert named.version.endswith(":omat24")
    with pytest.raises(UntrustedPotentialError, match="is not the given"):
        find_checkpoint("7net-mf-ompa", "0" * 64)
    with pytest.raises(
        ValueError, match="unknown modal 'PBE'; write 7net-mf-ompa:MODAL with one of mpa, omat24"
    ):
        find_checkpoint("7net-mf-ompa:PBE")


def test_a_checkpoint_file_may_have_modals(tmp_path: Path) -> None:
    shipped = find_checkpoint(MULTI_FIDELITY)
    mine = Path(shutil.copy(shipped.path, tmp_path / "mine.pth"))
    potential = load_potential(f"{mine}:r2scan", shipped.sha256, device="cpu")
    assert potential.modal == "R2SCAN"
    assert potential.version == potential_version(f"{mine}:R2SCAN", shipped.sha256)
    with pytest.raises(ValueError, match=r"unknown modal ''; write .*mine.pth:MODAL with one of PBE, R2SCAN"):
        load_potential(str(mine), shipped.sha256, device="cpu")


def test_the_version_follows_a_file_that_changes(tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    versions = set()
    for content in (b"PK\x03\x04 weights", b"PK\x03\x04 other weights"):
        path.write_bytes(content)
        with pytest.raises(UntrustedPotentialError) as refused:
            find_checkpoint(str(path))
        versions.add(find_checkpoint(str(path), str(refused.value).rsplit(" ", 1)[1]).version)
    assert len(versions) == 2


def test_a_copy_is_the_same_potential_wherever_it_lies(tmp_path: Path) -> None:
    shipped = find_checkpoint("7net-0")
    copies = [tmp_path / "here" / "mine.pth", tmp_path / "there" / "yours.pth"]
    for copy in copies:
        copy.parent.mkdir()
        shutil.copy(shipped.path, copy)
    assert {potential_version(str(copy), shipped.sha256) for copy in copies} == {shipped.version}
    own = tmp_path / "own.pth"
    own.write_bytes(b"PK\x03\x04 another model")
    moved = tmp_path / "here" / "own.pth"
    shutil.copy(own, moved)
    digest = hashlib.sha256(b"PK\x03\x04 another model").hexdigest()
    assert potential_version(str(own), digest) == potential_version(str(moved), digest)


def test_an_archive_without_a_model_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no weights")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(
        NoCheckpointError, match=r"mine.pth: not a SevenNet checkpoint, sevenn cannot read it"
    ):
        load_potential(str(path), digest, device="cpu")
