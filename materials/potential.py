"""SevenNet potentials: loading a model once per process, and evaluating structures in batches.

SevenNet: Park, Kim, Hwang, Han, J. Chem. Theory Comput. 2024, 20, 4857 (doi:10.1021/acs.jctc.4c00190).
torch and sevenn are imported on first use, so this module is cheap to import.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from materials.calculators import UnsupportedElementError
from materials.checkpoints import find_checkpoint, modal_of, no_checkpoint
from materials.memory import is_out_of_memory

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

# Large enough to spread each operation's fixed cost, small enough to stay in the cache (measured on one
# core).
ATOMS_PER_BATCH = 128


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

    def batched(self) -> Any:
        """A torch-sim model (energy, forces, stress of many cells at once) on a copy of these weights.

        It computes in single precision, as the ASE calculator does, and is told places in double. Raises ImportError
        where torch-sim is not installed.
        """
        from sevenn.torchsim import Float64Wrapper, SevenNetModel

        return Float64Wrapper(SevenNetModel(deepcopy(self._model), modal=self.modal, device=self.device))

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


def has_gpu() -> bool:
    """Whether torch finds a GPU; imports torch."""
    import torch

    return bool(torch.cuda.is_available())


def load_potential(name: str = "7net-0", sha256: str | None = None, device: str = "auto") -> Potential:
    """The potential of that name, loaded once per process.

    name: as `materials.checkpoints.find_checkpoint` takes it: a name of SevenNet or a checkpoint file with its sha256,
    either with `:modal` for a multi-fidelity model (7net-mf-0 alone means 7net-mf-0:PBE). device: auto, cpu or cuda.
    Raises as `find_checkpoint` does, ValueError for a modal that the model does not have, and NoCheckpointError for a
    file in which sevenn finds no model.
    """
    if device == "auto":
        device = "cuda" if has_gpu() else "cpu"
    return _load(name, sha256, device)


@lru_cache(maxsize=4)
def _load(name: str, sha256: str | None, device: str) -> Potential:
    from sevenn.util import load_checkpoint

    from materials.sevennet import energy_model, rearrange

    found = find_checkpoint(name, sha256)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = load_checkpoint(str(found.path)).build_model()
        except (MemoryError, OSError):
            raise
        except Exception as error:  # a pickle of anything may raise anything
            if is_out_of_memory(error):
                raise
            raise no_checkpoint(
                found.path, f"sevenn cannot read it ({type(error).__name__}: {error})"
            ) from error
        complete = deepcopy(model)  # building it once more takes three times as long
    modal = modal_of(name, found.modal, model.modal_map or ())
    model.set_is_batch_data(False)
    return Potential(
        name, found.version, rearrange(model, device), energy_model(complete, device), modal, device
    )


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
