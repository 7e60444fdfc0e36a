"""What the displays of all commands have in common."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

if TYPE_CHECKING:
    from loop.executors.base import Dispatcher
    from materials.base import Measurement

LINE_IN_A_FILE = 200


def terminal() -> Console:
    """The terminal; in a file or pipe, where nobody can widen a window, lines are as long as they need be."""
    console = Console(file=sys.stdout)
    return console if console.is_terminal else Console(file=sys.stdout, width=LINE_IN_A_FILE)


class LiveDisplay:
    """Lines that stay, above a part that is drawn anew while work goes on; without that part in a file or a pipe."""

    def __init__(self, console: Console | None = None) -> None:
        # Named, because oracles run with stdout sent to their log while the display goes on.
        self.console = console or terminal()
        self._live = Live(
            get_renderable=self._render, console=self.console, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def _render(self) -> RenderableType:
        """The part that is drawn anew."""
        raise NotImplementedError


def running_lines(dispatcher: Dispatcher) -> list[Text]:
    """What runs now and for how long, and how much waits for a worker."""
    tasks = dispatcher.running()
    active = [t for t in tasks if t.seconds is not None]
    lines = [Text(f"  {t.oracle:8} {t.formula:18} {t.seconds:5.0f} s", style="dim") for t in active]
    waiting = len(tasks) - len(active)
    return [*lines, Text(f"  {waiting} waiting", style="dim")] if waiting else lines


def measured_text(measurements: Iterable[Measurement]) -> str:
    """'E_hull = 0.012 eV/atom, E_g <= 1.200 eV'"""
    from materials.base import Bound

    signs = {Bound.EXACT: "=", Bound.UPPER: "<=", Bound.LOWER: ">="}
    return ", ".join(
        f"{_symbol(m)} {signs[m.bound]} {_number(m)}{_shown_unit(m)}{_conditions(m)}" for m in measurements
    )


def counted(count: int, what: str) -> str:
    """'1 row', '2 rows'."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """'12 s', '5 min' or '2.0 h'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


PLAIN = {"pressure": 0.0, "strain": 0.0, "temperature": 300.0}
"""Conditions that need no words."""


def _symbol(measurement: Measurement) -> str:
    """A logarithm has no unit, but its argument was divided by one: 'log10 sigma (S/cm)'."""
    from materials.properties import property_named

    symbol, unit = property_named(measurement.property).symbol, measurement.unit
    return f"{symbol} ({unit[6:-1]})" if unit.startswith("log10(") else symbol


def _shown_unit(measurement: Measurement) -> str:
    """Behind the number; nothing where there is none, or where it stands with the symbol."""
    dimensionless = measurement.unit == "1" or measurement.unit.startswith("log10(")
    return "" if dimensionless else f" {measurement.unit}"


def _conditions(measurement: Measurement) -> str:
    """' at 20 GPa', ' at strain_xy 0.02'; nothing for the plain ones."""
    from materials.properties import CONDITIONS

    told = []
    for name, value in measurement.conditions.items():
        if value != PLAIN.get(name, 0.0):
            unit = CONDITIONS.get(name, "1")
            told.append(f"{name} {value:g}" if unit == "1" else f"{value:g} {unit}")
    return f" at {', '.join(told)}" if told else ""


def _number(measurement: Measurement) -> str:
    from materials.properties import property_named

    spans_magnitudes = property_named(measurement.property).transform == "log"
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return f"{measurement.value:.2e}" if spans_magnitudes else f"{round(measurement.value, 3) + 0.0:.3f}"
