"""The heads that come with matloop: one on the structure and one on the formula alone for each property."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from materials.base import Composition, Crystal, Material
from surrogates.conduction_columns import ConductionDescriptor
from surrogates.descriptors import Descriptor, DescriptorSettings
from surrogates.heads.base import Head, HeadError

if TYPE_CHECKING:
    from surrogates.heads.hse import HseCorrection
    from surrogates.starting_energy import StartingEnergyModel

Basis = Literal["structure", "composition"]
Level = Literal["PBE", "HSE"]
"""What a prediction imitates."""
WEIGHTS = Path(str(files("surrogates"))) / "heads" / "weights"
DESCRIPTORS: dict[Basis, DescriptorSettings] = {
    "structure": DescriptorSettings(kind="union"),
    "composition": DescriptorSettings(kind="composition"),
}
"""Of the networks; the conductivity head has its own columns, see `descriptor_of`."""
CONDUCTIVITY = "log_ionic_conductivity"
PROPERTIES = ("band_gap", "formation_energy", CONDUCTIVITY)
LEARNED_AS: dict[Level, str] = {"PBE": "learned", "HSE": "learned_HSE"}
"""The fidelity of a prediction that imitates a level: never that level's own."""
CORRECTED = ("band_gap",)
"""Properties that can be told at the level HSE."""
HSE_CORRECTION = "band_gap_HSE.safetensors"
STARTING_ENERGY = "starting_energy.safetensors"


def file_name(name: str, basis: Basis) -> str:
    """The file of a property's weights."""
    return f"{name}_{basis}.safetensors"


def judged_by(material: Material, name: str) -> tuple[Material, Basis]:
    """What the head of a property describes, and the basis.

    An ordered crystal by its structure, anything else by its formula; the conductivity head takes a crystal with
    partial occupancies with its cell, too.
    """
    if isinstance(material, Crystal) and (material.is_ordered or name == CONDUCTIVITY):
        return material, "structure"
    return Composition(material.formula), "composition"


def basis_told(judged: Material, basis: Basis) -> str:
    """The basis as it is recorded beside a prediction: a structure with partial occupancies is named as such."""
    disordered = isinstance(judged, Crystal) and not judged.is_ordered
    return f"disordered {basis}" if disordered else basis


@cache
def shipped_descriptor(basis: Basis) -> Descriptor:
    """The descriptor of a basis, built once per process."""
    return DESCRIPTORS[basis].build()


@cache
def conduction_descriptor(basis: Basis) -> ConductionDescriptor:
    """What the conductivity head of a basis sees."""
    return ConductionDescriptor(basis)


def descriptor_of(name: str, basis: Basis) -> Descriptor:
    """The descriptor that the head of a property reads; properties that share one get the same object."""
    return conduction_descriptor(basis) if name == CONDUCTIVITY else shipped_descriptor(basis)


def weight_files(name: str, level: Level = "PBE") -> list[Path]:
    """Every file that a property's predictions at a level rest on."""
    found = [WEIGHTS / file_name(name, basis) for basis in DESCRIPTORS]
    return found if level == "PBE" else [*found, WEIGHTS / HSE_CORRECTION]


@cache
def weights_digest(names: tuple[str, ...], level: Level = "PBE") -> str:
    """Names the weights that the predictions of these properties at a level rest on."""
    digest = hashlib.sha256()
    for name in names:
        for path in weight_files(name, level):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def shipped_head(name: str, basis: Basis, level: Level = "PBE") -> Head:
    """The head of a property, loaded once per process.

    Raises ValueError for a property without one at that level, and HeadError for weights of another version.
    """
    from surrogates.heads.band_gap import BandGapHead
    from surrogates.heads.formation_energy import FormationEnergyHead
    from surrogates.heads.hse import HseGapHead
    from surrogates.heads.ionic_conductivity import IonicConductivityHead

    heads = {head.property: head for head in (BandGapHead, FormationEnergyHead, IonicConductivityHead)}
    if name not in heads:
        raise ValueError(f"no head for {name!r} ships; there is one for {', '.join(PROPERTIES)}")
    if level == "HSE" and name not in CORRECTED:
        raise ValueError(f"no correction to {level} ships for {name!r}; there is one for band_gap")
    path = WEIGHTS / file_name(name, basis)
    head = heads[name].load(path)
    conducts = name == CONDUCTIVITY
    computed = conduction_descriptor(basis).version if conducts else DESCRIPTORS[basis].version
    _same_descriptor(path, head.descriptor, computed)
    if isinstance(head, BandGapHead) and level == "HSE":
        return HseGapHead(head, hse_correction(), basis)
    return head


@cache
def hse_correction() -> HseCorrection:
    """The correction of PBE gaps to HSE, loaded once per process. Raises HeadError for weights of another version."""
    from surrogates.heads.hse import HseCorrection

    path = WEIGHTS / HSE_CORRECTION
    correction = HseCorrection.load(path)
    _same_descriptor(path, correction.descriptor, HseCorrection.version)
    return correction


@cache
def starting_energy_model() -> StartingEnergyModel:
    """From single points to relaxed energies, loaded once per process. Raises HeadError for other weights."""
    from surrogates.starting_energy import StartingEnergyModel

    path = WEIGHTS / STARTING_ENERGY
    model = StartingEnergyModel.load(path)
    _same_descriptor(path, model.descriptor, DESCRIPTORS["structure"].version)
    return model


def _same_descriptor(path: Path, found: str, computed: str) -> None:
    if found != computed:
        raise HeadError(
            f"{path}: made for descriptor {found}, but this version of matloop computes {computed}; "
            "install matloop again"
        )
