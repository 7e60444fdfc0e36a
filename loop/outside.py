"""What waits for an answer from outside: a robot, people, a lab's own server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from loop.database.rows import OPEN
from loop.database.view import View
from loop.line import Stage
from oracles.base import TicketOracleSettings


def waiting_outside(store: View, line: Sequence[Stage]) -> Counter[str]:
    """How many requests wait, by the oracle that was asked."""
    outside = {stage.name for stage in line if isinstance(stage.settings, TicketOracleSettings)}
    return Counter(row.oracle for row in store.evaluations(*OPEN) if row.oracle in outside)


def too_many_wait(store: View, line: Sequence[Stage], most: int | None = None) -> bool:
    """Whether some oracle has as many requests to answer as may wait for it, or as `most`."""
    waiting = waiting_outside(store, line)
    return any(
        waiting[stage.name] >= (most or stage.settings.most_waiting)
        for stage in line
        if isinstance(stage.settings, TicketOracleSettings)
    )


def told_waiting(store: View, line: Sequence[Stage]) -> str:
    """What is waited for, in words."""
    waiting = waiting_outside(store, line)
    told = ", ".join(f"{count} by {name}" for name, count in waiting.items())
    return f"answers are still out: {told}" if told else "evaluations are still waiting for something outside"
