"""An ensemble of small networks on standardised descriptors: what every head is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Floats = npt.NDArray[np.float64]
Loss = Callable[[Tensor, Tensor], Tensor]
"""From outputs [n, o] and labels [n, l] to one number."""

LARGEST_INPUT = 8.0
"""Standardised descriptors are cut here, so that a strange material gives a strange, not an absurd, answer."""
SMALLEST_SPREAD = 1e-6


@dataclass(frozen=True)
class Training:
    """How an ensemble is trained: hidden widths, dropout, members, passes over the data, batch, step size, decay."""

    hidden: tuple[int, ...] = (384, 192)
    dropout: float = 0.1
    members: int = 4
    epochs: int = 60
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2


class Ensemble(nn.Module):
    """Networks with the same inputs [n, d] and outputs [n, o], each with its own start and order of the data."""

    center: Tensor
    scale: Tensor

    def __init__(
        self, inputs: int, outputs: int, hidden: tuple[int, ...], members: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.members = nn.ModuleList(_network(inputs, outputs, hidden, dropout) for _ in range(members))

    def standardised(self, descriptors: Tensor) -> Tensor:
        """Centred, scaled and cut descriptors [n, d]."""
        return ((descriptors - self.center) / self.scale).clamp(-LARGEST_INPUT, LARGEST_INPUT)

    def forward(self, descriptors: Tensor) -> Tensor:
        """Outputs [members, n, o]."""
        inputs = self.standardised(descriptors)
        return torch.stack([member(inputs) for member in self.members])

    @property
    def shape(self) -> Mapping[str, object]:
        """The arguments that make one of the same shape."""
        linear = [layer for layer in self.members[0].modules() if isinstance(layer, nn.Linear)]
        hidden = tuple(layer.out_features for layer in linear[:-1])
        return {
            "inputs": linear[0].in_features,
            "outputs": linear[-1].out_features,
            "hidden": hidden,
            "members": len(self.members),
        }


def train(
    descriptors: Tensor,
    labels: Tensor,
    outputs: int,
    loss: Loss,
    how: Training,
    seed: int,
    device: str = "cpu",
) -> Ensemble:
    """An ensemble trained on descriptors [n, d] and labels [n, l]; the same seed gives the same ensemble on one device.

    AdamW under a one-cycle schedule, a fixed number of passes: nothing is chosen on the data it is judged by.
    """
    torch.manual_seed(seed)
    ensemble = Ensemble(descriptors.shape[1], outputs, how.hidden, how.members, how.dropout)
    spread = descriptors.std(dim=0)
    ensemble.center.copy_(descriptors.mean(dim=0))
    ensemble.scale.copy_(torch.where(spread > SMALLEST_SPREAD, spread, torch.inf))
    ensemble.to(device)
    inputs, labels = ensemble.standardised(descriptors.to(device)), labels.to(device)
    for member in ensemble.members:
        _train_member(member, inputs, labels, loss, how)
    return ensemble.cpu().eval()


def _train_member(member: nn.Module, inputs: Tensor, labels: Tensor, loss: Loss, how: Training) -> None:
    optimiser = torch.optim.AdamW(member.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay)
    steps = how.epochs * -(-len(inputs) // how.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, how.learning_rate, total_steps=steps)
    member.train()
    for _ in range(how.epochs):
        order = torch.randperm(len(inputs), device=inputs.device)
        for rows in torch.split(order, how.batch):
            optimiser.zero_grad()
            value = loss(member(inputs[rows]), labels[rows])
            torch.autograd.backward(value)
            nn.utils.clip_grad_norm_(member.parameters(), 1.0)
            optimiser.step()
            schedule.step()


def _network(inputs: int, outputs: int, hidden: tuple[int, ...], dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width_in, width_out in zip((inputs, *hidden[:-1]), hidden, strict=True):
        layers += [nn.Linear(width_in, width_out), nn.LayerNorm(width_out), nn.SiLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], outputs))
