"""Asks one evaluation once: what an earlier driver asked is taken up or harvested before it is asked again."""

from __future__ import annotations

from dataclasses import dataclass

from loop.cache import EvaluationCache
from loop.database.rows import OPEN, EvaluationRow
from loop.database.store import Store
from loop.errors import CampaignError
from loop.executors.base import Dispatcher
from materials.evaluation import FailureKind, Outcome, Request
from oracles.base import OracleSettings


@dataclass(frozen=True)
class Asker:
    """Puts requests whose rows are in the store to a dispatcher, and keeps what comes back."""

    store: Store
    dispatcher: Dispatcher
    cache: EvaluationCache | None

    def ask(
        self, settings: OracleSettings, request: Request, earlier: EvaluationRow | None = None
    ) -> Outcome | None:
        """The outcome where there is one already; None where it will arrive in the dispatcher's `wait`.

        earlier: the request's row as an earlier driver left it, where there was one.
        """
        ticket = earlier.ticket if earlier is not None and earlier.status in OPEN else None
        if ticket is not None and self.dispatcher.resume(settings, request, ticket):
            return None
        unheard = earlier is not None and earlier.attempts and earlier.status in OPEN
        found = self.dispatcher.harvest(request.key) if unheard else None
        if found is not None and disk_was_full(found):
            found = None
        if found is None and self.cache is not None:
            found = self.cache.get(request.key)
        if found is not None:
            return found
        attempt = self.store.mark_attempt(request.key)
        self.store.mark_submitted(request.key, self.dispatcher.submit(settings, request, attempt))
        return None

    def keep(self, outcome: Outcome, round: int) -> None:
        """Records what came back in `round`. Raises CampaignError where the disk is full, which no retry mends."""
        stop_where_disk_is_full(outcome)
        self.store.record_outcome(outcome, round)
        if self.cache is not None:
            self.cache.put(outcome)


def disk_was_full(outcome: Outcome) -> bool:
    """Whether it failed for want of space."""
    return outcome.failure is not None and outcome.failure.kind is FailureKind.DISK_FULL


def stop_where_disk_is_full(outcome: Outcome) -> None:
    """Raises CampaignError for an outcome that failed for want of space: all that follow would."""
    if outcome.failure is not None and disk_was_full(outcome):
        raise CampaignError(
            f"the disk is full ({outcome.failure.message}); everything measured so far is kept. "
            "Free some space and run the same command again."
        )
