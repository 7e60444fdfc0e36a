"""Takes a round's batch through the line of oracles: plan, submit, record, judge, go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from loop.asking import Asker
from loop.cache import EvaluationCache
from loop.database.rows import EvaluationRow, EvaluationStatus, PlannedEvaluation
from loop.database.store import Store
from loop.errors import CampaignError
from loop.events import Listener
from loop.executors.base import Dispatcher
from loop.line import Stage
from loop.walk import Walk
from materials.archive import Archive, Progress, Record
from materials.base import Material
from materials.evaluation import Outcome, Status
from materials.identity import IdentityIndex
from materials.relaxation import Frame

POLL_SECONDS = 0.5


class BatchEvaluation:
    """Evaluates the open round of a store. Every effect is preceded by its row, so it can stop anywhere."""

    def __init__(
        self,
        store: Store,
        line: Sequence[Stage],
        dispatcher: Dispatcher,
        cache: EvaluationCache | None,
        listener: Listener,
        begun: Callable[[Material], tuple[Frame, ...]] | None = None,
    ) -> None:
        """begun: what is known already of the relaxation of a material as it was proposed."""
        self._store = store
        self._line = line
        self._dispatcher = dispatcher
        self._asker = Asker(store, dispatcher, cache)
        self._listener = listener
        self._begun = begun
        self._walks: dict[str, Walk] = {}
        self._final = IdentityIndex()

    def run(
        self,
        number: int,
        archive: Archive,
        meanwhile: Callable[[], None] | None = None,
        again: Sequence[str] = (),
        patience: float = 0.0,
    ) -> None:
        """Evaluates round `number` until nothing runs any more; what waits for something outside stays open.

        `patience`: seconds to wait for a first answer from outside. `meanwhile` is called once when all is submitted,
        while workers work. `again`: candidates, also of earlier rounds, whose evaluation failed for a reason that may
        be mended by now.
        """
        self._number = number
        late = [r.id for r in archive.pending if r.round != number]
        selected = list(
            dict.fromkeys([*(s.candidate.id for s in self._store.selections(number)), *late, *again])
        )
        open_ids = [i for i in selected if i in again or _may_go_on(archive[i])]
        self._remember_final_materials(archive, set(open_ids))
        self._asked: dict[str, list[EvaluationRow]] = {}
        for row in self._store.evaluations(round=None if late or again else number):
            self._asked.setdefault(row.candidate_id, []).append(row)
        self._listener.evaluation_started(len(selected), self._dispatcher)
        for candidate_id in open_ids:
            self._take_up(archive[candidate_id])
        if meanwhile is not None:
            meanwhile()
        self._receive_until_quiet(patience)

    def _receive_until_quiet(self, patience: float) -> None:
        """Until no worker works, and what waits outside has said nothing new; `patience` until its first word."""
        end = time.monotonic() + patience
        while (inside := self._dispatcher.works()) or self._dispatcher.waits_outside():
            waits = inside or time.monotonic() < end
            heard = self._receive_all(POLL_SECONDS if waits else 0.0)
            if heard:
                end = 0.0
            elif not waits:
                return

    def _receive_all(self, timeout: float) -> bool:
        """Whether anything came."""
        outcomes = self._dispatcher.wait(timeout)
        for outcome in outcomes:
            self._receive(outcome)
        self._listener.waiting()
        return bool(outcomes)

    def _remember_final_materials(self, archive: Archive, open_ids: set[str]) -> None:
        relaxed_then_failed = [r for r in archive.failed if r.material is not r.candidate.material]
        for record in (*archive.evaluated, *relaxed_then_failed):
            if record.id not in open_ids and record.duplicate_of is None:
                self._final.add(record.id, record.material)

    def _take_up(self, record: Record) -> None:
        """Starts a walk, or goes on with one that an earlier driver left between any two steps."""
        rows = {row.key: row for row in self._asked.get(record.id, ())}
        walk = Walk(record.candidate, record.material, list(record.measurements))
        self._walks[record.id] = walk
        stages = {stage.key(record.id): stage for stage in self._line}
        for key, row in rows.items():
            if key in stages and row.status is EvaluationStatus.DONE:
                walk.heard(stages[key], row.doubt)
        next_stage = walk.following(self._line)
        earlier = None if next_stage is None else rows.get(next_stage.key(record.id))
        if walk.latest is not None:
            if earlier is None:
                self._go_on(walk)
                return
            self._final.add(record.id, walk.material)
        if next_stage is not None and earlier is None and record.progress is Progress.FAILED:
            self._plan(walk, next_stage)  # its oracle is another version now, and has not answered yet
            return
        if next_stage is None or earlier is None:
            raise CampaignError(
                f"round {self._number} was begun with another version of the oracle {self._line[0].name} or of what is "
                "behind it, and the answers of two versions cannot be mixed. Install the earlier version to end "
                "the round, or start a new run with another --dir."
            )
        self._ask(walk, next_stage, earlier)

    def _ask(self, walk: Walk, stage: Stage, earlier: EvaluationRow | None = None) -> None:
        """Asks a stage; what an earlier driver asked is taken up or harvested before it is asked again."""
        walk.asked = stage
        request = stage.request(walk.candidate, walk.material, walk.measurements, walk.doubt)
        if self._begun is not None and not walk.answered:
            request = replace(request, begun=self._begun(walk.material))
        found = self._asker.ask(stage.settings, request, earlier)
        if found is not None:
            self._receive(found)

    def _receive(self, outcome: Outcome) -> None:
        self._asker.keep(outcome, self._number)
        walk = self._walks[outcome.candidate_id]
        stage = walk.asked
        assert stage is not None
        if outcome.status is Status.DONE:
            walk.take(self._line, stage, outcome)
            goes_on = self._go_on(walk)
        else:
            goes_on = False
        self._listener.outcome(outcome, stage.name, walk.material.formula, not goes_on)

    def _go_on(self, walk: Walk) -> bool:
        """After a stage gave values: ends the line at a duplicate, a gate or the last stage, or asks the next."""
        candidate_id = walk.candidate.id
        twin = self._final.find(walk.material)
        if twin is not None and twin != candidate_id:
            self._store.set_duplicate(candidate_id, twin, "after_relaxation")
            return False
        if twin is None:
            self._final.add(candidate_id, walk.material)
        next_stage = walk.following(self._line)
        reason = walk.stopped_by(self._line)
        if reason is not None:
            self._store.stop(candidate_id, reason)
            return False
        if next_stage is None:
            return False
        self._plan(walk, next_stage)
        return True

    def _plan(self, walk: Walk, stage: Stage) -> None:
        candidate_id = walk.candidate.id
        planned = PlannedEvaluation(stage.key(candidate_id), candidate_id, stage.name, stage.number)
        self._store.plan(planned, self._number)
        self._ask(walk, stage)


def _may_go_on(record: Record) -> bool:
    """Whether a picked record may still be asked about, or was answered without its verdict being recorded."""
    return (
        record.progress is not Progress.FAILED and record.stopped_by is None and record.duplicate_of is None
    )
