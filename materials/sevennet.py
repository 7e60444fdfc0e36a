"""The parts of `materials.potential` that touch SevenNet's modules. Imports torch: import this module only when used."""

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

# An edge's message is some 3,000 numbers wide: a thousand edges stay in the processor's cache, whole batches do not
# (measured on one core, batches of 256 atoms: 4.7 ms per atom in one piece, 2.4 in pieces of 1,024 edges).
EDGES_PER_PIECE = {"cpu": 1024, "cuda": 1 << 20}


class PiecewiseConvolution(torch.nn.Module):
    """SevenNet's IrrepsConvolution, worked through a piece of the edges at a time; same values, less memory."""

    def __init__(self, convolution: Any, edges_per_piece: int) -> None:
        super().__init__()
        self.whole = convolution
        self.edges_per_piece = edges_per_piece

    def forward(self, data: Any) -> Any:
        whole = self.whole
        features = data[whole.key_x]
        destination, source = data[whole.key_edge_idx]
        gathered = features.new_zeros(len(features), whole.convolution.irreps_out.dim)
        for start in range(0, len(source), self.edges_per_piece):
            piece = slice(start, start + self.edges_per_piece)
            weight = whole.weight_nn(data[whole.key_weight_input][piece])
            message = whole.convolution(features[source[piece]], data[whole.key_filter][piece], weight)
            gathered.index_add_(0, destination[piece], message)
        data[whole.key_x] = gathered.div(whole.denominator)
        return data


def energy_model(model: Any, device: str) -> Any:
    """The model without its differentiating last module, taking batches: a third of the time per atom."""
    modules = OrderedDict((key, module) for key, module in model._modules.items() if key != "force_output")
    for key in modules:
        if key.endswith("_convolution"):
            modules[key] = PiecewiseConvolution(modules[key], EDGES_PER_PIECE[device.split(":")[0]])
    without_forces = AtomGraphSequential(
        modules,
        cutoff=model.cutoff,
        type_map=model.type_map,
        modal_map=model.modal_map,
        eval_modal_map=model.eval_modal_map,
        data_key_grad=None,
    )
    without_forces.set_is_batch_data(True)
    return without_forces.to(device).eval()


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
    """[atoms, channels] to [structures, 2 * channels]: mean and population standard deviation over each structure."""
    count = atoms_each.unsqueeze(1)
    mean = scalars.new_zeros(len(atoms_each), scalars.shape[1]).index_add_(0, owner, scalars) / count
    squares = torch.zeros_like(mean).index_add_(0, owner, (scalars - mean[owner]) ** 2)
    return torch.cat([mean, torch.sqrt(squares / count)], dim=1)
