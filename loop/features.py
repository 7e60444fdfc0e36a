"""Descriptors for the surrogates: cached by content, the missing ones computed on all workers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from loop.events import Stopwatch
from loop.executors.base import Dispatcher
from materials.base import Material, content_hash
from surrogates.descriptors import Descriptor, DescriptorSettings, FeatureCache

CHUNK = 8
"""Materials per task: small enough to balance two workers, large enough to hide the cost of a task."""

_descriptors: dict[str, Descriptor] = {}


def describe(settings: DescriptorSettings, materials: Sequence[Material]) -> npt.NDArray[np.float32]:
    """Descriptors [n, d] of a chunk of materials; runs in a worker, which keeps the descriptor loaded."""
    key = settings.fingerprint()
    if key not in _descriptors:
        _descriptors[key] = settings.build()
    return _descriptors[key].describe(materials)


class CampaignFeatures:
    """A `FeatureSource` that asks the cache first and the workers for the rest."""

    def __init__(
        self, settings: DescriptorSettings, folder: Path, dispatcher: Dispatcher, watch: Stopwatch
    ) -> None:
        self._settings = settings
        self._cache = FeatureCache(folder / "features.db", settings.version)
        self._dispatcher = dispatcher
        self._watch = watch

    def __call__(self, materials: Sequence[Material]) -> npt.NDArray[np.float64]:
        ids = [content_hash(material.to_dict()) for material in materials]
        by_id = dict(zip(ids, materials, strict=True))
        known, missing = self._cache.get(list(by_id))
        if missing:
            with self._watch.step("describe"):
                self._compute(missing, by_id)
            known, _ = self._cache.get(list(by_id))
        return np.asarray([known[i] for i in ids], dtype=float)

    def _compute(self, missing: Sequence[str], by_id: dict[str, Material]) -> None:
        # By size, so that the structures of a batch cost about the same; the large first, so that all workers end
        # at about the same time.
        ordered = sorted(missing, key=lambda i: -len(by_id[i].to_dict().get("species", ())))
        chunks = [ordered[i : i + CHUNK] for i in range(0, len(ordered), CHUNK)]
        work = [(self._settings, [by_id[i] for i in chunk]) for chunk in chunks]
        for chunk, rows in zip(chunks, self._dispatcher.map(describe, work), strict=True):
            self._cache.put(chunk, rows)
