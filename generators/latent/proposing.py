"""Crystals from a continuous space, steered by the campaign's goals and by its best so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from generators.base import Generator, Guide
from generators.latent.asking import COUNTS, Conditions, conditions_of
from generators.latent.best import Best, Draw, held_as
from generators.latent.climbing import Climb
from generators.latent.decoding import Decoding
from generators.latent.learning import Tuning, save_tuning, tuned
from generators.latent.manner import Manner
from generators.latent.sampling import decoding_of, invented, likeliest, met
from generators.latent.settings import KIND
from generators.latent.standard import standardised
from generators.latent.targets import wanted_values, wish_of
from generators.latent.tokens import crystals_of, tokens_of
from generators.latent.weights import Model, seeded
from generators.novelty import known_materials
from materials.archive import Archive, Progress
from materials.base import Candidate, Crystal, Origin
from materials.space import Space

BATCH = 64
MOST_MISSES = 3_000
"""Crystals drawn in a row without anything new after which the space counts as exhausted."""
ASKED_SHARE, NEAR_SHARE, CROSSED_SHARE, CLIMBED_SHARE = 0.4, 0.25, 0.1, 0.25
"""Of the draws: under the campaign's targets, in trust regions, between two of the best, led by the loop's scores."""
CLIMBED = "climbed"
FEWEST_TO_CLIMB, CLIMBED_TOGETHER = 32, 16
"""Proposals before the first climb, and draws of one: few, so that the next goes on from what came of them."""
FEWEST_GOOD, MOST_GOOD = 5, 64
"""Crystals to learn from during a campaign."""
USUAL = Manner()


class Sort(NamedTuple):
    """A way to draw, and its share of the proposals."""

    name: str
    share: float


class Latent(Generator):
    """Draws under the campaign's targets, in trust regions around its best, and between them."""

    def __init__(self, space: Space, model: Model) -> None:
        self._space, self._model, self._wish = space, model, wish_of(space)
        self._tuned = model
        self._tuning: Tuning | None = None

    def learn(self, archive: Archive, seed: int) -> None:
        """Tunes the decoder on the better half of all whose line has ended; always from the weights it began with."""
        ended = sum(record.progress is not Progress.PENDING for record in archive.values())
        best = archive.incumbents(min(MOST_GOOD, ended // 2))
        good = [crystal for r in best if (crystal := held_as(r.material)) is not None]
        if len(good) < FEWEST_GOOD:
            return
        generator = seeded(seed)

        def wanted(number: int) -> torch.Tensor:
            return self._targets(archive, number, generator, number)[0].joined()

        how = self._how(USUAL.guidance)
        self._tuning = tuned(self._model, tokens_of(good), wanted, self._elements, how, seed)
        self._tuned = self._tuning.model

    def save(self, file: Path) -> None:
        """Writes what was tuned, with what the guard saw."""
        if self._tuning is not None:
            save_tuning(self._tuning, file)

    def propose(
        self, n: int, archive: Archive, rng: np.random.Generator, guide: Guide | None = None
    ) -> Iterator[Candidate]:
        """Up to n different crystals of the space, none the same as a material of the archive.

        Ends early after MOST_MISSES crystals in a row that gave nothing new.
        """
        known = known_materials(archive)
        climb = None if guide is None else Climb(guide)
        streams = self._streams(archive, rng, climb)
        drawn = dict.fromkeys(streams, 0)
        misses = 0
        while n > 0 and misses < MOST_MISSES:
            ready = [
                one for one in streams if one.name != CLIMBED or (climb and len(climb) >= FEWEST_TO_CLIMB)
            ]
            sort = min(ready, key=lambda one: (drawn[one] + 1) / one.share)
            candidate = next(streams[sort])
            drawn[sort] += 1  # a sort that gives nothing new must not keep the others from their turn
            misses += 1
            if candidate is not None and known.find(candidate.material) is None:
                known.add(candidate.id, candidate.material)
                if climb is not None:
                    climb.add(candidate)
                misses, n = 0, n - 1
                yield candidate

    def _streams(
        self, archive: Archive, rng: np.random.Generator, climb: Climb | None
    ) -> dict[Sort, Iterator[Candidate | None]]:
        """Candidates without end, of every sort that can be drawn; those that fail are None."""
        generator = _torch_generator(rng)
        asked = self._elements(BATCH)
        best = Best.of(archive, self._tuned)
        sorts = {Sort("asked", ASKED_SHARE): lambda: self._under_targets(archive, generator)}
        if best.records:
            sorts[Sort("near", NEAR_SHARE)] = lambda: best.near(asked, rng, generator)
        if len(best.records) > 1:
            sorts[Sort("between", CROSSED_SHARE)] = lambda: best.crossed(asked, rng, generator)
        if climb is not None:
            sorts[Sort(CLIMBED, CLIMBED_SHARE)] = lambda: climb.draw(asked[:CLIMBED_TOGETHER], generator)

        def stream(draw: Callable[[], Draw]) -> Iterator[Candidate | None]:
            while True:
                yield from self._candidates(draw(), rng)

        return {sort: stream(draw) for sort, draw in sorts.items()}

    def _how(self, guidance: float) -> Decoding:
        return decoding_of(self._wish, replace(USUAL, guidance=guidance), self._space.number_of_atoms[1])

    def _elements(self, number: int) -> torch.Tensor:
        """Conditions (number, n) that say only which elements are allowed and required."""
        return conditions_of(self._wish, number, self._model.scales).joined()

    def _numbers_of_elements(self, asked: Conditions, generator: torch.Generator) -> None:
        """Asks each crystal for one of the space's numbers of elements, drawn at random."""
        low, high = self._space.number_of_elements
        high = min(high, COUNTS, len(self._space.elements))
        low = min(max(low, len(set(self._space.required))), high)
        number = torch.randint(low, high + 1, (len(asked),), generator=generator)
        asked.count[:] = torch.nn.functional.one_hot(number - 1, COUNTS)

    def _targets(
        self, archive: Archive, number: int, generator: torch.Generator, different: int = 1
    ) -> tuple[Conditions, Mapping[str, torch.Tensor]]:
        """Conditions of `number` crystals that say all the campaign wants, and the values they ask for.

        different: how many values; each is asked of as many crystals.
        """
        values = {
            name: value.repeat_interleave(number // different)
            for name, value in wanted_values(archive, self._model.scales, different, generator).items()
        }
        asked = conditions_of(replace(self._wish, properties=values), number, self._model.scales)
        if not self._wish.formula:
            self._numbers_of_elements(asked, generator)
        return asked, values

    def _under_targets(self, archive: Archive, generator: torch.Generator) -> Draw:
        asked, values = self._targets(archive, BATCH, generator)
        notes = [_asked_note(values, row) for row in range(BATCH)]
        told = invented(self._model, asked.joined(), generator)
        return Draw(told, USUAL.guidance, [()] * BATCH, notes, asked.properties[0])

    def _candidates(self, drawn: Draw, rng: np.random.Generator) -> Iterator[Candidate | None]:
        """A candidate for every point that decodes to a crystal of the space, else None.

        Where properties are wanted, only of the share that most likely has them.
        """
        decoded = self._tuned.autoencoder.decode(drawn.told, self._how(drawn.guidance), _torch_generator(rng))
        rows, number = likeliest(self._tuned, decoded, drawn.wanted, met(decoded, self._wish))
        taken = number / len(rows) if rows else 1.0
        yield from repeat(None, math.ceil(taken * (len(decoded) - len(rows))))
        for row in rows:
            if number == 0:
                break
            form = crystals_of(decoded[row : row + 1])[0]
            crystal = Crystal(form.structure())
            if self._space.why_not(crystal) is None:
                number -= 1
                point = self._tuned.autoencoder.encode(tokens_of([standardised(form)]))[0]
                latent = tuple(round(float(v), 3) for v in point)
                yield Candidate(
                    crystal, Origin(KIND, drawn.parents[row], latent=latent, note=drawn.notes[row])
                )
            else:
                yield None


def _asked_note(values: Mapping[str, torch.Tensor], row: int) -> str:
    return "asked " + ", ".join(f"{name} {float(value[row]):.3g}" for name, value in values.items())


def _torch_generator(rng: np.random.Generator) -> torch.Generator:
    return seeded(int(rng.integers(2**62)))
