"""The parts of `materials.potential` that touch SevenNet's modules. Imports torch: import only when used."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from ase import Atoms
from sevenn import _keys as keys
from sevenn.atom_graph_data import AtomGraphData
from sevenn.nn.sequential import AtomGraphSequential
from sevenn.train.dataload import unlabeled_atoms_to_graph
from torch_geometric.data import Batch

from materials.sevennet_convolution import RearrangedConvolution, can_rearrange


def rearrange(model: Any, device: str) -> Any:
    """Swaps in convolutions that are several times faster on processors, where the model's kind allows it."""
    if device == "cpu":
        for key, module in model._modules.items():
            if key.endswith("_convolution") and can_rearrange(module):
                model._modules[key] = RearrangedConvolution(module)
    return model.to(device).eval()


def energy_model(model: Any, device: str) -> Any:
    """The model without its differentiating last module, taking batches: a third of the time per atom."""
    modules = OrderedDict((key, module) for key, module in model._modules.items() if key != "force_output")
    without_forces = AtomGraphSequential(
        modules,
        cutoff=model.cutoff,
        type_map=model.type_map,
        modal_map=model.modal_map,
        eval_modal_map=model.eval_modal_map,
        data_key_grad=None,
    )
    without_forces.set_is_batch_data(True)
    return rearrange(without_forces, device)


def scalar_channels(gate: Any) -> int:
    """How many of an equivariant gate's outputs are scalars; the gate puts them first."""
    return int(sum(count for count, irrep in gate.gate.irreps_out if irrep.l == 0))


def evaluate(
    model: Any, batch: Sequence[Atoms], modal: str | None, device: str, features: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Energies per atom [n] in eV (float64), and pooled scalar features [n, 2 * channels] if asked."""
    graphs = [AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(atoms, model.cutoff)) for atoms in batch]
    data = Batch.from_data_list(graphs)
    if modal is not None:
        data[keys.DATA_MODALITY] = [modal] * len(graphs)
    data = data.to(device)
    owner, scalars = data[keys.BATCH], list[torch.Tensor]()
    with torch.no_grad():
        output = _run(model, data, scalars if features else None)
    atoms_each = torch.bincount(owner, minlength=len(batch))
    atomic = output[keys.ATOMIC_ENERGY].reshape(-1).double()
    energies = atomic.new_zeros(len(batch)).index_add_(0, owner, atomic) / atoms_each
    return energies.cpu(), _pool(torch.cat(scalars, dim=1), owner, atoms_each).cpu() if features else None


def _run(model: Any, data: Any, scalars: list[torch.Tensor] | None) -> Any:
    """One forward pass; appends each gate's scalar channels [atoms, channels] to scalars."""

    def keep(gate: Any, _: Any, output: Any) -> None:
        # Cloned, because the modules that follow overwrite the field.
        scalars.append(output[keys.NODE_FEATURE][:, : scalar_channels(gate)].clone())  # type: ignore[union-attr]

    gates = [module for key, module in model._modules.items() if key.endswith("_equivariant_gate")]
    hooks = [gate.register_forward_hook(keep) for gate in gates] if scalars is not None else []
    try:
        return model(data)
    finally:
        for hook in hooks:
            hook.remove()


def _pool(scalars: torch.Tensor, owner: torch.Tensor, atoms_each: torch.Tensor) -> torch.Tensor:
    """[atoms, channels] to [structures, 2 * channels]: mean and population standard deviation."""
    count = atoms_each.unsqueeze(1)
    mean = scalars.new_zeros(len(atoms_each), scalars.shape[1]).index_add_(0, owner, scalars) / count
    squares = torch.zeros_like(mean).index_add_(0, owner, (scalars - mean[owner]) ** 2)
    return torch.cat([mean, torch.sqrt(squares / count)], dim=1)
