"""What the displays of all commands have in common."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from loop.executors.base import Dispatcher
    from materials.base import Measurement

LINE_IN_A_FILE = 200


def terminal() -> Console:
    """The terminal; in a file or pipe, where nobody can widen a window, lines are as long as they need be."""
    console = Console(file=sys.stdout)
    return console if console.is_terminal else Console(file=sys.stdout, width=LINE_IN_A_FILE)


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
    from materials.properties import property_named

    signs = {Bound.EXACT: "=", Bound.UPPER: "<=", Bound.LOWER: ">="}
    return ", ".join(
        f"{property_named(m.property).symbol} {signs[m.bound]} {_number(m)} {m.unit}" for m in measurements
    )


def duration(seconds: float) -> str:
    """'12 s', '5 min' or '2.0 h'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _number(measurement: Measurement) -> str:
    from materials.properties import property_named

    spans_magnitudes = property_named(measurement.property).transform == "log"
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return f"{measurement.value:.2e}" if spans_magnitudes else f"{round(measurement.value, 3) + 0.0:.3f}"
