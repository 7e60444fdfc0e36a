"""First looks at relaxations: the rows cached by content, the missing ones computed on all workers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from loop.events import Stopwatch
from loop.executors.base import Dispatcher
from loop.executors.pool import OverdueError, WorkerLostError
from materials.base import Crystal, content_hash
from surrogates.early_look import COLUMNS, VERSION, Look, look_at
from surrogates.feature_cache import FeatureCache

Floats = npt.NDArray[np.float64]
LOST = (WorkerLostError, OverdueError)


def look_in_worker(potential: str, crystal: Crystal) -> Look:
    """Looks at one crystal; the worker keeps the potential loaded."""
    from materials.potential import load_potential

    return look_at(crystal, load_potential(potential))


class CampaignLooks:
    """Looks of one campaign. Rows are kept in the run folder, where relaxations went in memory only."""

    def __init__(self, potential: str, folder: Path, dispatcher: Dispatcher, watch: Stopwatch) -> None:
        self._potential = potential
        self._cache = FeatureCache(folder / "features.db", f"{VERSION}-{potential}")
        self._dispatcher = dispatcher
        self._watch = watch
        self._found: dict[str, Look] = {}

    def rows(self, crystals: Sequence[Crystal]) -> Floats:
        """[n, COLUMNS]; NaN where a relaxation falls apart within its first steps."""
        ids = [content_hash(crystal.to_dict()) for crystal in crystals]
        known, missing = self._cache.get(ids)
        if missing:
            by_id = dict(zip(ids, crystals, strict=True))
            self._look([by_id[i] for i in missing], missing)
            known, _ = self._cache.get(ids)
        return np.asarray([known[i] for i in ids], dtype=float)

    def ends(self, crystals: Sequence[Crystal]) -> list[Crystal | None]:
        """Where the first steps led, to go on from there; None where they fell apart."""
        ids = [content_hash(crystal.to_dict()) for crystal in crystals]
        missing = {i: m for i, m in zip(ids, crystals, strict=True) if i not in self._found}
        if missing:  # an earlier driver looked, and was killed before it decided
            self._look(list(missing.values()), list(missing))
        return [self._found[i].end for i in ids]

    def seconds(self, crystals: Sequence[Crystal]) -> float:
        """What these looks cost this driver, core seconds."""
        ids = [content_hash(crystal.to_dict()) for crystal in crystals]
        return sum(self._found[i].seconds for i in ids if i in self._found)

    def _look(self, crystals: Sequence[Crystal], ids: Sequence[str]) -> None:
        with self._watch.step("look"):
            try:
                looks = self._looks(crystals)
            except LOST:
                looks = [self._alone(crystal) for crystal in crystals]
        self._found |= dict(zip(ids, looks, strict=True))
        self._cache.put(ids, np.array([look.row for look in looks]))

    def _looks(self, crystals: Sequence[Crystal]) -> list[Look]:
        return self._dispatcher.map(look_in_worker, [(self._potential, crystal) for crystal in crystals])

    def _alone(self, crystal: Crystal) -> Look:
        """The look at one crystal; one that takes its workers along, or hangs, counts as one that fell apart."""
        try:
            return self._looks([crystal])[0]
        except LOST:
            return Look(np.full(COLUMNS, np.nan), None, 0.0)
