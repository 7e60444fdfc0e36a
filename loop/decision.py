"""One round's decision: learn from the archive, fill a pool, predict it, pick a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from acquisition.base import Acquisition, Option
from generators.base import Guide
from generators.mixture import Mixture
from loop.energy_screen import ENERGY, EnergyScreen, Screened
from loop.events import Listener, Stopwatch
from loop.screening import Pool, fill_pool
from loop.seeds import derived_rng, derived_seed
from materials.archive import Archive
from materials.base import Candidate, Prediction, Selection
from materials.identity import IdentityIndex
from materials.space import Space
from surrogates.base import Surrogate
from surrogates.energy_model import EnergyModel

NEIGHBOURS_PER_PLACE = 8
"""Draws handed to the mixture for each place in the pool; most generators refuse fewer than this."""


@dataclass(frozen=True)
class Decision:
    """What a round will do, complete before anything is submitted."""

    pool: Pool
    predictions: Mapping[str, tuple[Prediction, ...]]
    selections: tuple[Selection, ...]
    screened: Screened | None = None

    @property
    def predicted(self) -> list[Prediction]:
        """Everything that is stated of anybody."""
        return [prediction for expected in self.predictions.values() for prediction in expected]

    @property
    def refusals(self) -> dict[tuple[str, str], int]:
        """(generator, reason) -> how many were refused, by the rules of the pool and by the energy model."""
        return {**self.pool.refusals, **(self.screened.refusals if self.screened is not None else {})}


@dataclass(frozen=True)
class Decider:
    """Everything a decision needs that does not change from round to round."""

    seed: int
    space: Space
    mixture: Mixture
    surrogate: Surrogate | None
    acquisition: Acquisition
    pool_size: int
    batch: int
    screen: EnergyScreen | None = None

    def decide(
        self,
        number: int,
        archive: Archive,
        known: IdentityIndex,
        option: Option,
        widening: Mapping[str, float],
        energy_model: EnergyModel | None,
        refused_before: frozenset[str],
        watch: Stopwatch,
        listener: Listener,
    ) -> Decision:
        """The decision of round `number`; the same archive, widening, energy model and seed give the same decision.

        widening: factors by property on the standard deviations of predictions. refused_before: ids of candidates that
        the energy model refused in earlier rounds.
        """
        if self.surrogate is not None:
            self.surrogate.widening = widening
            with watch.step("fit"):
                self.surrogate.fit(archive, derived_seed(self.seed, number, "fit"))
        with watch.step("fit"):
            self.mixture.learn(archive, derived_seed(self.seed, number, "generators"))
        with watch.step("propose"):
            pool = self._pool(number, archive, known, listener)
        if not pool.candidates:
            return Decision(pool, {}, ())
        predictions = self._predict(pool.candidates, watch)

        def pick(candidates: Sequence[Candidate], most: int) -> list[Selection]:
            if not candidates:
                return []
            rng = derived_rng(self.seed, number, "select")
            most = min(most, len(candidates))
            return self.acquisition.select(candidates, self.surrogate, archive, most, [option], rng)

        with watch.step("select"):
            if self.screen is None or energy_model is None:
                return Decision(pool, predictions, tuple(pick(pool.candidates, self.batch)))
            places = min(self.batch, len(pool.candidates))
            factor = widening.get(ENERGY, 1.0)
            screened = self.screen.screened(
                pick, pool.candidates, places, energy_model, factor, refused_before
            )
        return Decision(pool, _joined(predictions, screened.predictions), screened.selections, screened)

    def _pool(self, number: int, archive: Archive, known: IdentityIndex, listener: Listener) -> Pool:
        rng = derived_rng(self.seed, number, "propose")
        wanted = self.pool_size * NEIGHBOURS_PER_PLACE
        # Closing ends what its generators still grow.
        with closing(self.mixture.propose(wanted, archive, rng, self._guide(archive))) as draws:
            return fill_pool(draws, self.pool_size, self.space, known, listener)

    def save_models(self, folder: Path) -> None:
        """Writes what was learned this round; nothing where nothing was."""
        self.mixture.save_parts(folder)
        if self.surrogate is not None and self.surrogate.properties:
            folder.mkdir(parents=True, exist_ok=True)
            self.surrogate.save(folder)

    def _predict(self, pool: Sequence[Candidate], watch: Stopwatch) -> Mapping[str, tuple[Prediction, ...]]:
        if self.surrogate is None:
            return {}
        with watch.step("predict"):
            self.surrogate.inputs(pool)
            if not self.surrogate.properties:
                return {}
            predicted = self.surrogate.predict(pool)
        return {candidate.id: row for candidate, row in zip(pool, predicted, strict=True)}

    def _guide(self, archive: Archive) -> Guide | None:
        """Scores by the predicted objectives, each in units of its spread over the archive."""
        surrogate = self.surrogate
        if surrogate is None or any(o.property not in surrogate.properties for o in archive.objectives):
            return None
        spread = {o.property: _spread(archive, o.property) for o in archive.objectives}

        def guide(candidates: Sequence[Candidate]) -> npt.NDArray[np.float64]:
            rows = surrogate.predict(candidates)
            means = [{p.property: p.mean for p in row} for row in rows]
            return np.array(
                [sum(o.score(m[o.property]) / spread[o.property] for o in archive.objectives) for m in means]
            )

        return guide


def _joined(
    surrogate: Mapping[str, tuple[Prediction, ...]], screen: Mapping[str, Prediction]
) -> Mapping[str, tuple[Prediction, ...]]:
    """Both predictions of each candidate; where energies are a goal, the surrogate's count."""
    told = dict(surrogate)
    for candidate_id, expected in screen.items():
        before = told.get(candidate_id, ())
        if all(p.property != expected.property for p in before):
            told[candidate_id] = (*before, expected)
    return told


def _spread(archive: Archive, name: str) -> float:
    values = [v for record in archive.evaluated if (v := record.value(name)) is not None]
    return float(np.std(values)) if len(set(values)) > 1 else 1.0


def nothing_left(decision: Decision) -> str:
    """Why a round measures nothing, with the commonest reasons for refusing proposals."""
    refusals = sorted(decision.pool.refusals.items(), key=lambda item: -item[1])[:4]
    told = ", ".join(f"{generator}: {reason} ({count})" for (generator, reason), count in refusals)
    return f"no candidate is left to measure; refused were: {told or 'none, nothing was proposed'}"
