"""SevenNet's convolution rearranged for processors: the same sums in an order that stays in the cache.

An edge's message is, for each path (l1, l2 -> l3), w[u] * sum_ij C[i, j, k] x[u, i] y[j] with channels u,
features x of the neighbour, spherical harmonics y of the edge and learned weights w. The harmonics do not
depend on the channel, so T[k, i] = sum_j C[i, j, k] y[j] is contracted first, and T x is one small matrix
product per edge instead of an outer product over i and j for every channel. Channels are innermost in memory,
and edges are worked through in pieces; the backward pass recomputes each piece instead of storing it.
Measured on one core with SevenNet-0: energies 0.8 instead of 2.8 ms per atom, energies with forces 4 instead
of 9. Imports torch: import only when used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from e3nn import o3
from torch import Tensor

# A message is some 3,000 numbers: a few hundred edges fit the second-level cache of a core.
EDGES_PER_PIECE = 256


@dataclass(frozen=True)
class Block:
    """All paths that start from one irrep of the features: multiplicity copies of degree l, dimension 2 l +
    1.

    coupling: [harmonics, total output dimension * (2 l + 1)], path normalisation included. path_of_output:
    [total output dimension], which path each output component belongs to. last_layer: [hidden, paths *
    multiplicity], the last layer of the radial network as a matrix. outputs: for each path its slot in the
    output and its dimension.
    """

    features: slice
    multiplicity: int
    dimension: int
    coupling: Tensor
    path_of_output: Tensor
    last_layer: Tensor
    outputs: tuple[tuple[int, int], ...]

    @property
    def paths(self) -> int:
        return len(self.outputs)


def can_rearrange(convolution: Any) -> bool:
    """Whether a convolution is of the kind rearranged here: weighted "uvu" paths, single harmonics."""
    product = getattr(convolution, "convolution", None)
    if not isinstance(product, o3.TensorProduct) or not hasattr(convolution, "weight_nn"):
        return False
    single = all(count == 1 for count, _ in product.irreps_in2)
    return single and all(path.connection_mode == "uvu" and path.has_weight for path in product.instructions)


def blocks_of(tensor_product: Any, last_layer: Tensor) -> tuple[Block, ...]:
    """The paths of an e3nn TensorProduct ("uvu", one weight per channel) gathered by input irrep."""
    slices1, slices2 = tensor_product.irreps_in1.slices(), tensor_product.irreps_in2.slices()
    columns = 0
    paths: dict[int, list[tuple[Tensor, Tensor, tuple[int, int]]]] = {}
    for instruction in tensor_product.instructions:
        multiplicity, first = tensor_product.irreps_in1[instruction.i_in1]
        _, second = tensor_product.irreps_in2[instruction.i_in2]
        _, out = tensor_product.irreps_out[instruction.i_out]
        coupling = torch.zeros(tensor_product.irreps_in2.dim, out.dim, first.dim)
        symbol = o3.wigner_3j(first.l, second.l, out.l) * instruction.path_weight
        coupling[slices2[instruction.i_in2]] = symbol.permute(1, 2, 0)
        weights = torch.arange(columns, columns + multiplicity)
        columns += multiplicity
        paths.setdefault(instruction.i_in1, []).append((coupling, weights, (instruction.i_out, out.dim)))
    blocks = []
    for index, members in paths.items():
        multiplicity, first = tensor_product.irreps_in1[index]
        dimensions = torch.tensor([dimension for *_, (_, dimension) in members])
        coupling = torch.cat([member[0] for member in members], dim=1)
        blocks.append(
            Block(
                slices1[index],
                multiplicity,
                first.dim,
                coupling.reshape(len(coupling), -1).contiguous(),
                torch.repeat_interleave(torch.arange(len(members)), dimensions),
                last_layer[:, torch.cat([member[1] for member in members])].contiguous(),
                tuple(member[2] for member in members),
            )
        )
    return tuple(blocks)


class BlockMessages(torch.autograd.Function):
    """Messages of one block summed at their destinations: [atoms, output dimension, multiplicity]."""

    @staticmethod
    def forward(
        context: Any, x: Tensor, y: Tensor, hidden: Tensor, source: Tensor, destination: Tensor, block: Block
    ) -> Tensor:
        """x: [atoms, dimension, multiplicity]; y: [edges, harmonics]; hidden: [edges, hidden units]."""
        context.save_for_backward(x, y, hidden, source, destination)
        context.block = block
        gathered = x.new_zeros(len(x), len(block.path_of_output), block.multiplicity)
        for piece in _pieces(len(source)):
            transfer, weight = _factors(block, y[piece], hidden[piece])
            message = torch.bmm(transfer, x.index_select(0, source[piece])).mul_(weight)
            gathered.index_add_(0, destination[piece], message)
        return gathered

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients for x, y and hidden; the learned weights are constants here."""
        x, y, hidden, source, destination = context.saved_tensors
        block: Block = context.block
        grad_x, grad_y, grad_hidden = torch.zeros_like(x), torch.empty_like(y), torch.empty_like(hidden)
        for piece in _pieces(len(source)):
            transfer, weight = _factors(block, y[piece], hidden[piece])
            features = x.index_select(0, source[piece])
            upstream = gradient.index_select(0, destination[piece])
            message = torch.bmm(transfer, features).mul_(upstream)
            by_path = message.new_zeros(len(message), block.paths, block.multiplicity)
            by_path.index_add_(1, block.path_of_output, message)
            grad_hidden[piece] = by_path.flatten(1) @ block.last_layer.T
            upstream *= weight
            grad_x.index_add_(0, source[piece], torch.bmm(transfer.transpose(1, 2), upstream))
            grad_y[piece] = torch.bmm(upstream, features.transpose(1, 2)).flatten(1) @ block.coupling.T
        return grad_x, grad_y, grad_hidden, None, None, None


def _factors(block: Block, y: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """T [edges, outputs, dimension] and the weights [edges, outputs, multiplicity] of a piece."""
    transfer = (y @ block.coupling).view(-1, len(block.path_of_output), block.dimension)
    weight = (hidden @ block.last_layer).view(-1, block.paths, block.multiplicity)
    return transfer, weight.index_select(1, block.path_of_output)


def _pieces(edges: int) -> list[slice]:
    return [slice(start, start + EDGES_PER_PIECE) for start in range(0, edges, EDGES_PER_PIECE)]


class RearrangedConvolution(torch.nn.Module):
    """Stands in for SevenNet's IrrepsConvolution, with its weights and the same values."""

    def __init__(self, convolution: Any) -> None:
        super().__init__()
        self.whole = convolution
        *self.first_layers, last = convolution.weight_nn.children()
        hidden_units = torch.eye(last.weight.shape[0], device=last.weight.device)
        self.blocks = blocks_of(convolution.convolution, last(hidden_units).detach())
        self.slots = len(convolution.convolution.irreps_out)

    def forward(self, data: Any) -> Any:
        whole = self.whole
        x, y = data[whole.key_x], data[whole.key_filter]
        destination, source = data[whole.key_edge_idx]
        hidden = data[whole.key_weight_input]
        for layer in self.first_layers:
            hidden = layer(hidden)
        slots: list[Tensor] = [x] * self.slots
        for block in self.blocks:
            features = (
                x[:, block.features]
                .view(-1, block.multiplicity, block.dimension)
                .transpose(1, 2)
                .contiguous()
            )
            gathered = BlockMessages.apply(features, y, hidden, source, destination, block)  # type: ignore[no-untyped-call]
            position = 0
            for slot, dimension in block.outputs:
                slots[slot] = gathered[:, position : position + dimension].transpose(1, 2).flatten(1)
                position += dimension
        data[whole.key_x] = torch.cat(slots, dim=1).div(whole.denominator)
        return data
