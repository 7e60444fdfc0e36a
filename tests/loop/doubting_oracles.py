"""Oracles that doubt what was measured and that judge doubts; a distribution announces them to campaigns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from materials.base import Measurement
from materials.evaluation import FailureKind, Request
from oracles.base import OracleSettings
from oracles.one_by_one import Answer, FailedError, OneByOneOracle, RejectedError


class SuspicionSettings(OracleSettings):
    """Doubts every material that holds one of `suspects`; one that judges lifts doubts but of what holds `guilty`."""

    kind: Literal["suspicion", "judge"] = "suspicion"
    suspects: tuple[str, ...] = ()
    guilty: tuple[str, ...] = ()
    judges: ClassVar[bool] = False
    material_kinds: ClassVar[tuple[str, ...]] = ("composition",)

    @property
    def measures(self) -> tuple[str, ...]:
        return ("max_force",) if self.judges else ("energy_spread",)

    @property
    def fidelity(self) -> str:
        return "PBE" if self.judges else "potential"

    def build(self) -> SuspicionOracle:
        return SuspicionOracle(self)


class JudgeSettings(SuspicionSettings):
    """An oracle that says whether a doubt was right."""

    kind: Literal["judge"] = "judge"
    judges: ClassVar[bool] = True
    judges_doubt: ClassVar[bool] = True


class SuspicionOracle(OneByOneOracle):
    def __init__(self, settings: SuspicionSettings) -> None:
        self._settings = settings

    def measure(self, request: Request) -> Answer:
        settings = self._settings
        name = settings.measures[0]
        unit = "eV/angstrom" if settings.judges else "eV/atom"
        measured = Measurement(name, 0.1, unit, settings.fidelity, request.oracle)
        if settings.judges:
            return Answer((measured,), doubt="forces are large" if _holds(request, settings.guilty) else "")
        return Answer((measured,), doubt="models disagree" if _holds(request, settings.suspects) else None)


class ProgramSettings(OracleSettings):
    """Needs a program, which is there when `program` exists; refuses what holds one of `refuses` for ever."""

    kind: Literal["program"] = "program"
    program: str
    refuses: tuple[str, ...] = ()
    material_kinds: ClassVar[tuple[str, ...]] = ("composition",)

    @property
    def measures(self) -> tuple[str, ...]:
        return ("refractive_index",)

    @property
    def fidelity(self) -> str:
        return "PBE"

    def model_version(self) -> str:
        return "1.0" if Path(self.program).exists() else ""

    def build(self) -> ProgramOracle:
        return ProgramOracle(self)


class ProgramOracle(OneByOneOracle):
    def __init__(self, settings: ProgramSettings) -> None:
        self._settings = settings

    def measure(self, request: Request) -> Answer:
        if _holds(request, self._settings.refuses):
            raise RejectedError(FailureKind.UNSUPPORTED_MATERIAL, "refused")
        if not Path(self._settings.program).exists():
            raise FailedError(FailureKind.MISSING_PROGRAM, "the program is missing; install it")
        measured = Measurement("refractive_index", 1.5, "1", "PBE", request.oracle)
        return Answer((measured,))


def _holds(request: Request, symbols: Sequence[str]) -> bool:
    return any(symbol in request.material.formula for symbol in symbols)


def announce(folder: Path) -> None:
    """Lays the kinds out in `folder` as an installed distribution of their own; it must be on the path."""
    info = folder / "doubting-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: doubting\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[matloop.oracles]\nsuspicion = doubting_oracles:SuspicionSettings\njudge = doubting_oracles:JudgeSettings\n"
        "program = doubting_oracles:ProgramSettings\n"
    )
