"""The autoencoder of crystals: a transformer over Wyckoff positions to z, and one from z back, position after position.

The decoder knows how noisy the z is that it is given, so it copies, varies and invents crystals with the same weights.

The line of Wyckoff-position models: CrystalFormer (Cao, Luo, Lv, Wang, arXiv:2403.15734), WyFormer (Kazeev et al.,
arXiv:2503.02407), WyCryst (Zhu et al., Matter 7, 3469 (2024)); the whole as a variational autoencoder (Kingma, Welling,
arXiv:1312.6114).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from generators.latent.tokens import ELEMENTS, FEATURES, GROUPS, LETTERS, MOST_SITES, Tokens, position_table

BINS = 120
"""A coordinate is one of these; halves, thirds, quarters, fifths, sixths and eighths lie on them."""
WAVES = 8
USUAL_SITES = 5
SMEAR = 0.7
"""Width, in bins, of the target of a coordinate."""


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; the latent has at most 256 numbers."""

    latent: int = 192
    width: int = 192
    heads: int = 6
    encoder_layers: int = 4
    decoder_layers: int = 6
    dropout: float = 0.3
    """Of the decoder; the encoder has none."""


@dataclass(frozen=True)
class Losses:
    """Means over the batch of what each part of a crystal costs (nats), and of the divergence from the prior."""

    group: torch.Tensor
    letter: torch.Tensor
    element: torch.Tensor
    coordinate: torch.Tensor
    lattice: torch.Tensor
    divergence: torch.Tensor

    def reconstruction(self) -> torch.Tensor:
        """All parts of the crystals."""
        return self.group + self.letter + self.element + self.coordinate + self.lattice


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """One hidden layer."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


def waves(parameters: torch.Tensor, free: torch.Tensor) -> torch.Tensor:
    """Periodic features (..., 3 * 2 * WAVES) of coordinates; zero where a coordinate is not free."""
    frequencies = 2 * torch.pi * torch.arange(1, WAVES + 1, device=parameters.device)
    phases = parameters.unsqueeze(-1) * frequencies
    found = torch.cat([phases.sin(), phases.cos()], dim=-1) * free.unsqueeze(-1)
    return found.flatten(start_dim=-2)


class Positions(nn.Module):
    """Embeds an element on a Wyckoff position at a place."""

    features: torch.Tensor
    atoms: torch.Tensor
    free: torch.Tensor
    exists: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        for name, table in zip(("features", "atoms", "free", "exists"), position_table(), strict=True):
            self.register_buffer(name, table, persistent=False)
        self.described = nn.Linear(FEATURES, width)
        self.named = nn.Embedding(GROUPS * LETTERS, width)
        nn.init.normal_(self.named.weight, std=0.02)
        self.element = nn.Embedding(ELEMENTS, width)
        self.place = nn.Linear(6 * WAVES, width)
        self.filling = nn.Linear(1, width)
        self.order = nn.Embedding(MOST_SITES, width)

    def position(self, group: torch.Tensor, letter: torch.Tensor) -> torch.Tensor:
        """Of the position alone; shapes of `group` and `letter` alike."""
        found: torch.Tensor = self.described(self.features[group, letter]) + self.named(
            group * LETTERS + letter
        )
        return found

    def forward(self, tokens: Tokens) -> torch.Tensor:
        """(B, S, width)."""
        group = tokens.group.unsqueeze(1).expand_as(tokens.letter)
        free = self.free[group, tokens.letter]
        atoms = self.atoms[group, tokens.letter] * tokens.filled
        found: torch.Tensor = (
            self.position(group, tokens.letter)
            + self.element(tokens.element)
            + self.place(waves(tokens.parameters, free))
            + self.filling(atoms.cumsum(dim=1).unsqueeze(-1) / 20)
            + self.order.weight[: tokens.letter.shape[1]]
        )
        return found


def transformer(shape: Shape, layers: int, dropout: float) -> nn.TransformerEncoder:
    """Layers that normalise first."""
    layer = nn.TransformerEncoderLayer(
        shape.width, shape.heads, 4 * shape.width, dropout, "gelu", batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(layer, layers, nn.LayerNorm(shape.width), enable_nested_tensor=False)


class Encoder(nn.Module):
    """Crystals to the mean and log variance of z."""

    def __init__(self, shape: Shape, positions: Positions, dropout: float = 0.0) -> None:
        super().__init__()
        self.positions = positions
        self.group = nn.Embedding(GROUPS, shape.width)
        self.lattice = mlp(6, shape.width, shape.width)
        self.layers = transformer(shape, shape.encoder_layers, dropout)
        self.out = nn.Linear(2 * shape.width, 2 * shape.latent)

    def forward(self, tokens: Tokens) -> tuple[torch.Tensor, torch.Tensor]:
        """Two (B, latent)."""
        whole = self.group(tokens.group) + self.lattice(tokens.lattice)
        sequence = torch.cat([whole.unsqueeze(1), self.positions(tokens)], dim=1)
        padded = F.pad(~tokens.filled, (1, 0), value=False)
        hidden = self.layers(sequence, src_key_padding_mask=padded)
        weights = (~padded).unsqueeze(-1).float()
        # A sum, not a mean: what one position tells must not fade as others join it.
        total = (hidden * weights).sum(dim=1) / USUAL_SITES
        center, spread = self.out(torch.cat([hidden[:, 0], total], dim=-1)).chunk(2, dim=-1)
        return center, spread.clamp(-8, 2)


@dataclass(frozen=True)
class Told:
    """What the decoder is told of B crystals.

    z (B, latent): points, with noise; level (B): how much of it, 0 none, 1 nothing else; asked (B, n): conditions, a
    row of zeros asks nothing; altered (B): whether the crystals were changed at random, so that nothing is usual.
    """

    z: torch.Tensor
    level: torch.Tensor
    asked: torch.Tensor
    altered: torch.Tensor

    def __len__(self) -> int:
        return len(self.z)


def noised(z: torch.Tensor, level: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Points (B, latent) at a level (B) of noise; of N(0, I) where `z` is."""
    away = level.unsqueeze(1)
    return (1 - away**2).sqrt() * z + away * noise


class Decoder(nn.Module):
    """The group, then position after position (letter, element, x, y, z) until the stop, then the lattice.

    With all told of z it copies; with noise alone it draws what crystals are like, under the conditions.
    """

    def __init__(self, shape: Shape, positions: Positions, asked: int) -> None:
        super().__init__()
        width, known = shape.width, shape.latent + shape.width
        self.positions = positions
        self.level = mlp(2 * WAVES, width, width)
        self.asked = mlp(asked, 2 * width, width)
        self.altered = nn.Parameter(torch.zeros(width))
        self.entry = mlp(known, 2 * width, width)
        self.group_head = mlp(known, 2 * width, GROUPS)
        self.group = nn.Embedding(GROUPS, width)
        self.layers = transformer(shape, shape.decoder_layers, shape.dropout)
        self.reminders = nn.ModuleList(nn.Linear(known, width) for _ in range(shape.decoder_layers))
        self.query = nn.Linear(width, width)
        self.stop = nn.Parameter(torch.randn(width) * 0.02)
        self.element_head = mlp(2 * width, 2 * width, ELEMENTS)
        self.coordinate_heads = nn.ModuleList(mlp(3 * width + 6 * WAVES, 2 * width, BINS) for _ in range(3))
        self.lattice_head = mlp(2 * width, 2 * width, 12)
        self.shortcut = nn.Linear(known, width)

    def known(self, told: Told) -> torch.Tensor:
        """(B, latent + width): what is told, as every layer reads it."""
        phases = torch.pi * told.level.unsqueeze(1) * torch.arange(1, WAVES + 1, device=told.z.device)
        context = self.level(torch.cat([phases.sin(), phases.cos()], dim=1)) + self.asked(told.asked)
        context = context + told.altered.unsqueeze(1) * self.altered
        # What z most likely was before the noise: nothing where noise is all there is.
        trusted = told.z * (1 - told.level**2).sqrt().unsqueeze(1)
        return torch.cat([trusted, context], dim=1)

    def hidden(self, known: torch.Tensor, group: torch.Tensor, sites: torch.Tensor) -> torch.Tensor:
        """(B, 1 + S, width): at k, what is known before position k of the embedded `sites` (B, S, width)."""
        sequence = torch.cat([self.beginning(known, group).unsqueeze(1), sites], dim=1)
        length = sequence.shape[1]
        mask = torch.ones(length, length, dtype=torch.bool, device=known.device).triu(1)
        for layer, reminder in zip(self.layers.layers, self.reminders, strict=True):
            # Told again before every layer: a crystal is copied from z, not guessed from its beginning.
            sequence = layer(sequence + reminder(known).unsqueeze(1), src_mask=mask)
        hidden: torch.Tensor = self.layers.norm(sequence)  # type: ignore[misc]
        return hidden

    def advance(
        self, known: torch.Tensor, token: torch.Tensor, memory: list[tuple[torch.Tensor, torch.Tensor]]
    ) -> torch.Tensor:
        """(B, width): what is known after one more token (B, width), as `hidden` would tell.

        memory: keys and values of the tokens before, by layer; empty at the beginning, and written on.
        """
        sequence = token.unsqueeze(1)
        for number, (layer, reminder) in enumerate(zip(self.layers.layers, self.reminders, strict=True)):
            sequence = sequence + reminder(known).unsqueeze(1)
            attention = layer.self_attn
            mixed = F.linear(layer.norm1(sequence), attention.in_proj_weight, attention.in_proj_bias)
            query, key, value = (
                part.view(len(part), 1, attention.num_heads, -1).transpose(1, 2)
                for part in mixed.chunk(3, dim=-1)
            )
            if number < len(memory):
                key, value = (
                    torch.cat([old, new], dim=2)
                    for old, new in zip(memory[number], (key, value), strict=True)
                )
                memory[number] = key, value
            else:
                memory.append((key, value))
            seen = F.scaled_dot_product_attention(query, key, value)
            sequence = sequence + attention.out_proj(seen.transpose(1, 2).flatten(2))
            sequence = sequence + layer.linear2(F.gelu(layer.linear1(layer.norm2(sequence))))
        found: torch.Tensor = self.layers.norm(sequence)[:, 0]  # type: ignore[misc]
        return found

    def beginning(self, known: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
        """The first token (B, width): the group."""
        found: torch.Tensor = self.group(group) + self.entry(known)
        return found

    def letters(self, hidden: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
        """Logits (B, K, 28) of each letter of the group, the stop last, from hidden (B, K, width)."""
        every = torch.arange(LETTERS, device=group.device).expand(len(group), LETTERS)
        keys = self.positions.position(group.unsqueeze(1).expand_as(every), every)
        keys = torch.cat([keys, self.stop.expand(len(group), 1, -1)], dim=1)
        logits: torch.Tensor = self.query(hidden) @ keys.transpose(1, 2) / keys.shape[-1] ** 0.5
        exists = F.pad(self.positions.exists[group], (0, 1), value=True)
        return logits.masked_fill(~exists.unsqueeze(1), -1e9)

    def elements(self, hidden: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """Logits (..., ELEMENTS), the position chosen."""
        found: torch.Tensor = self.element_head(torch.cat([hidden, position], dim=-1))
        return found

    def coordinate(
        self, axis: int, hidden: torch.Tensor, position: torch.Tensor, element: torch.Tensor, parameters: torch.Tensor,
        free: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        """Logits (..., BINS) of one coordinate, those of the axes before it chosen."""
        before = free.clone()
        before[..., axis:] = False
        known = torch.cat(
            [hidden, position, self.positions.element(element), waves(parameters, before)], dim=-1
        )
        found: torch.Tensor = self.coordinate_heads[axis](known)
        return found

    def lattice(self, hidden: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log deviation (B, 6) from what is known at the stop (B, width)."""
        mean, spread = self.lattice_head(torch.cat([hidden, self.shortcut(known)], dim=-1)).chunk(2, dim=-1)
        return mean, spread.clamp(-4, 2)
