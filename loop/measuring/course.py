"""Takes rows through a line of oracles. The outcome files are the state, so it can stop anywhere and go on."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from loop.asking import stop_where_disk_is_full
from loop.errors import CampaignError
from loop.executors.base import Dispatcher
from loop.executors.records import attempts_at, find_outcome
from loop.line import Stage
from loop.measuring.rows import Row
from loop.walk import Walk
from materials.archive import Progress, Record
from materials.base import Candidate, Measurement
from materials.evaluation import Failure, FailureKind, Outcome, Status

POLL_SECONDS = 0.5
LEAST_WAITING = 2
"""Requests that wait for a worker, so that none is idle. Executors begin with the heaviest of what waits; where little
does, rows end in about the order of the file, and a run that is stopped early has something to show."""

REMEDY = {
    "composition": "; give structures (CIF files, .extxyz, or a column `cif`), or ask an oracle that works on "
    "formulas, such as learned"
}
"""What to do about a material that an oracle does not work on, by the kind of the material."""


class Ending(StrEnum):
    """How a material's way down the line ended, or did not yet."""

    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    WAITING = "waiting"
    NOT_MEASURED = "not_measured"


@dataclass
class Course:
    """One material, the rows that hold it, and what became of it.

    failure: why it gave no value; reason: which gate or doubt ended its line. seconds: of all its evaluations.
    asked_before: whether an oracle's answer of an earlier run was taken up.
    """

    walk: Walk
    rows: list[Row]
    ending: Ending = Ending.NOT_MEASURED
    failure: Failure | None = None
    reason: str = ""
    seconds: float = 0.0
    asked_before: bool = False

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be asked in this run."""
        return self.ending not in (Ending.NOT_MEASURED, Ending.WAITING)

    @property
    def best(self) -> list[Measurement]:
        """Of each property the measurement of the highest fidelity, the latest where several have it."""
        walk = self.walk
        record = Record(walk.candidate, walk.material, Progress.EVALUATED, tuple(walk.measurements))
        names = dict.fromkeys(m.property for m in walk.measurements)
        return [found for name in names if (found := record.measured(name)) is not None]


class Listener:
    """Hears what happens and does nothing."""

    def waiting(self) -> None:
        """Called about twice a second while oracles run."""

    def ended(self, course: Course) -> None:
        """A material's line is over."""


@dataclass
class Measuring:
    """Walks every material of the rows down the line, each once, and keeps what became of it in `courses`.

    folder: `evaluations` of a work folder; what earlier runs left there is taken up at once.
    """

    rows: Sequence[Row]
    line: Sequence[Stage]
    folder: Path
    listener: Listener = field(default_factory=Listener)

    def __post_init__(self) -> None:
        self.courses: dict[str, Course] = {}
        for row in self.rows:
            if row.candidate is not None:
                self._course(row.candidate).rows.append(row)
        self._take_up()

    @property
    def open(self) -> list[Course]:
        """What is still to be measured."""
        return [course for course in self.courses.values() if not course.ended]

    def run(self, dispatcher: Dispatcher) -> None:
        """Measures what is open until nothing runs any more; what waits for something outside stays open.

        Raises CampaignError where the disk is full or no worker can be started.
        """
        self._dispatcher = dispatcher
        self._queue = deque(self.open)
        try:
            while self._fill() or self._receive_all(0.0):
                self._receive_all(POLL_SECONDS)
        finally:
            self._take_up()  # an interruption leaves outcomes that were written and not yet received
        for task in dispatcher.running():
            self.courses[task.candidate_id].ending = Ending.WAITING

    def _take_up(self) -> None:
        """Goes as far as what is on disk already says."""
        for course in self.open:
            self._go_on(course)

    def _receive_all(self, timeout: float) -> bool:
        """Waits for outcomes and goes on from them; whether there were any."""
        try:
            outcomes = self._dispatcher.wait(timeout)
        except RuntimeError as error:
            raise CampaignError(str(error)) from error
        for outcome in outcomes:
            self._receive(outcome)
        self.listener.waiting()
        return bool(outcomes)

    def _course(self, candidate: Candidate) -> Course:
        if candidate.id not in self.courses:
            self.courses[candidate.id] = Course(Walk(candidate, candidate.material), [])
        return self.courses[candidate.id]

    def _fill(self) -> bool:
        """Asks about further materials, until as many wait as run; whether anything runs in process."""
        tasks = [task for task in self._dispatcher.running() if not task.outside]
        waiting = sum(task.seconds is None for task in tasks)
        batch = max(stage.settings.preferred_batch for stage in self.line)
        most = max(LEAST_WAITING, len(tasks) - waiting, 2 * batch if batch > 1 else 0)
        for _ in range(min(most - waiting, len(self._queue))):
            self._ask(self._queue.popleft())
        return bool(self._queue) or any(not task.outside for task in self._dispatcher.running())

    def _ask(self, course: Course) -> None:
        walk, stage = course.walk, course.walk.asked
        assert stage is not None
        request = stage.request(walk.candidate, walk.material, walk.measurements, walk.doubt)
        attempts = attempts_at(self.folder, request.key)
        self._dispatcher.submit(stage.settings, request, max(attempts, default=0) + 1)

    def _receive(self, outcome: Outcome) -> None:
        stop_where_disk_is_full(outcome)
        course = self.courses[outcome.candidate_id]
        stage = course.walk.asked
        assert stage is not None
        self._take(course, stage, outcome)
        self._go_on(course)
        if course.ended:
            self.listener.ended(course)
        else:
            self._ask(course)

    def _go_on(self, course: Course) -> None:
        """Follows the line through what is answered already, to its end or to the stage to ask next."""
        walk = course.walk
        while not course.ended:
            reason = walk.stopped_by(self.line)
            stage = walk.following(self.line)
            if reason is not None:
                course.ending, course.reason = Ending.STOPPED, reason
            elif stage is None:
                course.ending = Ending.DONE
            else:
                walk.asked = stage
                unfit = _why_unfit(walk, stage)
                answered = self._answered(stage.key(walk.candidate.id))
                if unfit is not None:
                    course.ending, course.failure = Ending.REJECTED, unfit
                elif answered is None:
                    return
                else:
                    course.asked_before = True
                    self._take(course, stage, answered)

    def _answered(self, key: str) -> Outcome | None:
        """What an earlier run was told for good: a failed evaluation is asked again."""
        for attempt in attempts_at(self.folder, key):
            outcome = find_outcome(self.folder, key, attempt)
            if outcome is not None and outcome.status is not Status.FAILED:
                return outcome
        return None

    def _take(self, course: Course, stage: Stage, outcome: Outcome) -> None:
        course.seconds += outcome.seconds
        if outcome.status is Status.DONE:
            course.walk.take(self.line, stage, outcome)
        else:
            course.ending, course.failure = Ending(outcome.status), outcome.failure


def _why_unfit(walk: Walk, stage: Stage) -> Failure | None:
    """Why the stage's oracle cannot be asked about such a material at all."""
    able = stage.settings.material_kinds
    if walk.material.kind in able:
        return None
    kind = walk.material.kind
    message = f"{stage.name} works on {' or '.join(able)}, but this is a {kind}{REMEDY.get(kind, '')}"
    return Failure(FailureKind.UNSUPPORTED_MATERIAL, message)
