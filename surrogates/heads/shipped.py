"""The heads that come with matloop: one on the structure and one on the formula alone for each property."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from materials.base import Composition, Crystal, Material
from surrogates.descriptors import Descriptor, DescriptorSettings
from surrogates.heads.base import Head, HeadError

Basis = Literal["structure", "composition"]
WEIGHTS = Path(str(files("surrogates"))) / "heads" / "weights"
DESCRIPTORS: dict[Basis, DescriptorSettings] = {
    "structure": DescriptorSettings(kind="union"),
    "composition": DescriptorSettings(kind="composition"),
}
PROPERTIES = ("band_gap", "formation_energy")


def file_name(name: str, basis: Basis) -> str:
    """The file of a property's weights."""
    return f"{name}_{basis}.safetensors"


def judged_by(material: Material) -> tuple[Material, Basis]:
    """An ordered crystal by its structure, anything else by its formula: what to describe, and the basis."""
    if isinstance(material, Crystal) and material.is_ordered:
        return material, "structure"
    return Composition(material.formula), "composition"


@cache
def shipped_descriptor(basis: Basis) -> Descriptor:
    """The descriptor of a basis, built once per process."""
    return DESCRIPTORS[basis].build()


@cache
def shipped_head(name: str, basis: Basis) -> Head:
    """The head of a property, loaded once per process.

    Raises ValueError for a property without one, and HeadError for weights of another version.
    """
    from surrogates.heads.band_gap import BandGapHead
    from surrogates.heads.formation_energy import FormationEnergyHead

    heads = {head.property: head for head in (BandGapHead, FormationEnergyHead)}
    if name not in heads:
        raise ValueError(f"no head for {name!r} ships; there is one for {', '.join(PROPERTIES)}")
    path = WEIGHTS / file_name(name, basis)
    head = heads[name].load(path)
    if head.descriptor != DESCRIPTORS[basis].version:
        raise HeadError(
            f"{path}: made for descriptor {head.descriptor}, but this version of matloop computes "
            f"{DESCRIPTORS[basis].version}; install matloop again"
        )
    return head
