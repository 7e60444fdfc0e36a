"""What a person sees of a measurement: a line for each row, what runs now, and a summary."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from loop.executors.base import Dispatcher
from loop.measuring.course import Course, Ending, Listener
from loop.measuring.results import ending_of
from loop.measuring.rows import Row
from loop.terminal import LiveDisplay, counted, duration, measured_text, running_lines
from materials.evaluation import Failure

STYLES = {Ending.DONE: "green", Ending.STOPPED: "yellow", Ending.FAILED: "red", Ending.REJECTED: "red"}
WIDEST = 24
"""Characters of a name or formula in a line."""
TOLD = {Ending.NOT_MEASURED: "not measured yet"}


class Display(LiveDisplay, Listener):
    """A live display on a terminal; plain lines, one per row, where the output is a file or a pipe."""

    def __init__(self, console: Console | None = None) -> None:
        self._step = "loading the numerical libraries"
        self._total = self._ended = self._before = 0
        self._widths = (0, 0)
        self._dispatcher: Dispatcher | None = None
        self._start = time.monotonic()
        super().__init__(console)  # last, because it draws at once

    def reading(self, file: Path) -> None:
        """The input is being read."""
        self._step = f"reading {file}"

    def began(self, rows: Sequence[Row], courses: Mapping[str, Course], stages: Sequence[str]) -> None:
        """The rows are known, and what earlier runs made of them."""
        self._total, self._step = len(rows), "measuring"
        self._start = time.monotonic()
        formulas = [course.walk.material.formula for course in courses.values()]
        self._widths = (
            min(WIDEST, max(len(row.name) for row in rows)),
            min(WIDEST, max(map(len, formulas), default=0)),
        )
        endings = [ending_of(row, courses) for row in rows]
        self._before = self._ended = sum(ending is not Ending.NOT_MEASURED for ending in endings)
        told = f"{counted(len(rows), 'row')}, {counted(len(courses), 'different material')}"
        self._print(Text(f"{told}; oracles: {', '.join(stages)}", style="bold"))
        answered = 0
        for row in rows:
            course = None if row.candidate is None else courses[row.candidate.id]
            if course is not None and course.ended and course.asked_before:
                answered += 1
            elif course is not None and course.ended:
                self._print(self._line(row, course.walk.material.formula).append(_outcome(course)))
            elif course is None and row.failure is not None:
                self._print(self._line(row, "").append(_told(row.failure), style="red"))
        if answered:
            self._print(Text(f"{counted(answered, 'row')} answered by earlier runs"))

    def dispatched(self, dispatcher: Dispatcher) -> None:
        """From now on oracles run."""
        self._dispatcher = dispatcher

    def ended(self, course: Course) -> None:
        self._ended += len(course.rows)
        for row in course.rows:
            line = self._line(row, course.walk.material.formula)
            if row is not course.rows[0]:
                line.append(f"the same as row {course.rows[0].number}", style="dim")
            else:
                line.append(_outcome(course)).append(f"  {duration(course.seconds)}", style="dim")
            self._print(line)

    def finished(
        self, rows: Sequence[Row], courses: Mapping[str, Course], left_out: int, files: Sequence[Path]
    ) -> None:
        """The last lines: how it went, and where everything is."""
        self._live.stop()
        counts = Counter(ending_of(row, courses) for row in rows)
        told = [f"{counts[ending]} {TOLD.get(ending, str(ending))}" for ending in Ending if counts[ending]]
        self._print(
            Text(
                f"{counted(len(rows), 'row')}: {', '.join(told)}; {duration(time.monotonic() - self._start)}"
            )
        )
        for reason, count in _reasons(rows, courses).most_common():
            self._print(Text(f"  {count} x {reason}", style="dim"))
        if left_out:
            message = f"{counted(left_out, 'structure')} with partial occupancies left out of extended XYZ"
            self._print(Text(f"  {message}; use .csv or a folder", style="yellow"))
        for file in files:
            if file.exists():
                self._print(Text(f"  {file}"))
            else:
                self._print(
                    Text(f"  {file}: not written, as nothing was measured on a structure", style="yellow")
                )

    def _line(self, row: Row, what: str) -> Text:
        name, formula = self._widths
        number = f"{row.number:{len(str(self._total))}}/{self._total}"
        return Text(f"  {number}  {row.name[:name]:{name}}  {what[:formula]:{formula}}  ")

    def _print(self, line: Text) -> None:
        self.console.print(line, highlight=False, no_wrap=True, overflow="ellipsis")

    def _render(self) -> RenderableType:
        head = Table.grid(padding=(0, 1))
        bar = ProgressBar(self._total or 1, self._ended, width=24) if self._total else ""
        share = f"{self._ended}/{self._total}" if self._total else ""
        head.add_row(self._step, bar, share, self._time_left())
        return Group(head, *([] if self._dispatcher is None else running_lines(self._dispatcher)))

    def _time_left(self) -> str:
        """From the pace of this run, once it has one."""
        ended, left = self._ended - self._before, self._total - self._ended
        if ended < 3 or not left:
            return ""
        return f"about {duration((time.monotonic() - self._start) / ended * left)} left"


def _outcome(course: Course) -> Text:
    values = _values(course)
    if course.failure is not None:
        stage = "" if course.walk.asked is None else f"{course.walk.asked.name}: "
        told = Text(stage + _told(course.failure), style=STYLES.get(course.ending, ""))
        return told.append(f"  (before: {values})", style="dim") if values else told
    told = Text(f"stopped by {course.reason}  ", style="yellow") if course.reason else Text()
    return told.append(values, style="dim" if course.reason else "")


def _values(course: Course) -> str:
    """By oracle, so that no prediction is taken for a measurement; later ones first, as a line has an end."""
    measured = course.best
    stages = list(dict.fromkeys(m.oracle for m in measured))
    return "; ".join(
        f"{stage}: {measured_text(m for m in measured if m.oracle == stage)}" for stage in reversed(stages)
    )


def _told(failure: Failure) -> str:
    return f"{failure.kind}: {' '.join(failure.message.split())}"


def _reasons(rows: Sequence[Row], courses: Mapping[str, Course]) -> Counter[str]:
    """How many rows ended without a value for each kind of failure, or at each gate."""
    found: Counter[str] = Counter()
    for row in rows:
        course = None if row.candidate is None else courses[row.candidate.id]
        failure = row.failure if course is None else course.failure
        stage = "" if course is None or course.walk.asked is None else f"{course.walk.asked.name}: "
        if failure is not None:
            found[f"{stage}{failure.kind}"] += 1
        elif course is not None and course.ending is Ending.STOPPED:
            found[f"{stage}stopped"] += 1
    return found
