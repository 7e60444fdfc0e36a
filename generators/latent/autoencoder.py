"""Encoder and decoder together: what training minimises, and how a latent becomes crystals."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from generators.latent.asking import number_of_conditions
from generators.latent.decoding import Decisions, Decoding
from generators.latent.model import BINS, SMEAR, Decoder, Encoder, Losses, Positions, Shape, Told, noised
from generators.latent.tokens import GROUPS, LETTERS, Tokens, free_lattice


class Autoencoder(nn.Module):
    """Crystals to z and back."""

    lattice_free: torch.Tensor

    def __init__(self, shape: Shape, properties: int) -> None:
        super().__init__()
        self.shape, self.conditions = shape, number_of_conditions(properties)
        positions = Positions(shape.width)
        self.encoder = Encoder(shape, positions)
        self.decoder = Decoder(shape, positions, self.conditions)
        table = torch.tensor([free_lattice(max(1, number)) for number in range(GROUPS)])
        self.register_buffer("lattice_free", table, persistent=False)

    def forward(
        self, tokens: Tokens, level: torch.Tensor, asked: torch.Tensor, altered: torch.Tensor
    ) -> Losses:
        """What a batch costs, with z drawn from what the encoder tells; levels, conditions and marks as in Told."""
        mean, log_variance = self.encoder(tokens)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()
        told = Told(noised(z, level, torch.randn_like(z)), level, asked, altered)
        return self.costs(tokens, told, divergence)

    def copying(self, z: torch.Tensor) -> Told:
        """Tells z (B, latent) alone, all of it, so that it is copied."""
        zeros = torch.zeros(len(z))
        return Told(z, zeros, torch.zeros(len(z), self.conditions), zeros)

    def costs(self, tokens: Tokens, told: Told, divergence: torch.Tensor | None = None) -> Losses:
        """What decoding the crystals costs from what is told; no divergence where no crystal was encoded."""
        decoder, positions, number = self.decoder, self.decoder.positions, len(tokens)
        known = decoder.known(told)
        hidden = decoder.hidden(known, tokens.group, positions(tokens))
        filled = tokens.filled
        count = filled.sum(dim=1)
        stop = torch.full((number, 1), LETTERS, device=known.device)
        asked = torch.cat([tokens.letter.masked_fill(~filled, LETTERS), stop], dim=1)
        counted = torch.cat([torch.ones_like(filled[:, :1]), filled], dim=1)  # the stop is asked once
        letters = decoder.letters(hidden, tokens.group)
        letter = F.cross_entropy(letters.flatten(0, 1), asked.flatten(), reduction="none").view_as(asked)
        before = hidden[:, :-1]
        group = tokens.group.unsqueeze(1).expand_as(tokens.letter)
        position = positions.position(group, tokens.letter)
        elements = decoder.elements(before, position)
        element = F.cross_entropy(elements.flatten(0, 1), tokens.element.flatten(), reduction="none")
        coordinate = self._coordinates(tokens, before, position, positions.free[group, tokens.letter])
        center, spread = decoder.lattice(hidden[torch.arange(number), count], known)
        missed = (0.5 * ((tokens.lattice - center) / spread.exp()) ** 2 + spread) * self.lattice_free[
            tokens.group
        ]
        return Losses(
            group=F.cross_entropy(decoder.group_head(known), tokens.group),
            letter=(letter * counted).sum() / number,
            element=(element.view_as(filled) * filled).sum() / number,
            coordinate=coordinate / number,
            lattice=missed.sum() / number,
            divergence=known.new_zeros(()) if divergence is None else divergence,
        )

    def _coordinates(
        self, tokens: Tokens, hidden: torch.Tensor, position: torch.Tensor, free: torch.Tensor
    ) -> torch.Tensor:
        total = hidden.new_zeros(())
        for axis in range(3):
            here = free[..., axis] & tokens.filled
            if not bool(here.any()):
                continue
            logits = self.decoder.coordinate(
                axis, hidden[here], position[here], tokens.element[here], tokens.parameters[here], free[here]
            )
            target = smeared(tokens.parameters[here][:, axis])
            total = total - (target * logits.log_softmax(dim=-1)).sum()
        return total

    @torch.no_grad()
    def encode(self, tokens: Tokens) -> torch.Tensor:
        """The mean z of each crystal (B, latent)."""
        mean: torch.Tensor = self.encoder(tokens)[0]
        return mean

    @torch.no_grad()
    def decode(self, told: Told, how: Decoding, generator: torch.Generator) -> Tokens:
        """One crystal for each of what is told."""
        return Decisions(self.decoder, told, how, generator).run()


def smeared(coordinates: torch.Tensor) -> torch.Tensor:
    """Target probabilities (..., BINS) around a coordinate, on the circle."""
    centers = torch.arange(BINS, device=coordinates.device) / BINS
    away = coordinates.unsqueeze(-1) - centers
    away = (away - away.round()) * BINS
    weights = torch.exp(-0.5 * (away / SMEAR) ** 2)
    return weights / weights.sum(dim=-1, keepdim=True)
