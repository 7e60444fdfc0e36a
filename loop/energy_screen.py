"""The screen of the energy model: what acquisition picks is looked at, and the hopeless make place for the next.

A look is the beginning of the relaxation that would follow, so for what is kept nothing is lost: it goes on from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from loop.looks import CampaignLooks
from materials.base import Candidate, Crystal, Prediction, Selection
from materials.hull import ReferenceHull
from surrogates.energy_model import EnergyModel

ENERGY = "energy_per_atom"
REFUSED = "the energy model sees no hope"
LOOKS_PER_PLACE = 5
"""How many looks a place in the batch is worth at most; then the likeliest of those refused fill it up."""

Pick = Callable[[Sequence[Candidate]], list[Selection]]
"""What acquisition picks of a pool, best first."""


@dataclass(frozen=True)
class Screened:
    """What a screen did to a round's choice.

    predictions: of the relaxed energy, by candidate id. looked: how many candidates. refused: those not taken for it.
    in_spite: how many were taken although they looked hopeless, for want of better ones. seconds: what the looks at
    those not taken cost, core seconds; the others are part of their relaxations.
    """

    selections: tuple[Selection, ...]
    predictions: Mapping[str, Prediction] = field(default_factory=dict)
    looked: int = 0
    refused: tuple[Candidate, ...] = ()
    in_spite: int = 0
    seconds: float = 0.0

    @property
    def refusals(self) -> dict[tuple[str, str], int]:
        """(generator, reason) -> how many."""
        return dict(Counter((c.origin.generator, REFUSED) for c in self.refused))

    def as_notes(self) -> dict[str, float]:
        """The counts, as the notes of a round keep them."""
        return {
            "looked": self.looked,
            "refused": len(self.refused),
            "in_spite": self.in_spite,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class _Verdict:
    """chance: to end below the limit; None where the reference cannot tell. expected: None where it fell apart."""

    crystal: Crystal
    chance: float | None
    expected: Prediction | None


class EnergyScreen:
    """Refuses what is unlikely to end below a limit to energy_above_hull.

    limit: eV/atom, of the gate or the constraint. least_chance: who has a smaller chance to end below it is refused.
    """

    def __init__(self, looks: CampaignLooks, hull: ReferenceHull, limit: float, least_chance: float) -> None:
        self.looks = looks
        self._hull = hull
        self._limit = limit
        self._least_chance = least_chance

    def screened(
        self, pick: Pick, pool: Sequence[Candidate], places: int, model: EnergyModel, widening: float = 1.0
    ) -> Screened:
        """The batch that `pick` chooses when what looks hopeless is taken out of the pool.

        widening: a factor on the standard deviations of the predictions that are stated; chances stay the model's own.
        """
        verdicts: dict[str, _Verdict] = {}
        left = list(pool)
        while True:
            selections = pick(left)
            picked = [s.candidate for s in selections]
            verdicts |= self._judged((c for c in picked if c.id not in verdicts), model, widening)
            kept = [c for c in picked if not self._is_hopeless(verdicts, c)]
            if len(kept) == len(picked):
                break
            left = [c for c in left if not self._is_hopeless(verdicts, c)]
            if len(verdicts) >= LOOKS_PER_PLACE * places or len(left) < places:
                selections = pick([*kept, *self._likeliest(pool, verdicts, places - len(kept))])
                break
        return self._result(pool, selections, verdicts)

    def _judged(
        self, candidates: Iterable[Candidate], model: EnergyModel, widening: float
    ) -> dict[str, _Verdict]:
        """Of those that can be relaxed; the oracle refuses the others, with its reason."""
        crystals = {
            c.id: c.material for c in candidates if isinstance(c.material, Crystal) and c.material.is_ordered
        }
        if not crystals:
            return {}
        found = model.predict(self.looks.rows(list(crystals.values())))
        limits = np.array([self._energy_at_the_limit(crystal) for crystal in crystals.values()])
        rows = zip(found.median, found.std, found.chance_below(limits), limits, strict=True)
        verdicts = {}
        for (id_, crystal), (median, std, chance, limit) in zip(crystals.items(), rows, strict=True):
            if np.isnan(median):
                verdicts[id_] = _Verdict(crystal, 0.0, None)
            else:
                expected = Prediction(ENERGY, float(median), widening * float(std), None, widening)
                verdicts[id_] = _Verdict(crystal, None if np.isnan(limit) else float(chance), expected)
        return verdicts

    def _energy_at_the_limit(self, crystal: Crystal) -> float:
        """eV/atom as the potential gives it, uncorrected; NaN where the reference does not say."""
        structure = crystal.structure
        depth = self._hull.energy_above_hull(structure.composition, 0.0).value
        return self._limit - depth - self._hull.correction_per_atom(structure)

    def _is_hopeless(self, verdicts: Mapping[str, _Verdict], candidate: Candidate) -> bool:
        verdict = verdicts.get(candidate.id)
        return verdict is not None and verdict.chance is not None and verdict.chance < self._least_chance

    def _likeliest(
        self, pool: Sequence[Candidate], verdicts: Mapping[str, _Verdict], number: int
    ) -> list[Candidate]:
        hopeless = [c for c in pool if self._is_hopeless(verdicts, c)]
        return sorted(hopeless, key=lambda c: -(verdicts[c.id].chance or 0.0))[:number]

    def _result(
        self, pool: Sequence[Candidate], selections: Sequence[Selection], verdicts: Mapping[str, _Verdict]
    ) -> Screened:
        picked = {s.candidate.id for s in selections}
        hopeless = [c for c in pool if self._is_hopeless(verdicts, c)]
        refused = tuple(c for c in hopeless if c.id not in picked)
        judged = [i for i in picked if i in verdicts]
        ends = dict(zip(judged, self.looks.ends([verdicts[i].crystal for i in judged]), strict=True))
        return Screened(
            tuple(
                self._told(s, verdicts[s.candidate.id], ends) if s.candidate.id in ends else s
                for s in selections
            ),
            {i: v.expected for i, v in verdicts.items() if v.expected is not None},
            len(verdicts),
            refused,
            len(hopeless) - len(refused),
            self.looks.seconds([v.crystal for i, v in verdicts.items() if i not in picked]),
        )

    def _told(self, selection: Selection, verdict: _Verdict, ends: Mapping[str, Crystal | None]) -> Selection:
        told = "the reference hull does not reach it"
        if verdict.chance is not None:
            told = f"{verdict.chance:.0%} likely to end within {self._limit:g} eV/atom of the hull"
        end = ends[selection.candidate.id]
        return replace(selection, reason=f"{selection.reason}; after a look {told}", start=end)
