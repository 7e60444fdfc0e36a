"""Neural-network potentials: loading a SevenNet model once per process, and evaluating structures in batches.

SevenNet: Park, Kim, Hwang, Han, J. Chem. Theory Comput. 2024, 20, 4857 (doi:10.1021/acs.jctc.4c00190).
torch and sevenn are imported on first use, so this module is cheap to import.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Element, Structure

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

# The checkpoints inside the sevenn 0.13 wheel: folder and file below sevenn/pretrained_potentials.
SHIPPED = {
    "7net-0": "SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth",
    "7net-0_22may2024": "SevenNet_0__22May2024/checkpoint_sevennet_0.pth",
    "7net-l3i5": "SevenNet_l3i5/checkpoint_l3i5.pth",
    "7net-mf-0": "SevenNet_MF_0/checkpoint_sevennet_mf_0.pth",
}
# All of them learned from the Materials Project: the elements from H to Pu without these.
LAST_ELEMENT = 94
UNTRAINED = frozenset({"Po", "At", "Rn", "Fr", "Ra"})
# A multi-fidelity model needs a modal; the Materials Project's PBE is what the reference hull speaks.
DEFAULT_MODAL = "PBE"
WITH_MODALS = ("7net-mf-0",)
# Large enough to spread each operation's fixed cost, small enough to stay in the cache (measured on one
# core).
ATOMS_PER_BATCH = 128


class UnsupportedElementError(ValueError):
    """A structure holds elements the potential was not trained on."""

    def __init__(self, elements: Sequence[str], potential: str, formula: str) -> None:
        self.elements = tuple(elements)
        super().__init__(
            f"{formula}: the potential {potential} does not know {', '.join(elements)}; "
            "leave these elements out of the space or choose another potential"
        )


class UntrustedPotentialError(ValueError):
    """A checkpoint file without the matching sha256: loading it would run the code it contains."""


def untrained_elements(name: str, symbols: Iterable[str]) -> list[str]:
    """Those of `symbols` that the shipped potential `name` was not trained on, without loading it."""
    if name.partition(":")[0].lower() not in SHIPPED:
        raise ValueError(f"potential {name!r} is none of the shipped ones: {', '.join(SHIPPED)}")
    return [symbol for symbol in symbols if symbol in UNTRAINED or Element(symbol).Z > LAST_ELEMENT]


@dataclass(frozen=True)
class PotentialEvaluation:
    """What one pass over a list of structures gave, in the order of the list.

    energies_per_atom: [n], eV/atom, uncorrected. features: [n, 2 * layers * channels] (1280 for SevenNet-0):
    mean, then population standard deviation over the atoms, of the scalar channels after each equivariant
    gate.
    """

    energies_per_atom: NDArray[np.float64]
    features: NDArray[np.float32] | None = None


class Potential:
    """A loaded SevenNet model. Make one with `load_potential`; it is not safe to share between threads."""

    def __init__(
        self, name: str, version: str, model: Any, energy_model: Any, modal: str | None, device: str
    ) -> None:
        self.name = name
        self.version = version
        self.modal = modal
        self.device = device
        self._model = model
        self._energy_model = energy_model
        self.elements: frozenset[str] = _symbols(model.type_map)

    def __repr__(self) -> str:
        return f"Potential({self.name!r}, version={self.version!r})"

    def calculator(self) -> Calculator:
        """A new ASE calculator (energy, forces, stress) on this model's weights."""
        from sevenn.calculator import SevenNetCalculator

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No tensor product accelerator")
            calculator: Calculator = SevenNetCalculator(
                self._model, file_type="model_instance", device=self.device, modal=self.modal
            )
        return calculator

    def check_elements(self, structure: Structure) -> None:
        """Raises UnsupportedElementError where the structure holds an element outside the training set."""
        unknown = sorted({element.symbol for element in structure.composition.elements} - self.elements)
        if unknown:
            raise UnsupportedElementError(unknown, self.name, structure.composition.reduced_formula)

    def evaluate(
        self,
        structures: Sequence[Structure],
        features: bool = False,
        max_atoms_per_batch: int = ATOMS_PER_BATCH,
    ) -> PotentialEvaluation:
        """Energies (eV/atom) and, if asked, features of ordered structures, without forces.

        A batch holds at most max_atoms_per_batch atoms, or one structure that is larger; the batching does
        not change the values. Raises UnsupportedElementError, and ValueError for a structure with partial
        occupancies.
        """
        for structure in structures:
            self.check_elements(structure)
            if not structure.is_ordered:
                raise ValueError(
                    f"{structure.formula}: partial occupancies have no energy; order the structure first"
                )
        from materials.sevennet import evaluate

        energies, pooled = [np.zeros(0)], [np.zeros((0, self.number_of_features), np.float32)]
        for batch in _batches(structures, max_atoms_per_batch):
            atoms = [to_atoms(structure) for structure in batch]
            energy, scalars = evaluate(self._energy_model, atoms, self.modal, self.device, features)
            energies.append(energy.numpy())
            if scalars is not None:
                pooled.append(scalars.numpy())
        return PotentialEvaluation(np.concatenate(energies), np.concatenate(pooled) if features else None)

    @property
    def number_of_features(self) -> int:
        """Columns of the feature matrix: two moments of the scalar channels after every gate."""
        from materials.sevennet import scalar_channels

        gates = [
            module for key, module in self._energy_model._modules.items() if key.endswith("_equivariant_gate")
        ]
        return 2 * sum(scalar_channels(gate) for gate in gates)


@lru_cache(maxsize=4)
def load_potential(name: str = "7net-0", sha256: str | None = None, device: str = "auto") -> Potential:
    """The potential of that name, loaded once per process.

    name: one of the checkpoints in the sevenn wheel (keys of SHIPPED), optionally `name:modal` for a
    multi-fidelity model (7net-mf-0 alone means 7net-mf-0:PBE), or the path of a checkpoint file with its
    sha256 (hexadecimal). device: auto, cpu or cuda. Raises UntrustedPotentialError for a file whose sha256 is
    missing or different, FileNotFoundError and ValueError for an unknown name or modal.
    """
    import torch
    from sevenn.util import load_checkpoint

    from materials.sevennet import energy_model, rearrange

    base, modal = _split(name)
    path, digest = _locate(base, sha256)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint = load_checkpoint(str(path))
        model = checkpoint.build_model()
        complete = deepcopy(model)  # building it once more takes three times as long
    default = DEFAULT_MODAL if base.lower() in WITH_MODALS else ""
    modal_name = _modal(base, modal or default, model.modal_map)
    model.set_is_batch_data(False)
    version = _version(path, digest, modal_name)
    return Potential(
        name, version, rearrange(model, device), energy_model(complete, device), modal_name, device
    )


def potential_version(name: str = "7net-0", sha256: str | None = None) -> str:
    """The `version` of the potential that `load_potential` would load, without loading it (no torch).

    Raises as `load_potential` does for a name or file that cannot be used.
    """
    base, modal = _split(name)
    path, digest = _locate(base, sha256)
    if base.lower() in WITH_MODALS:
        modal = modal.upper() or DEFAULT_MODAL
    return _version(path, digest, modal or None)


def _split(name: str) -> tuple[str, str]:
    """(name or path, modal); the modal is empty where none is written."""
    base, _, modal = name.partition(":") if not Path(name).exists() else (name, "", "")
    return base, modal


def _version(path: Path, digest: str, modal: str | None) -> str:
    return f"{path.parent.name}/{path.name}#{digest[:12]}" + (f":{modal}" if modal else "")


def _locate(name: str, sha256: str | None) -> tuple[Path, str]:
    """The checkpoint's path and sha256; a file outside the wheel must come with the right sha256."""
    if name.lower() in SHIPPED:
        # Importing sevenn would import torch, which only finding it does not.
        package = find_spec("sevenn")
        if package is None or package.origin is None:
            raise FileNotFoundError(
                "the package sevenn is not installed; install matloop's dependencies again"
            )
        path = Path(package.origin).parent / "pretrained_potentials" / SHIPPED[name.lower()]
        return path, _digest(path)
    path = Path(name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"potential {name!r}: neither a shipped name ({', '.join(SHIPPED)}) nor a checkpoint file"
        )
    digest = _digest(path)
    if sha256 is None or sha256.lower() != digest:
        found = "no sha256 is given" if sha256 is None else f"its sha256 is not the given {sha256}"
        raise UntrustedPotentialError(
            f"potential {path}: {found}. Loading a checkpoint runs the code inside it (a pickle), so load only "
            f"files you trust; if you trust this one, add  sha256: {digest}"
        )
    return path, digest


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _modal(name: str, modal: str, modal_map: dict[str, int] | None) -> str | None:
    if not modal_map:
        if modal:
            raise ValueError(f"potential {name}: it has no modals, so leave out ':{modal}'")
        return None
    by_lower = {known.lower(): known for known in modal_map}
    if modal.lower() not in by_lower:
        raise ValueError(
            f"potential {name}: unknown modal {modal!r}; write {name}:MODAL with one of {sorted(modal_map)}"
        )
    return by_lower[modal.lower()]


def _symbols(type_map: dict[int, int]) -> frozenset[str]:
    from ase.data import chemical_symbols

    return frozenset(chemical_symbols[number] for number in type_map)


def _batches(structures: Sequence[Structure], max_atoms: int) -> Iterator[list[Structure]]:
    batch: list[Structure] = []
    for structure in structures:
        if batch and sum(map(len, batch)) + len(structure) > max_atoms:
            yield batch
            batch = []
        batch.append(structure)
    if batch:
        yield batch


def to_atoms(structure: Structure) -> Atoms:
    """The structure as periodic ASE atoms: species, cell, positions, and `magmom` where sites have it."""
    from ase import Atoms

    numbers = [site.specie.Z for site in structure]
    moments = [site.properties.get("magmom") or 0.0 for site in structure]
    return Atoms(
        numbers=numbers,
        positions=structure.cart_coords,
        cell=structure.lattice.matrix,
        pbc=True,
        magmoms=[float(moment) for moment in moments] if any(moments) else None,
    )
