"""How long a server that could not be reached is left alone, so that a driver does not spend its time on waiting."""

from __future__ import annotations

import random
import time

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds for which a server is left alone; the pauses double, unless the server names a time itself."""


class Absence:
    """Of one server. It begins when the server was noticed to be away, and is over with the first answer."""

    def __init__(self) -> None:
        self._pause, self._until = FIRST_PAUSE, 0.0

    @property
    def seconds_left(self) -> float:
        """For which the server is still left alone; 0 where it may be asked."""
        return max(0.0, self._until - time.monotonic())

    def noticed(self, seconds: float | None = None) -> None:
        """The server could not answer; `seconds`: when it says itself for how long."""
        # With jitter, so that many campaigns do not come back to a server at the same moment.
        pause = self._pause * random.uniform(0.8, 1.2) if seconds is None else seconds
        self._until = max(self._until, time.monotonic() + pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def over(self) -> None:
        """The server answered."""
        self._pause = FIRST_PAUSE
