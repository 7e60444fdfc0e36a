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
