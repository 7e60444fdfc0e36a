"""Decoding: one decision after another, within what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from generators.latent.asking import without_properties
from generators.latent.chemistry import Chemistry
from generators.latent.model import BINS, Decoder, Told
from generators.latent.tokens import GROUPS, LETTERS, MOST_SITES, Tokens, in_order

SHARPEST = 2
"""Bins on each side of the likeliest whose mean is the coordinate."""


@dataclass(frozen=True)
class Decoding:
    """How decisions are drawn: temperatures (0 takes the likeliest), allowed groups, most atoms.

    nucleus: only the likeliest choices that together hold this share, coordinates aside. guidance: 1 obeys properties
    that are asked for as learned, more exaggerates them; chemistry is never exaggerated, which makes odd formulas.
    """

    temperature: float = 0.0
    nucleus: float = 1.0
    coordinate_temperature: float = 0.0
    guidance: float = 1.0
    groups: tuple[int, ...] = ()
    most_atoms: int = 20


class Decisions:
    """The decisions of one batch, one position of every crystal at a time."""

    def __init__(self, decoder: Decoder, told: Told, how: Decoding, generator: torch.Generator) -> None:
        self.decoder, self.how, self.generator, self.number = decoder, how, generator, len(told)
        self.known = [decoder.known(told)]
        chemistry = without_properties(told.asked)
        if how.guidance != 1 and not torch.equal(chemistry, told.asked):
            self.known.append(decoder.known(replace(told, asked=chemistry)))
        self.chemistry = Chemistry(told.asked, decoder.positions, how.most_atoms)
        self.memories: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in self.known]
        self.group = self._draw(self._group_logits(), how.temperature, how.nucleus)
        self.letter = torch.zeros(self.number, 0, dtype=torch.long)
        self.element = torch.zeros(self.number, 0, dtype=torch.long)
        self.parameters = torch.zeros(self.number, 0, 3)
        self.filled = torch.zeros(self.number, 0, dtype=torch.bool)
        self.open = torch.ones(self.number, dtype=torch.bool)
        self.atoms = torch.zeros(self.number)

    def run(self) -> Tokens:
        """Positions until every crystal stops, then lattices."""
        hidden = self._advance([self.decoder.beginning(known, self.group) for known in self.known])
        at_stop = hidden
        for _ in range(MOST_SITES):
            self._step(hidden)
            if not bool(self.open.any()):
                break
            site = self.decoder.positions(self._tokens(torch.zeros(self.number, 6)))[:, -1]
            hidden = self._advance([site] * len(self.known))
            going = self.open.unsqueeze(1)
            at_stop = [torch.where(going, new, old) for new, old in zip(hidden, at_stop, strict=True)]
        lattices = [
            self.decoder.lattice(end, known)[0] for end, known in zip(at_stop, self.known, strict=True)
        ]
        return in_order(self._tokens(self._guided(lattices)))

    def _advance(self, tokens: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """What is known (B, width) after one more token, with properties asked and, where guided, without."""
        return [
            self.decoder.advance(known, token, memory)
            for known, token, memory in zip(self.known, tokens, self.memories, strict=True)
        ]

    def _guided(self, answers: Sequence[torch.Tensor]) -> torch.Tensor:
        """What follows from the answers with properties asked and, where guided, without."""
        if len(answers) == 1:
            return answers[0]
        obeyed, free = answers
        return free + self.how.guidance * (obeyed - free)

    def _tokens(self, lattice: torch.Tensor) -> Tokens:
        return Tokens(self.group, lattice, self.letter, self.element, self.parameters, self.filled)

    def _step(self, hidden: Sequence[torch.Tensor]) -> None:
        how, decoder, positions = self.how, self.decoder, self.decoder.positions
        logits = self._guided([decoder.letters(one.unsqueeze(1), self.group)[:, 0] for one in hidden])
        room = self.chemistry.room(self.group, self.atoms)
        chosen = self._draw(logits.masked_fill(self._impossible(room), -1e9), how.temperature, how.nucleus)
        going = self.open & (chosen < LETTERS)
        letter = chosen.clamp(max=LETTERS - 1) * going
        may_come = self.chemistry.elements(room.gather(1, letter.unsqueeze(1))[:, 0])
        position = positions.position(self.group, letter)
        logits = self._guided([decoder.elements(one, position) for one in hidden])
        element = self._draw(logits.masked_fill(~may_come, -1e9), how.temperature, how.nucleus)
        free = positions.free[self.group, letter]
        parameters = torch.zeros(self.number, 3)
        for axis in range(3):
            bins = [decoder.coordinate(axis, one, position, element, parameters, free) for one in hidden]
            parameters[:, axis] = self._place(self._guided(bins)) * free[:, axis]
        self.open = going
        self.chemistry.take(element, going)
        self.atoms = self.atoms + positions.atoms[self.group, letter] * going
        self.letter = torch.cat([self.letter, letter.unsqueeze(1)], dim=1)
        self.element = torch.cat([self.element, (element * going).unsqueeze(1)], dim=1)
        self.parameters = torch.cat([self.parameters, (parameters * going.unsqueeze(1)).unsqueeze(1)], dim=1)
        self.filled = torch.cat([self.filled, going.unsqueeze(1)], dim=1)

    def _impossible(self, room: torch.Tensor) -> torch.Tensor:
        """Which letters (B, 28) cannot come next: too early in the order, taken, too many atoms, too little room.

        The last is the stop: of nothing, and while an element that is asked for is missing and can still come.
        """
        positions, missing = self.decoder.positions, self.chemistry.missing
        every = torch.arange(LETTERS)
        last = self.letter[:, -1:] if self.letter.shape[1] else torch.zeros(self.number, 1, dtype=torch.long)
        started = self.letter.shape[1] > 0
        fixed = ~positions.free[self.group].any(dim=-1)
        early = (every < last) | ((every == last) & fixed if started else torch.zeros_like(fixed))
        many = self.atoms.unsqueeze(1) + positions.atoms[self.group] > self.how.most_atoms
        refused = early | many | ~positions.exists[self.group]
        narrow = refused | (room < missing.unsqueeze(1) - 1)
        refused = torch.where(narrow.all(dim=1, keepdim=True), refused, narrow)
        wanting = (missing > 0) if started else torch.ones_like(missing, dtype=torch.bool)
        return torch.cat([refused, (wanting & ~refused.all(dim=1)).unsqueeze(1)], dim=1)

    def _group_logits(self) -> torch.Tensor:
        logits = self._guided([self.decoder.group_head(known) for known in self.known])
        logits = logits.masked_fill(~self.chemistry.groups(), -1e6)
        return _only(logits, self.how.groups or tuple(range(1, GROUPS)))

    def _draw(self, logits: torch.Tensor, temperature: float, nucleus: float = 1.0) -> torch.Tensor:
        if temperature == 0:
            return logits.argmax(dim=-1)
        chances = _nucleus((logits / temperature).softmax(dim=-1), nucleus)
        return torch.multinomial(chances, 1, generator=self.generator)[:, 0]

    def _place(self, logits: torch.Tensor) -> torch.Tensor:
        """A coordinate: the mean of the bins around the chosen one."""
        chosen = self._draw(logits, self.how.coordinate_temperature)
        steps = torch.arange(-SHARPEST, SHARPEST + 1)
        near = (chosen.unsqueeze(1) + steps) % BINS
        weights = logits.gather(1, near).softmax(dim=-1)
        return ((chosen + (weights * steps).sum(dim=-1)) / BINS) % 1.0


def _nucleus(chances: torch.Tensor, share: float) -> torch.Tensor:
    """The chances (B, n) of the likeliest choices that together hold the share, of the others none; the first stays."""
    if share >= 1:
        return chances
    ordered, order = chances.sort(dim=-1, descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    return torch.zeros_like(chances).scatter(-1, order, ordered.masked_fill(before > share, 0.0))


def _only(logits: torch.Tensor, allowed: tuple[int, ...]) -> torch.Tensor:
    kept = torch.full((logits.shape[-1],), -1e9)
    kept[list(allowed)] = 0.0
    return logits + kept
