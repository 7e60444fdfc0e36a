"""The terminal display of a campaign: what is running, the best so far, the time left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from loop.events import Listener
from loop.terminal import LiveDisplay, duration, measured_text, running_lines

if TYPE_CHECKING:
    from loop.database.store import Store
    from loop.engine import ExitCode
    from loop.executors.base import Dispatcher
    from materials.archive import Archive, Record
    from materials.evaluation import Outcome

STEPS = {
    "load": "loading the numerical libraries",
    "fit": "fitting the surrogates",
    "propose": "proposing candidates",
    "describe": "describing structures",
    "look": "looking at the first steps of relaxations",
    "predict": "predicting the pool",
    "select": "selecting the batch",
    "evaluate": "measuring",
    "audit": "measuring some results again",
    "report": "writing the report",
}


class Display(LiveDisplay, Listener):
    """A live display on a terminal; plain lines, one per event, where the output is a file or a pipe."""

    def __init__(self, folder: Path, console: Console | None = None) -> None:
        self._folder = folder
        self._step = "load"
        self._round = 0
        self._rounds = 0
        self._first_round = 1
        self._counts = (0, 0)
        self._failed = 0
        self._dispatcher: Dispatcher | None = None
        self._start = time.monotonic()
        self._rounds_start = self._start
        super().__init__(console)  # last, because it draws at once

    def campaign_started(self, name: str, rounds_done: int, rounds: int, archive: Archive) -> None:
        self._rounds, self._first_round = rounds, rounds_done + 1
        self._rounds_start = time.monotonic()
        known = sum(r.known_before for r in archive.values())
        self.console.print(f"[bold]{name}[/bold]  run folder {self._folder}", highlight=False)
        if known:
            self.console.print(f"{known} materials known beforehand", highlight=False)
        if rounds_done:
            told = f"going on after round {rounds_done} of {rounds} with {len(archive)} candidates in the archive"
            self.console.print(told, highlight=False)

    def warning(self, message: str) -> None:
        self.console.print(Text(f"warning: {message}", style="yellow"))

    def round_started(self, number: int) -> None:
        self._round, self._counts, self._failed, self._dispatcher = number, (0, 0), 0, None
        self.console.print(f"[bold]round {number} of {self._rounds}[/bold]", highlight=False)

    def step_started(self, step: str) -> None:
        self._step = step
        if step != "evaluate":
            self._dispatcher = None

    def pool_grew(self, size: int, wanted: int) -> None:
        self._counts = (size, wanted)

    def evaluation_started(self, total: int, dispatcher: Dispatcher) -> None:
        self._counts, self._dispatcher = (0, total), dispatcher

    def outcome(self, outcome: Outcome, stage: str, formula: str, ended: bool) -> None:
        done, total = self._counts
        self._counts = (done + ended, total)
        self._failed += outcome.failure is not None
        line = _outcome_line(outcome, stage, formula)
        self.console.print(line, highlight=False, no_wrap=True, overflow="ellipsis")
        if outcome.doubt is not None:
            doubt = f"doubted: {outcome.doubt}" if outcome.doubt else "the doubt is lifted"
            self.console.print(Text(f"  {formula:20} {stage:8} {doubt}", style="yellow"))

    def round_closed(self, number: int, archive: Archive, timings: Mapping[str, float], store: Store) -> None:
        front = archive.pareto_front()
        own = [r for r in archive.values() if not r.known_before]
        counts = {
            "complete": sum(not r.known_before for r in archive.complete),
            "stopped at a gate": sum(r.stopped_at_gate for r in own),
            "doubted": sum(r.doubted for r in own),
            "duplicates": sum(r.duplicate_of is not None for r in own),
            "failed": len(archive.failed),
        }
        so_far = ", ".join(f"{count} {what}" for what, count in counts.items() if count or what == "complete")
        told = f"round {number} closed; so far {so_far}"
        self.console.print(told, highlight=False)
        self._print_honesty(number, archive, store)
        self._print_screen(number, store)
        self._print_audit(number, store)
        if front:
            self.console.print(best_table(archive, front[:5]))

    def _print_honesty(self, number: int, archive: Archive, store: Store) -> None:
        from loop.track_record import by_round, counting, summary

        entries = by_round(counting(store.answered_predictions(), archive))
        parts = [summary(entry) for entry in entries if entry.round == number]
        if parts:
            self.console.print(f"predicted before the test: {'; '.join(parts)}", highlight=False)

    def _print_screen(self, number: int, store: Store) -> None:
        from loop.screen_record import screen_records

        for record in screen_records(store.rounds(), store.evaluations()):
            if record.round == number:
                self.console.print(f"energy model: {record.told()}", highlight=False)

    def _print_audit(self, number: int, store: Store) -> None:
        from loop.audit_record import audited_in, told

        for row in store.rounds():
            if row.number == number and (audited := audited_in(row)):
                self.console.print(f"audit: {told(audited)}", highlight=False)

    def finished(self, code: ExitCode, reason: str) -> None:
        """The last lines: how it ended, and where everything is."""
        from loop.engine import ExitCode

        self._live.stop()
        seconds = time.monotonic() - self._start
        if code is ExitCode.DONE:
            told = f"[green]done[/green] in {duration(seconds)}"
        elif code is ExitCode.STOPPED_BY_BRAKE:
            told = f"[red]stopped by the brake[/red]: {reason}"
        else:
            told = f"[yellow]waiting[/yellow]: {reason}; run the same command again later"
        self.console.print(told, highlight=False)
        for name in ("report.html", "ranking.csv", "structures"):
            if (self._folder / name).exists():
                self.console.print(f"  {self._folder / name}", highlight=False)

    def _render(self) -> RenderableType:
        done, total = self._counts
        step = STEPS.get(self._step, self._step)
        head = Table.grid(padding=(0, 1))
        head.add_row(
            f"round {self._round}/{self._rounds}" if self._round else "",
            step,
            ProgressBar(total or 1, done, width=24) if total else "",
            f"{done}/{total}" if total else "",
            f"{self._failed} failed" if self._failed else "",
            self._time_left(),
        )
        return Group(head, *self._running())

    def _running(self) -> list[RenderableType]:
        if self._dispatcher is None:
            return []
        return [*running_lines(self._dispatcher)]

    def _time_left(self) -> str:
        """From the pace of the rounds so far, the open one counted by its share of ended candidates."""
        done, total = self._counts
        share = done / total if total and self._dispatcher is not None else 0.0
        rounds = self._round - self._first_round + share
        if rounds <= 0.2:
            return ""
        left = (time.monotonic() - self._rounds_start) / rounds * (self._rounds - self._round + 1 - share)
        return f"about {duration(left)} left"


def best_table(archive: Archive, records: list[Record]) -> Table:
    """Formula, origin and measured objectives and constraints of records, with units and fidelities."""
    from materials.properties import property_named

    names = dict.fromkeys(
        [o.property for o in archive.objectives] + [c.property for c in archive.constraints]
    )
    table = Table("formula", "generator", box=None, header_style="bold", padding=(0, 2))
    for name in names:
        table.add_column(f"{name} ({property_named(name).unit})", justify="right")
    for record in records:
        cells = []
        for name in names:
            measured = archive.measured(record, name)
            cells.append("" if measured is None else f"{measured.value:.3f} [dim]{measured.fidelity}[/dim]")
        table.add_row(record.material.formula, record.candidate.origin.generator, *cells)
    return table


def _outcome_line(outcome: Outcome, stage: str, formula: str) -> Text:
    line = Text(f"  {formula:20} {stage:8} ")
    if outcome.failure is not None:
        message = outcome.failure.message.splitlines()[0]
        return line.append(f"{outcome.failure.kind}: {message}", style="red")
    return line.append(measured_text(outcome.measurements)).append(f"  {outcome.seconds:.1f} s", style="dim")
