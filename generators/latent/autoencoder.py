"""Encoder and decoder together: what training minimises, and how a latent becomes crystals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from generators.latent.model import BINS, SMEAR, Decoder, Encoder, Losses, Positions, Shape
from generators.latent.tokens import ELEMENTS, GROUPS, LETTERS, MOST_SITES, Tokens, free_lattice

SHARPEST = 2
"""Bins on each side of the likeliest whose mean is the coordinate."""


@dataclass(frozen=True)
class Decoding:
    """How decisions are drawn: temperatures (0 takes the likeliest), allowed elements and groups, most atoms."""

    temperature: float = 0.0
    coordinate_temperature: float = 0.0
    elements: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()
    most_atoms: int = 20
    altered: bool = False
    """Copies the latent without regard to what is usual in crystals."""


class Autoencoder(nn.Module):
    """Crystals to z and back."""

    lattice_free: torch.Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        positions = Positions(shape.width)
        self.encoder = Encoder(shape, positions)
        self.decoder = Decoder(shape, positions)
        table = torch.tensor([free_lattice(max(1, number)) for number in range(GROUPS)])
        self.register_buffer("lattice_free", table, persistent=False)

    def forward(self, tokens: Tokens, altered: torch.Tensor | bool = False) -> Losses:
        """What a batch costs, with z drawn from what the encoder tells; `altered` as in Decoder.hidden."""
        mean, log_variance = self.encoder(tokens)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()
        return self._costs(tokens, z, divergence, altered)

    def _costs(
        self, tokens: Tokens, z: torch.Tensor, divergence: torch.Tensor, altered: torch.Tensor | bool
    ) -> Losses:
        decoder, positions, number = self.decoder, self.decoder.positions, len(tokens)
        hidden = decoder.hidden(z, tokens.group, positions(tokens), altered)
        filled = tokens.filled
        count = filled.sum(dim=1)
        stop = torch.full((number, 1), LETTERS, device=z.device)
        asked = torch.cat([tokens.letter.masked_fill(~filled, LETTERS), stop], dim=1)
        known = torch.cat([torch.ones_like(filled[:, :1]), filled], dim=1)  # the stop is asked once
        letters = decoder.letters(hidden, tokens.group)
        letter = F.cross_entropy(letters.flatten(0, 1), asked.flatten(), reduction="none").view_as(asked)
        before = hidden[:, :-1]
        group = tokens.group.unsqueeze(1).expand_as(tokens.letter)
        position = positions.position(group, tokens.letter)
        elements = decoder.elements(before, position)
        element = F.cross_entropy(elements.flatten(0, 1), tokens.element.flatten(), reduction="none")
        coordinate = self._coordinates(tokens, before, position, positions.free[group, tokens.letter])
        center, spread = decoder.lattice(hidden[torch.arange(number), count], z)
        missed = (0.5 * ((tokens.lattice - center) / spread.exp()) ** 2 + spread) * self.lattice_free[
            tokens.group
        ]
        return Losses(
            group=F.cross_entropy(decoder.group_head(z), tokens.group),
            letter=(letter * known).sum() / number,
            element=(element.view_as(filled) * filled).sum() / number,
            coordinate=coordinate / number,
            lattice=missed.sum() / number,
            divergence=divergence,
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
    def decode(self, z: torch.Tensor, decoding: Decoding, generator: torch.Generator) -> Tokens:
        """One crystal for each z (B, latent)."""
        return _Decoding(self.decoder, z, decoding, generator).run()


def smeared(coordinates: torch.Tensor) -> torch.Tensor:
    """Target probabilities (..., BINS) around a coordinate, on the circle."""
    centers = torch.arange(BINS, device=coordinates.device) / BINS
    away = coordinates.unsqueeze(-1) - centers
    away = (away - away.round()) * BINS
    weights = torch.exp(-0.5 * (away / SMEAR) ** 2)
    return weights / weights.sum(dim=-1, keepdim=True)


class _Decoding:
    """The decisions of one batch, one position of every crystal at a time."""

    def __init__(self, decoder: Decoder, z: torch.Tensor, how: Decoding, generator: torch.Generator) -> None:
        self.decoder, self.z, self.how, self.generator = decoder, z, how, generator
        number = len(z)
        self.group = self._draw(self._group_logits(), how.temperature)
        self.letter = torch.zeros(number, 0, dtype=torch.long)
        self.element = torch.zeros(number, 0, dtype=torch.long)
        self.parameters = torch.zeros(number, 0, 3)
        self.filled = torch.zeros(number, 0, dtype=torch.bool)
        self.open = torch.ones(number, dtype=torch.bool)
        self.atoms = torch.zeros(number)

    def run(self) -> Tokens:
        """Positions until every crystal stops, then lattices."""
        for _ in range(MOST_SITES):
            self._step(self._hidden()[:, -1])
            if not bool(self.open.any()):
                break
        count = self.filled.sum(dim=1)
        at_stop = self._hidden()[torch.arange(len(self.z)), count]
        lattice, _ = self.decoder.lattice(at_stop, self.z)
        return self._tokens(lattice)

    def _tokens(self, lattice: torch.Tensor) -> Tokens:
        return Tokens(self.group, lattice, self.letter, self.element, self.parameters, self.filled)

    def _hidden(self) -> torch.Tensor:
        sites = (
            self.decoder.positions(self._tokens(torch.zeros(len(self.z), 6)))
            if self.letter.shape[1]
            else None
        )
        return self.decoder.hidden(self.z, self.group, sites, self.how.altered)

    def _step(self, hidden: torch.Tensor) -> None:
        how, decoder, positions = self.how, self.decoder, self.decoder.positions
        logits = decoder.letters(hidden.unsqueeze(1), self.group)[:, 0]
        chosen = self._draw(logits.masked_fill(self._impossible(), -1e9), how.temperature)
        going = self.open & (chosen < LETTERS)
        letter = chosen.clamp(max=LETTERS - 1) * going
        position = positions.position(self.group, letter)
        element = self._draw(self._element_logits(hidden, position), how.temperature)
        free = positions.free[self.group, letter]
        parameters = torch.zeros(len(self.z), 3)
        for axis in range(3):
            bins = decoder.coordinate(axis, hidden, position, element, parameters, free)
            parameters[:, axis] = self._place(bins) * free[:, axis]
        self.open = going
        self.atoms = self.atoms + positions.atoms[self.group, letter] * going
        self.letter = torch.cat([self.letter, letter.unsqueeze(1)], dim=1)
        self.element = torch.cat([self.element, (element * going).unsqueeze(1)], dim=1)
        self.parameters = torch.cat([self.parameters, (parameters * going.unsqueeze(1)).unsqueeze(1)], dim=1)
        self.filled = torch.cat([self.filled, going.unsqueeze(1)], dim=1)

    def _impossible(self) -> torch.Tensor:
        """Letters (B, 28) that come too late in the order, are taken, or hold too many atoms; the stop of nothing."""
        positions = self.decoder.positions
        every = torch.arange(LETTERS)
        last = self.letter[:, -1:] if self.letter.shape[1] else torch.zeros(len(self.z), 1, dtype=torch.long)
        started = self.letter.shape[1] > 0
        fixed = ~positions.free[self.group].any(dim=-1)
        early = (every < last) | ((every == last) & fixed if started else torch.zeros_like(fixed))
        many = self.atoms.unsqueeze(1) + positions.atoms[self.group] > self.how.most_atoms
        refused = torch.cat(
            [early | many | ~positions.exists[self.group], torch.zeros(len(self.z), 1).bool()], dim=1
        )
        refused[:, LETTERS] = (not started) & ~refused[:, :LETTERS].all(dim=1)
        return refused

    def _group_logits(self) -> torch.Tensor:
        logits: torch.Tensor = self.decoder.group_head(self.z)
        return _only(logits, self.how.groups or tuple(range(1, GROUPS)))

    def _element_logits(self, hidden: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        logits = self.decoder.elements(hidden, position)
        return _only(logits, self.how.elements or tuple(range(1, ELEMENTS)))

    def _draw(self, logits: torch.Tensor, temperature: float) -> torch.Tensor:
        if temperature == 0:
            return logits.argmax(dim=-1)
        return torch.multinomial((logits / temperature).softmax(dim=-1), 1, generator=self.generator)[:, 0]

    def _place(self, logits: torch.Tensor) -> torch.Tensor:
        """A coordinate: the mean of the bins around the chosen one."""
        chosen = self._draw(logits, self.how.coordinate_temperature)
        steps = torch.arange(-SHARPEST, SHARPEST + 1)
        near = (chosen.unsqueeze(1) + steps) % BINS
        weights = logits.gather(1, near).softmax(dim=-1)
        return ((chosen + (weights * steps).sum(dim=-1)) / BINS) % 1.0


def _only(logits: torch.Tensor, allowed: tuple[int, ...]) -> torch.Tensor:
    kept = torch.full((logits.shape[-1],), -1e9)
    kept[list(allowed)] = 0.0
    return logits + kept
