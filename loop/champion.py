"""The energy model in use and its challenger: refitted on the campaign's own relaxations, used only when better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import numpy.typing as npt

from loop.database.rows import ModelEntry, RoundRow
from loop.database.store import Store
from loop.energy_screen import ENERGY
from loop.errors import CampaignError
from loop.looks import CampaignLooks
from materials.archive import Archive, Record
from materials.base import Bound, Crystal
from surrogates.energy_model import SHIPPED, EnergyModel

ROLE = "energy_model"
HELD_OUT = 4
"""One formula of so many is held out for good: no model ever learns from it."""
FEWEST = 5
"""With fewer held-out relaxations nobody is judged, and the champion stays."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class OwnRelaxations:
    """The campaign's converged relaxations: looks [n, COLUMNS], relaxed energies [n], and who is held out [n]."""

    looks: Floats
    relaxed: Floats
    held_out: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, archive: Archive, oracle: str, looks: CampaignLooks, by_formula: bool) -> OwnRelaxations:
        """Those of the named oracle. by_formula: hold out whole formulas; else, in a search for the structure of one
        formula, candidates."""
        found = [
            (record, energy)
            for record in archive.values()
            if not record.known_before and (energy := _relaxed(record, oracle)) is not None
        ]
        rows = looks.at(
            [m for record, _ in found if isinstance(m := record.candidate.material, Crystal)]
        ).rows
        keys = [record.candidate.formula if by_formula else record.id for record, _ in found]
        known = np.isfinite(rows).all(axis=1) if found else np.zeros(0, dtype=bool)
        return cls(
            rows[known],
            np.array([energy for _, energy in found], dtype=float)[known],
            np.array([is_held_out(key) for key in keys], dtype=bool)[known],
        )


def is_held_out(key: str) -> bool:
    """Whether a formula or id is held out; the same in every round and every campaign."""
    return int(sha256(key.encode()).hexdigest(), 16) % HELD_OUT == 0


def _relaxed(record: Record, oracle: str) -> float | None:
    """The energy per atom that the oracle ended at, uncorrected."""
    energies = [
        m.value
        for m in record.measurements
        if m.property == ENERGY and m.oracle == oracle and m.bound == Bound.EXACT
    ]
    return energies[-1] if energies else None


@dataclass(frozen=True)
class Contest:
    """Who is used in a round.

    version: of the model in use. challenger: the refit of this round, None where there was nothing to learn from. won:
    whether it is the one in use. surprises: of champion and challenger, mean negative log likelihood of the held-out
    relaxations, None where there were too few.
    """

    model: EnergyModel
    version: str
    challenger: EnergyModel | None
    won: bool
    learned: int
    held_out: int
    surprises: tuple[float, float] | None

    def as_notes(self) -> dict[str, Any]:
        """What the notes of a round keep of it."""
        return {
            "version": self.version,
            "won": self.won,
            "learned": self.learned,
            "held_out": self.held_out,
            "surprises": None if self.surprises is None else list(self.surprises),
        }

    def save(self, folder: Path) -> None:
        """Writes the challenger, where there is one, into the round's folder of models."""
        if self.challenger is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self.challenger.save(folder / f"{ROLE}.safetensors")


def contest(
    number: int, base: EnergyModel, champion: EnergyModel, version: str, own: OwnRelaxations
) -> Contest:
    """Refits the base on all that may be learned from, and judges it beside the champion on what is held out.

    The refit wins where its mean surprise is lower by more than the standard error of that difference.
    """
    learned, held = ~own.held_out, own.held_out
    if not learned.any():
        return Contest(champion, version, None, False, 0, int(held.sum()), None)
    challenger = base.refitted(own.looks[learned], own.relaxed[learned])
    surprises, won = None, False
    if held.sum() >= FEWEST:
        test = own.looks[held], own.relaxed[held]
        of_champion, of_challenger = champion.surprises(*test), challenger.surprises(*test)
        surprises = float(of_champion.mean()), float(of_challenger.mean())
        gains = of_champion - of_challenger
        won = bool(gains.mean() > gains.std(ddof=1) / np.sqrt(len(gains)))
    model, used = (challenger, version_of(number)) if won else (champion, version)
    return Contest(model, used, challenger, won, int(learned.sum()), int(held.sum()), surprises)


def version_of(number: int) -> str:
    """The version of the model that was refitted in a round; that of round 0 is the one that ships."""
    return f"{ROLE}@{number}"


def models_in_use(store: Store, folder: Path) -> tuple[EnergyModel, EnergyModel, str]:
    """The model that refits begin from, the one in use, and the latter's version.

    The first is the one that shipped when the campaign began: the run folder has a copy.
    """
    if not store.models(ROLE):
        copy = _path(folder, 0)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copyfile(SHIPPED, copy)
        store.add_model(
            ROLE, version_of(0), str(copy.relative_to(folder)), _digest(copy), champion=True, round=0
        )
    entries = {entry.version: entry for entry in store.models(ROLE)}
    used = next(entry for entry in entries.values() if entry.champion)
    return _loaded(folder, entries[version_of(0)]), _loaded(folder, used), used.version


def _loaded(folder: Path, entry: ModelEntry) -> EnergyModel:
    path = folder / entry.path
    if entry.sha256 == _digest(SHIPPED) and not (path.exists() and _digest(path) == entry.sha256):
        path.parent.mkdir(parents=True, exist_ok=True)
        copyfile(SHIPPED, path)
    if not path.exists() or _digest(path) != entry.sha256:
        raise CampaignError(
            f"{path} is missing or was changed since the campaign wrote it; put it back (where MLflow tracks the "
            f"campaign it holds a copy, {entry.version}), or start a new run with another --dir"
        )
    return EnergyModel.load(path)


def _path(folder: Path, number: int) -> Path:
    return folder / "models" / str(number) / f"{ROLE}.safetensors"


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def refused_before(rounds: Sequence[RoundRow]) -> frozenset[str]:
    """The ids of the candidates that the energy model refused in these rounds."""
    return frozenset(one["id"] for row in rounds for one in row.notes.get(ROLE, {}).get("refused", ()))


def was_won(notes: Mapping[str, Any]) -> bool:
    """Whether the refit of a round with these notes is the model in use."""
    return bool(notes.get(ROLE, {}).get("won"))
