"""Shows where a campaign stands: `python -m loop.status runs/battery`. Takes no lock and writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loop.doors import errors_told

if TYPE_CHECKING:
    from loop.config import CampaignConfig

DOUBTS_SHOWN = 5

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def show(folder: Annotated[Path, typer.Argument(help="A run folder, such as runs/battery.")]) -> None:
    """Rounds, counts, failures by reason, who drives it, and the best candidates so far."""
    with errors_told():
        _show(folder)


def _show(folder: Path) -> None:
    from collections import Counter

    from rich.console import Console

    from loop.lock import holder
    from loop.progress import best_table
    from loop.report.folder import open_view
    from loop.terminal import counted

    view, config = open_view(folder)
    console = Console()
    closed = sum(row.closed_at is not None for row in view.rounds)
    driver = holder(folder)
    state = f"driven by {driver}" if driver else "no driver is running"
    console.print(
        f"[bold]{view.name}[/bold]  {closed} of {counted(config.budget.rounds, 'round')} closed; {state}"
    )
    own = [r for r in view.archive.values() if not r.known_before]
    counts = Counter("stopped at a gate" if r.stopped_at_gate else view.status(r).split(":")[0] for r in own)
    told = ", ".join(f"{count} {status}" for status, count in counts.most_common()) or "nothing measured yet"
    console.print(f"{len(own)} candidates: {told}", highlight=False)
    for reason, number in Counter(r.doubt for r in own if r.doubted).most_common(DOUBTS_SHOWN):
        console.print(f"{number} doubted: {reason}", highlight=False)
    failures = Counter(str(r.failure.kind) for r in own if r.failure is not None)
    if failures:
        console.print(
            "failures: " + ", ".join(f"{k} {n}" for k, n in failures.most_common()), highlight=False
        )
    for line in _lab(folder, config):
        console.print(line, highlight=False)
    front = view.archive.pareto_front()
    if front:
        console.print(best_table(view.archive, front[:10]))


def _lab(folder: Path, config: CampaignConfig) -> Iterator[str]:
    """What the lab does, and what waits for a person's decision."""
    from collections import Counter

    from loop.database.lab_rows import OrderStatus
    from loop.report.folder import state_of

    with state_of(folder, config) as view:
        lab = view.lab_orders()
        orders, paused = lab.orders(), lab.paused()
    if not orders:
        return
    counts = Counter(str(row.status) for row in orders)
    told = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    yield f"lab: {told}" + ("; paused" if paused else "")
    for row in orders:
        if row.status is OrderStatus.UNKNOWN:
            yield (
                f"[bold]decide[/bold]: {row.order.formula} (id {row.order.key}), which {row.worker} had in hand when "
                f"it vanished. Look at it, then: python -m loop.tell {folder} RESULTS.csv, or --repeat or --give-up ID"
            )


if __name__ == "__main__":
    app()
