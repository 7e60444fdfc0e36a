"""What a campaign tells whoever watches it; the terminal display is one listener, a log could be another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loop.database.store import Store
    from loop.executors.base import Dispatcher
    from materials.archive import Archive
    from materials.evaluation import Outcome


class Listener:
    """Hears of everything and does nothing; listeners override what they care about."""

    def campaign_started(self, name: str, rounds_done: int, rounds: int, archive: Archive) -> None:
        """The state is open and the campaign begins or goes on."""

    def warning(self, message: str) -> None:
        """Something a person should know and the campaign survives."""

    def round_started(self, number: int) -> None:
        """A round begins or is taken up again."""

    def step_started(self, step: str) -> None:
        """A step of the round begins: fit, propose, describe, select, evaluate, report."""

    def pool_grew(self, size: int, wanted: int) -> None:
        """Another candidate passed the screen."""

    def evaluation_started(self, total: int, dispatcher: Dispatcher) -> None:
        """The batch of `total` candidates goes to the oracles."""

    def waiting(self) -> None:
        """Called about twice a second while oracles run."""

    def outcome(self, outcome: Outcome, stage: str, formula: str, ended: bool) -> None:
        """An oracle answered; `ended` says that the candidate's line is over."""

    def round_closed(self, number: int, archive: Archive, timings: Mapping[str, float], store: Store) -> None:
        """The round is over and in the database."""


class Stopwatch:
    """Seconds spent in each named step of a round; a step inside another is taken off the outer one."""

    def __init__(self, listener: Listener) -> None:
        self.seconds: dict[str, float] = {}
        self._listener = listener
        self._inner: list[float] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Times the block under `name`, adding to what it took before."""
        self._listener.step_started(name)
        self._inner.append(0.0)
        start = perf_counter()
        try:
            yield
        finally:
            elapsed = perf_counter() - start
            inside = self._inner.pop()
            self.seconds[name] = self.seconds.get(name, 0.0) + elapsed - inside
            if self._inner:
                self._inner[-1] += elapsed
