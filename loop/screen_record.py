"""What the energy model did in each round, for the terminal, MLflow and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from loop.champion import FEWEST, ROLE
from loop.database.rows import EvaluationRow, RoundRow
from loop.energy_screen import Refused

LOOKED_AT = "relax"
"""The oracle whose work a look spares."""


@dataclass(frozen=True)
class ScreenRecord:
    """A round of the energy model.

    version: of the model used. looked, refused, in_spite: candidates. looks: core seconds for those not taken. spared:
    what their relaxations would have cost beyond, by the median of the own, core seconds; None before the first.
    learned: own relaxations that the refit learned from. held_out: those it was judged on. surprises: of champion and
    challenger there, mean negative log likelihood, None where nobody was judged. won: whether the refit is used.
    """

    round: int
    version: str
    looked: int
    refused: int
    in_spite: int
    looks: float
    spared: float | None
    learned: int
    held_out: int
    surprises: tuple[float, float] | None
    won: bool

    def told(self) -> str:
        """In a sentence."""
        parts = [f"{self.looked} looked at, {self.refused} refused"]
        if self.refused and self.spared is not None:
            parts.append(f"about {self.spared:.0f} s of relaxations spared for {self.looks:.0f} s of looks")
        if self.in_spite:
            parts.append(f"{self.in_spite} relaxed all the same, for want of better ones")
        return "; ".join([*parts, self._contest()])

    def _contest(self) -> str:
        if not self.learned:
            return f"{self.version} in use"
        refit = f"a refit on {self.learned} own relaxations"
        if self.surprises is None:
            waits = f"waits until {FEWEST} others are held out to judge it on ({self.held_out} now)"
            return f"{self.version} in use; {refit} {waits}"
        champion, challenger = self.surprises
        verdict = "is used" if self.won else "is not used"
        judged = f"{challenger:.2f} against {champion:.2f} nats on {self.held_out} held out"
        return f"{self.version} in use; {refit} {verdict}: {judged}"

    def metrics(self) -> dict[str, float]:
        """Finite numbers for MLflow."""
        values = {
            "energy_model_looked": self.looked,
            "energy_model_refused": self.refused,
            "energy_model_in_spite": self.in_spite,
            "energy_model_seconds_of_looks": self.looks,
            "energy_model_seconds_spared": self.spared,
            "energy_model_learned": self.learned,
            "energy_model_held_out": self.held_out,
            "energy_model_won": float(self.won),
        }
        if self.surprises is not None:
            values["energy_model_nll_champion"], values["energy_model_nll_challenger"] = self.surprises
        return {name: float(value) for name, value in values.items() if value is not None}


def screen_records(rounds: Sequence[RoundRow], evaluations: Sequence[EvaluationRow]) -> list[ScreenRecord]:
    """One for each round in which the energy model screened."""
    relaxed = [(e.round, e.seconds) for e in evaluations if e.oracle == LOOKED_AT and e.seconds is not None]
    records = []
    for row in rounds:
        if ROLE in row.notes:
            seconds = [spent for number, spent in relaxed if number <= row.number]
            records.append(_record(row.number, row.notes[ROLE], median(seconds) if seconds else None))
    return records


def refused_in(row: RoundRow) -> list[Refused]:
    """Whom the energy model refused in a round."""
    return [Refused(**fields) for fields in row.notes.get(ROLE, {}).get("refused", ())]


def _record(number: int, notes: Mapping[str, Any], each: float | None) -> ScreenRecord:
    surprises = notes["surprises"]
    return ScreenRecord(
        round=number,
        version=notes["version"],
        looked=notes["looked"],
        refused=len(notes["refused"]),
        in_spite=notes["in_spite"],
        looks=notes["seconds"],
        spared=None if each is None else each * len(notes["refused"]),
        learned=notes["learned"],
        held_out=notes["held_out"],
        surprises=None if surprises is None else (surprises[0], surprises[1]),
        won=notes["won"],
    )
