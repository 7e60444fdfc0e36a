"""SevenNet checkpoints: finding the file a name means, trusting it, and its version. Imports neither torch nor sevenn.

sevenn reads a checkpoint as a pickle, which runs the code inside it. The files of sevenn's own names come from its
authors; any other file must be named together with its sha256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from pymatgen.core import Element


@dataclass(frozen=True)
class Pretrained:
    """A model of sevenn: its file below the folder of checkpoints, and its modals, first the one to take unasked.

    The reference hull speaks the Materials Project's PBE, so that modal (or the one that learned it) is first.
    """

    file: str
    modals: tuple[str, ...] = ()


# The modals as sevenn 0.13 documents them (sevenn.calculator.SevenNetCalculator).
_OMNI = (
    *("mpa", "omat24", "matpes_pbe", "matpes_r2scan", "mp_r2scan", "oc20", "oc22", "odac23"),
    *("omol25_low", "omol25_high", "spice", "qcml", "pet_mad"),
)
SHIPPED = {
    "7net-0": Pretrained("SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth"),
    "7net-0_22may2024": Pretrained("SevenNet_0__22May2024/checkpoint_sevennet_0.pth"),
    "7net-l3i5": Pretrained("SevenNet_l3i5/checkpoint_l3i5.pth"),
    "7net-mf-0": Pretrained("SevenNet_MF_0/checkpoint_sevennet_mf_0.pth", ("PBE", "R2SCAN")),
}
"""The models inside the sevenn wheel."""
DOWNLOADED = {
    "7net-mf-ompa": Pretrained("SevenNet_MF_ompa/checkpoint_sevennet_mf_ompa.pth", ("mpa", "omat24")),
    "7net-omat": Pretrained("SevenNet_omat/checkpoint_sevennet_omat.pth"),
    "7net-omni": Pretrained("SevenNet_omni/checkpoint_sevennet_omni.pth", _OMNI),
    "7net-omni-i8": Pretrained("SevenNet_omni_i8/checkpoint_sevennet_omni_i8.pth", _OMNI),
    "7net-omni-i12": Pretrained("SevenNet_omni_i12/checkpoint_sevennet_omni_i12.pth", _OMNI),
}
"""The models that sevenn downloads when they are first used."""
PRETRAINED = SHIPPED | DOWNLOADED
# The shipped ones learned from the Materials Project: the elements from H to Pu without these.
LAST_ELEMENT = 94
TORCH_STARTS = (b"PK\x03\x04", b"\x80")
"""How files of torch begin: a zip archive, or a pickle of torch before 1.6."""
UNTRAINED = frozenset({"Po", "At", "Rn", "Fr", "Ra"})


class UntrustedPotentialError(ValueError):
    """A checkpoint file without the matching sha256: loading it would run the code it contains."""


class NoCheckpointError(ValueError):
    """A file that holds no model of SevenNet."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file that may be loaded. `modal` is as written, empty where none is; its case means nothing."""

    name: str
    path: Path
    sha256: str
    modal: str

    @property
    def version(self) -> str:
        """Changes whenever the energies would, and not with the name or place of the file."""
        modal = f":{self.modal.lower()}" if self.modal else ""
        return f"{_label(self.path, self.sha256)}#{self.sha256[:12]}{modal}"


def find_checkpoint(name: str, sha256: str | None = None) -> Checkpoint:
    """The checkpoint of `name`, or of `name:modal` for a multi-fidelity model.

    name: one of PRETRAINED, downloaded by sevenn to its own place where it is not there yet, or the path of a file
    with its sha256 (hexadecimal). Raises UntrustedPotentialError for a sha256 that is missing or different,
    FileNotFoundError for an unknown name or a download that fails, ValueError for an unknown modal, and
    NoCheckpointError for a file that torch cannot have written.
    """
    base, modal = split_modal(name)
    known = PRETRAINED.get(base.lower())
    if known is None:
        path = _own_file(base)
        digest = _digest(path)
        _require_trusted(path, digest, sha256)
        _require_torch(path)
        return Checkpoint(name, path, digest, modal)
    modal = modal or next(iter(known.modals), "")
    if modal and modal.lower() not in {other.lower() for other in known.modals}:
        raise ValueError(f"potential {base}: {_wrong_modal(base, modal, known.modals)}")
    path = _pretrained_file(base.lower(), known)
    digest = _digest(path)
    if sha256 is not None:
        _require_trusted(path, digest, sha256)
    return Checkpoint(name, path, digest, modal)


def _label(path: Path, sha256: str) -> str:
    """What sevenn calls a checkpoint of its own, or a copy of one that ships; others go by their hash alone."""
    own = next(
        (known.file for known in PRETRAINED.values() if path.as_posix().endswith(f"/{known.file}")), None
    )
    return own or next((file for file, digest in _shipped_digests() if digest == sha256), "checkpoint")


@lru_cache(maxsize=1)
def _shipped_digests() -> tuple[tuple[str, str], ...]:
    return tuple((known.file, _digest(_pretrained_file(name, known))) for name, known in SHIPPED.items())


def potential_version(name: str = "7net-0", sha256: str | None = None) -> str:
    """The `version` of the potential that `load_potential` would load, without loading it (no torch).

    Raises as `find_checkpoint` does.
    """
    return find_checkpoint(name, sha256).version


def is_pretrained(name: str) -> bool:
    """Whether `name`, with or without a modal, is one of sevenn's own."""
    return split_modal(name)[0].lower() in PRETRAINED


def untrained_elements(name: str, symbols: Iterable[str]) -> list[str]:
    """Those of `symbols` that the shipped potential `name` was not trained on, without loading it."""
    if split_modal(name)[0].lower() not in SHIPPED:
        raise ValueError(f"potential {name!r} is none of the shipped ones: {', '.join(SHIPPED)}")
    return [symbol for symbol in symbols if symbol in UNTRAINED or Element(symbol).Z > LAST_ELEMENT]


def split_modal(name: str) -> tuple[str, str]:
    """(name or path, modal); the modal is empty where none is written."""
    if Path(name).exists():
        return name, ""
    base, colon, modal = name.rpartition(":")
    return (base, modal) if colon else (name, "")


def modal_of(name: str, modal: str, known: Iterable[str]) -> str | None:
    """The modal as the model writes it; None for a model without any. Raises ValueError naming the known ones."""
    by_lower = {other.lower(): other for other in known}
    if not by_lower and not modal:
        return None
    if modal.lower() not in by_lower:
        raise ValueError(f"potential {name}: {_wrong_modal(name, modal, sorted(by_lower.values()))}")
    return by_lower[modal.lower()]


def _wrong_modal(name: str, modal: str, known: Iterable[str]) -> str:
    names = ", ".join(known)
    if not names:
        return f"it has no modals, so leave out ':{modal}'"
    return f"unknown modal {modal!r}; write {name}:MODAL with one of {names}"


def _own_file(name: str) -> Path:
    path = Path(name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"potential {name!r}: neither a name of SevenNet ({', '.join(PRETRAINED)}) nor a checkpoint file"
        )
    return path


def _pretrained_file(name: str, known: Pretrained) -> Path:
    # Importing sevenn would import torch, which only finding it does not.
    package = find_spec("sevenn")
    if package is None or package.origin is None:
        raise FileNotFoundError("the package sevenn is not installed; install matloop's dependencies again")
    places = (
        Path(package.origin).parent / "pretrained_potentials" / known.file,
        Path.home() / ".cache" / "sevennet" / known.file,
    )
    found = next((place for place in places if place.is_file()), None)
    return found or _download(name, places[1])


def _download(name: str, place: Path) -> Path:
    """Lets sevenn fetch a model to where it looks for it."""
    from sevenn.util import pretrained_name_to_path

    try:
        return Path(pretrained_name_to_path(name))
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        raise FileNotFoundError(
            f"potential {name}: it could not be downloaded ({type(error).__name__}); connect this machine to the "
            f"internet, or fetch {place.name} from the releases of github.com/MDIL-SNU/SevenNet elsewhere and put it "
            f"at {place}, or name one that is here: {', '.join(SHIPPED)}"
        ) from error


def _require_trusted(path: Path, digest: str, sha256: str | None) -> None:
    if sha256 is None or sha256.lower() != digest:
        found = "no sha256 is given" if sha256 is None else f"its sha256 is not the given {sha256}"
        raise UntrustedPotentialError(
            f"potential {path}: {found}. Loading a checkpoint runs the code inside it (a pickle), so load only "
            f"files you trust; if you trust this one, add  sha256: {digest}"
        )


def _require_torch(path: Path) -> None:
    """Raises NoCheckpointError for what torch cannot have written."""
    with path.open("rb") as handle:
        start = handle.read(max(map(len, TORCH_STARTS)))
    if not start.startswith(TORCH_STARTS):
        raise no_checkpoint(path, "no file that torch wrote" if start else "it is empty")


def no_checkpoint(path: Path, found: str) -> NoCheckpointError:
    """The error that names the file, what was found in it, and the way out."""
    return NoCheckpointError(
        f"potential {path}: not a SevenNet checkpoint, {found}; copy or download it again, or name one that "
        f"sevenn's training wrote (checkpoint_best.pth)"
    )


def _digest(path: Path) -> str:
    status = path.stat()
    return _digest_of(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=16)
def _digest_of(path: Path, modified: int, size: int) -> str:
    """Kept, because a model may be hundreds of megabytes and its version is asked for often."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
