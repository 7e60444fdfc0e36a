"""Looks of a campaign: kept by content, and one that takes its worker along does not take the round along."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Lattice, Structure

from loop.events import Listener, Stopwatch
from loop.executors.pool import WorkerLostError
from loop.executors.serial import SerialDispatcher
from loop.looks import CampaignLooks
from materials.base import Crystal


def rock_salt(cation: str, anion: str, edge: float) -> Crystal:
    whole = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(edge), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    return Crystal(whole.get_primitive_structure())


class Deadly(SerialDispatcher):
    """Loses its worker to every look at LiF, and counts the calls that it answers."""

    answered = 0

    def map(self, function: Callable[..., Any], work: Sequence[tuple[Any, ...]]) -> list[Any]:
        if any(crystal.formula == "LiF" for _, crystal in work):
            raise WorkerLostError("a worker was lost twice")
        self.answered += len(work)
        return super().map(function, work)


def test_a_look_that_kills_its_worker_is_left_to_the_oracle_and_spares_the_others(tmp_path: Path) -> None:
    watch = Stopwatch(Listener())
    crystals = [rock_salt("Mg", "O", 4.3), rock_salt("Li", "F", 4.1), rock_salt("Na", "Cl", 5.7)]
    with Deadly(tmp_path / "evaluations", 60) as dispatcher:
        looks = CampaignLooks("7net-0", tmp_path, dispatcher, watch)
        seen = looks.at(crystals)
        assert seen.lost.tolist() == [False, True, False]
        assert np.isfinite(seen.rows).all(axis=1).tolist() == [True, False, True]
        assert [bool(looks.begun(crystal)) for crystal in crystals] == [True, False, True]
        assert dispatcher.answered == 2
        again = CampaignLooks("7net-0", tmp_path, dispatcher, watch)
        np.testing.assert_array_equal(again.at(crystals).rows, seen.rows)
        assert dispatcher.answered == 2  # the two are kept, and the lost one is tried again
    assert watch.seconds["look"] > 0
    looks.forget()
    assert not looks.begun(crystals[0])
