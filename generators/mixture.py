"""Several generators as one: each proposes by its share, and shares follow what its candidates achieved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator as Stream
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from generators.base import Generator, Guide
from materials.archive import Archive, Progress
from materials.base import Candidate

# The part of every share that no failure takes away.
FLOOR = 0.2
# How many imagined candidates with the average success each generator starts with.
PRIOR_CANDIDATES = 8.0


class Mixture(Generator):
    """Draws from several generators.

    parts: share, kind and generator of each, in the order of the campaign file. A part is named by its kind; where a
    kind occurs more than once, by kind and place among its like (`files 1`, `files 2`).
    """

    def __init__(self, parts: Sequence[tuple[float, str, Generator]]) -> None:
        if not parts:
            raise ValueError("a mixture needs at least one generator")
        kinds = [kind for _, kind, _ in parts]
        names = [
            kind if kinds.count(kind) == 1 else f"{kind} {kinds[: i + 1].count(kind)}"
            for i, kind in enumerate(kinds)
        ]
        total = sum(share for share, _, _ in parts)
        self._given = {name: share / total for name, (share, _, _) in zip(names, parts, strict=True)}
        self._generators = {name: generator for name, (_, _, generator) in zip(names, parts, strict=True)}

    def shares(self, archive: Archive) -> dict[str, float]:
        """Each part's share of the proposals, summing to 1; decided by the archive alone.

        A candidate whose line has ended is a success when it ranks in the better half of all that ended (see
        `Archive.incumbents`; failures and duplicates rank nowhere). A part's success rate is the posterior mean
        (successes + P r) / (ended + P), with the overall rate r counted P = PRIOR_CANDIDATES times. Given shares are
        multiplied by it, and a FLOOR of each given share is kept, so that no part dies.
        """
        ended = [
            r for r in archive.values() if r.progress is not Progress.PENDING and self._name_of(r.candidate)
        ]
        ranked = [r for r in archive.incumbents(len(archive)) if self._name_of(r.candidate)]
        tried = Counter(self._name_of(r.candidate) for r in ended)
        succeeded = Counter(self._name_of(r.candidate) for r in ranked[: len(ended) // 2])
        if not succeeded:
            return dict(self._given)
        overall = succeeded.total() / tried.total()
        earned = {
            name: given * (succeeded[name] + PRIOR_CANDIDATES * overall) / (tried[name] + PRIOR_CANDIDATES)
            for name, given in self._given.items()
        }
        total = sum(earned.values())
        return {
            name: FLOOR * given + (1 - FLOOR) * earned[name] / total for name, given in self._given.items()
        }

    def learn(self, archive: Archive, seed: int) -> None:
        """Every part learns."""
        for generator in self._generators.values():
            generator.learn(archive, seed)

    def save_parts(self, folder: Path) -> None:
        """Writes what every part learned to a file of its name."""
        for name, generator in self._generators.items():
            generator.save(folder / f"{name.replace(' ', '_')}.safetensors")

    def _name_of(self, candidate: Candidate) -> str | None:
        """The part a candidate came from; None where it was known before or came from elsewhere."""
        return candidate.origin.generator if candidate.origin.generator in self._given else None

    def propose(
        self, n: int, archive: Archive, rng: np.random.Generator, guide: Guide | None = None
    ) -> Stream[Candidate]:
        """Up to n candidates, the parts taking turns so that every beginning of the stream keeps the shares.

        Each part draws from a random stream of its own. Where one runs dry the others take over its share.
        """
        shares = self.shares(archive)
        seeds = rng.integers(2**63, size=len(self._generators))
        streams = {
            name: generator.propose(n, archive, np.random.default_rng(int(seed)), guide)
            for (name, generator), seed in zip(self._generators.items(), seeds, strict=True)
        }
        drawn = dict.fromkeys(streams, 0)
        while n > 0 and streams:
            name = min(streams, key=lambda part: (drawn[part] + 1) / shares[part])
            candidate = next(streams[name], None)
            if candidate is None:
                del streams[name]
                continue
            drawn[name] += 1
            n -= 1
            yield replace(candidate, origin=replace(candidate.origin, generator=name))
