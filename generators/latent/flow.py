"""The distribution of latents, with and without conditions: a flow from N(0, I) that straight lines teach.

Flow matching: Lipman, Chen, Ben-Hamu, Nickel, Le, arXiv:2210.02747; guidance without a classifier: Ho, Salimans,
arXiv:2207.12598.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import nn

from generators.latent.tokens import ELEMENTS, GROUPS

TIME_WAVES = 16
STEPS = 20
"""From noise to latents, two looks at the velocity each."""


@dataclass(frozen=True)
class Conditions:
    """What is asked of B crystals; a row of zeros says nothing.

    allowed, required, formula (B, ELEMENTS: atomic fractions), group (B, GROUPS: one-hot), atoms (B, 2: a twentieth of
    their number, and whether it is asked), properties (B, 2 P: scaled values, and whether each is asked).
    """

    allowed: torch.Tensor
    required: torch.Tensor
    formula: torch.Tensor
    group: torch.Tensor
    atoms: torch.Tensor
    properties: torch.Tensor

    def __len__(self) -> int:
        return len(self.allowed)

    def __getitem__(self, chosen: torch.Tensor | slice) -> Conditions:
        return Conditions(*(getattr(self, f.name)[chosen] for f in fields(self)))

    def joined(self) -> torch.Tensor:
        """All as (B, n)."""
        return torch.cat([getattr(self, f.name) for f in fields(self)], dim=1)


def nothing_asked(number: int, properties: int) -> Conditions:
    """No condition at all."""
    sizes = (ELEMENTS, ELEMENTS, ELEMENTS, GROUPS, 2, 2 * properties)
    return Conditions(*(torch.zeros(number, size) for size in sizes))


class Flow(nn.Module):
    """The velocity that carries noise to latents."""

    center: torch.Tensor
    spread: torch.Tensor

    def __init__(
        self, latent: int, properties: int, width: int = 512, blocks: int = 3, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.latent, self.properties = latent, properties
        asked = 3 * ELEMENTS + GROUPS + 2 + 2 * properties
        self.register_buffer("center", torch.zeros(latent))
        self.register_buffer("spread", torch.ones(latent))
        self.entry = nn.Linear(latent, width)
        self.time = nn.Sequential(nn.Linear(2 * TIME_WAVES, width), nn.GELU(), nn.Linear(width, width))
        self.asked = nn.Sequential(nn.Linear(asked, width), nn.GELU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(_Block(width, dropout) for _ in range(blocks))
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, latent))

    def forward(self, x: torch.Tensor, time: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        """Velocity (B, latent) at x (B, latent), time (B) and conditions (B, n)."""
        phases = time.unsqueeze(1) * torch.pi * torch.arange(1, TIME_WAVES + 1)
        told = self.time(torch.cat([phases.sin(), phases.cos()], dim=1)) + self.asked(asked)
        hidden = self.entry(x)
        for block in self.blocks:
            hidden = block(hidden, told)
        found: torch.Tensor = self.out(hidden)
        return found

    def loss(self, latents: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        """Mean squared error of the velocity on straight lines from noise to the latents."""
        end = (latents - self.center) / self.spread
        start = torch.randn_like(end)
        time = torch.sigmoid(torch.randn(len(end)))  # the middle is the hardest part
        on_the_way = start + time.unsqueeze(1) * (end - start)
        found: torch.Tensor = ((self(on_the_way, time, asked) - (end - start)) ** 2).mean()
        return found

    @torch.no_grad()
    def to_latents(self, noise: torch.Tensor, asked: torch.Tensor, guidance: float = 1.0) -> torch.Tensor:
        """Latents (B, latent) of the crystals that noise (B, latent) from N(0, I) stands for under conditions (B, n).

        guidance: 1 is the learned distribution, more exaggerates what is asked.
        """
        return self._carried(noise, asked, guidance, 0.0, 1.0) * self.spread + self.center

    @torch.no_grad()
    def to_noise(self, latents: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        """The noise (B, latent) that comes out as these latents under the same conditions without guidance."""
        return self._carried((latents - self.center) / self.spread, asked, 1.0, 1.0, 0.0)

    def _carried(
        self, x: torch.Tensor, asked: torch.Tensor, guidance: float, start: float, end: float
    ) -> torch.Tensor:
        """Along the flow from one time to another, by Heun's method."""
        free, length = torch.zeros_like(asked), (end - start) / STEPS

        def velocity(x: torch.Tensor, time: float) -> torch.Tensor:
            at = torch.full((len(x),), time)
            told: torch.Tensor = self(x, at, asked)
            if guidance == 1:
                return told
            untold: torch.Tensor = self(x, at, free)
            return untold + guidance * (told - untold)

        for k in range(STEPS):
            time = start + k * length
            here = velocity(x, time)
            x = x + (here + velocity(x + here * length, time + length)) * length / 2
        return x


class _Block(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.told = nn.Linear(width, 3 * width)
        self.inner = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )

    def forward(self, x: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        scale, shift, gate = self.told(told).chunk(3, dim=-1)
        found: torch.Tensor = x + gate * self.inner(self.norm(x) * (1 + scale) + shift)
        return found
