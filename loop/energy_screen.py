"""The screen of the energy model: what acquisition picks is looked at, and the hopeless make place for the next.

A look is the beginning of the relaxation that would follow, whose evaluations are not repeated: for what is kept it
costs nothing, and changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from loop.looks import CampaignLooks
from materials.base import Candidate, Crystal, Prediction, Selection
from materials.corrections import CorrectionScheme
from materials.hull import ReferenceHull
from surrogates.energy_model import EnergyModel

ENERGY = "energy_per_atom"
REFUSED = "the energy model sees no hope"
LOOKS_PER_PLACE = 5
"""How many looks a place in the batch is worth at most."""
IN_SPITE = 4
"""Where hope does not fill the batch, the likeliest of those refused take one place in so many, and at least one."""

CHOICES_PER_PLACE = 2
"""How many choices acquisition is asked for at once: picking again costs more than picking more."""

Pick = Callable[[Sequence[Candidate], int], list[Selection]]
"""What acquisition picks of a pool, best first, and at most so many."""


@dataclass(frozen=True)
class Refused:
    """A candidate that was refused.

    chance: to end below the limit. height, low, high: expected above the hull and its 90 % interval, eV/atom; None
    where it fell apart.
    """

    id: str
    formula: str
    generator: str
    chance: float
    height: float | None
    low: float | None
    high: float | None

    def told_height(self) -> str:
        """The height with its 90 % interval, in words."""
        if self.height is None:
            return "fell apart"
        return f"{self.height:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class Screened:
    """What a screen did to a round's choice.

    predictions: of the relaxed energy, by candidate id. looked: how many candidates, this round. in_spite: how many
    were taken although they looked hopeless, for want of better ones. seconds: what the looks at those not taken cost,
    core seconds.
    """

    selections: tuple[Selection, ...]
    predictions: Mapping[str, Prediction] = field(default_factory=dict)
    looked: int = 0
    refused: tuple[Refused, ...] = ()
    in_spite: int = 0
    seconds: float = 0.0

    @property
    def refusals(self) -> dict[tuple[str, str], int]:
        """(generator, reason) -> how many."""
        return dict(Counter((one.generator, REFUSED) for one in self.refused))

    def as_notes(self) -> dict[str, Any]:
        """What the notes of a round keep of it."""
        return {
            "looked": self.looked,
            "refused": [asdict(one) for one in self.refused],
            "in_spite": self.in_spite,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class _Verdict:
    """chance: to end below the limit; None where nobody can tell. expected: None where it fell apart. heights: median
    and 90 % interval above the hull, empty where it is unknown."""

    crystal: Crystal
    chance: float | None
    expected: Prediction | None = None
    heights: tuple[float, ...] = ()


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
        self,
        pick: Pick,
        pool: Sequence[Candidate],
        places: int,
        model: EnergyModel,
        widening: float = 1.0,
        refused_before: Collection[str] = (),
    ) -> Screened:
        """The batch that `pick` chooses, each place going to its next choice until one has hope.

        widening: a factor on the model's intervals. refused_before: who was refused in an earlier round is judged anew,
        before anybody is picked.
        """
        self.looks.forget()
        verdicts = self._judged((c for c in pool if c.id in refused_before), model, widening)
        left = [c for c in pool if not self._is_hopeless(verdicts.get(c.id))]
        seen: dict[str, Selection] = {}
        looked: list[str] = []
        choices: list[Selection] = []
        while len(looked) < LOOKS_PER_PLACE * places:
            free = places - sum(not self._is_hopeless(verdicts.get(i)) for i in seen)
            if free and not choices:
                choices = [s for s in pick(left, CHOICES_PER_PLACE * places) if s.candidate.id not in seen]
            new, choices = {s.candidate.id: s for s in choices[:free]}, choices[free:]
            if not new:
                break
            seen |= new
            judged = self._judged((s.candidate for i, s in new.items() if i not in verdicts), model, widening)
            verdicts |= judged
            looked += judged
            left = [c for c in left if not self._is_hopeless(verdicts.get(c.id))]
        return self._result(seen, looked, verdicts, places)

    def _judged(
        self, candidates: Iterable[Candidate], model: EnergyModel, widening: float
    ) -> dict[str, _Verdict]:
        """Of those that can be relaxed; the oracle refuses the others, with its reason."""
        found = {
            c.id: c.material for c in candidates if isinstance(c.material, Crystal) and c.material.is_ordered
        }
        if not found:
            return {}
        crystals = list(found.values())
        looks = self.looks.at(crystals)
        told = model.predict(looks.rows)
        heights = np.array([self._height(c, k) for c, k in zip(crystals, looks.corrections, strict=True)])
        wide = replace(told, spread=told.spread * widening)
        chances, distances = wide.chance_below(self._limit - heights), model.distances(looks.rows)
        ends = np.stack([told.median, wide.quantile(0.05), wide.quantile(0.95)], axis=1) + heights[:, None]
        verdicts = {}
        for i, (id_, crystal) in enumerate(found.items()):
            if looks.lost[i]:
                verdicts[id_] = _Verdict(crystal, None)
            elif np.isnan(told.median[i]):
                verdicts[id_] = _Verdict(crystal, 0.0)
            else:
                std = widening * float(told.std[i])
                expected = Prediction(ENERGY, float(told.median[i]), std, distances[i], widening)
                known = not np.isnan(heights[i])
                chance, above = (float(chances[i]), tuple(ends[i].tolist())) if known else (None, ())
                verdicts[id_] = _Verdict(crystal, chance, expected, above)
        return verdicts

    def _height(self, crystal: Crystal, correction: float) -> float:
        """How far above the hull an uncorrected energy of 0 lies, eV/atom; NaN where the reference does not say."""
        corrected = self._hull.source.correction != CorrectionScheme.none
        depth = self._hull.energy_above_hull(crystal.structure.composition, 0.0).value
        return depth + (correction if corrected else 0.0)

    def _is_hopeless(self, verdict: _Verdict | None) -> bool:
        return verdict is not None and verdict.chance is not None and verdict.chance < self._least_chance

    def _result(
        self,
        seen: Mapping[str, Selection],
        looked: Sequence[str],
        verdicts: Mapping[str, _Verdict],
        places: int,
    ) -> Screened:
        chosen = {i: s for i, s in seen.items() if not self._is_hopeless(verdicts.get(i))}
        hopeless = sorted((i for i in looked if i not in chosen), key=lambda i: -(verdicts[i].chance or 0.0))
        in_spite = [i for i in hopeless if verdicts[i].expected is not None]
        in_spite = in_spite[: min(places - len(chosen), max(1, places // IN_SPITE))]
        chosen |= {i: seen[i] for i in in_spite}
        refused = [i for i in hopeless if i not in chosen]
        return Screened(
            tuple(self._told(selection, verdicts.get(i)) for i, selection in chosen.items()),
            {i: v.expected for i, v in verdicts.items() if v.expected is not None},
            len(looked),
            tuple(_refused(seen[i].candidate, verdicts[i]) for i in refused),
            len(in_spite),
            self.looks.seconds([verdicts[i].crystal for i in refused]),
        )

    def _told(self, selection: Selection, verdict: _Verdict | None) -> Selection:
        if verdict is None:
            return selection
        told = "nobody can tell how far above the hull it ends"
        if verdict.chance is not None:
            told = f"{verdict.chance:.0%} likely to end within {self._limit:g} eV/atom of the hull"
        return replace(selection, reason=f"{selection.reason}; after a look {told}")


def _refused(candidate: Candidate, verdict: _Verdict) -> Refused:
    height, low, high = verdict.heights or (None, None, None)
    chance = verdict.chance or 0.0
    return Refused(candidate.id, candidate.formula, candidate.origin.generator, chance, height, low, high)
