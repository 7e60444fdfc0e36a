"""First looks at relaxations: what they saw cached by content, the missing ones computed on all workers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from loop.events import Stopwatch
from loop.executors.base import Dispatcher
from loop.executors.pool import OverdueError, WorkerLostError
from materials.base import Crystal, Material
from materials.relaxation import Frame
from surrogates.early_look import COLUMNS, VERSION, Look, look_at
from surrogates.feature_cache import FeatureCache

log = logging.getLogger(__name__)
Floats = npt.NDArray[np.float64]
LOST = (WorkerLostError, OverdueError)


def look_in_worker(potential: str, crystal: Crystal) -> Look | None:
    """Looks at one crystal, the potential kept loaded; None where that fails, which its oracle will then say."""
    from materials.potential import load_potential

    try:
        # All workers look at once, and a GPU is for one process alone.
        return look_at(crystal, load_potential(potential, device="cpu"))
    except Exception:
        log.exception("%s could not be looked at", crystal.formula)
        return None


@dataclass(frozen=True)
class Looks:
    """Rows [n, COLUMNS] and corrections [n] as in `Look`; lost [n]: who could not be looked at."""

    rows: Floats
    corrections: Floats
    lost: npt.NDArray[np.bool_]


class CampaignLooks:
    """Looks of one campaign: rows are kept in the run folder, evaluations in memory until the next round."""

    def __init__(self, potential: str, folder: Path, dispatcher: Dispatcher, watch: Stopwatch) -> None:
        self._potential = potential
        self._cache = FeatureCache(folder / "features.db", f"{VERSION}-{potential}")
        self._dispatcher = dispatcher
        self._watch = watch
        self._new: dict[str, Look] = {}

    def forget(self) -> None:
        """Lets go of the evaluations of the last round."""
        self._new = {}

    def at(self, crystals: Sequence[Crystal]) -> Looks:
        """What looks at crystals saw."""
        ids = [crystal.digest for crystal in crystals]
        known, missing = self._cache.get(ids)
        if missing:
            by_id = dict(zip(ids, crystals, strict=True))
            self._look([by_id[i] for i in missing])
            known, _ = self._cache.get(ids)
        nothing = np.full(COLUMNS + 1, np.nan, np.float32)
        found = np.array([known.get(i, nothing) for i in ids], dtype=float).reshape(-1, COLUMNS + 1)
        return Looks(found[:, :-1], found[:, -1], np.array([i not in known for i in ids], dtype=bool))

    def begun(self, material: Material) -> tuple[Frame, ...]:
        """The evaluations of this round's look at a material; none where this driver did not look."""
        look = self._new.get(material.digest) if isinstance(material, Crystal) else None
        return () if look is None else look.frames

    def seconds(self, crystals: Sequence[Crystal]) -> float:
        """What this round's looks at these crystals cost, core seconds."""
        return sum(self._new[c.digest].seconds for c in crystals if c.digest in self._new)

    def _look(self, crystals: Sequence[Crystal]) -> None:
        with self._watch.step("look"):
            try:
                looks = self._looks(crystals)
            except LOST:
                looks = [self._alone(crystal) for crystal in crystals]
        found = {c.digest: look for c, look in zip(crystals, looks, strict=True) if look is not None}
        self._new |= found
        self._cache.put(list(found), np.array([[*look.row, look.correction] for look in found.values()]))

    def _looks(self, crystals: Sequence[Crystal]) -> list[Look | None]:
        return self._dispatcher.map(look_in_worker, [(self._potential, crystal) for crystal in crystals])

    def _alone(self, crystal: Crystal) -> Look | None:
        try:
            return self._looks([crystal])[0]
        except LOST:
            return None
