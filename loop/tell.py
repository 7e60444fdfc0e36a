"""Takes measurements that people made: `python -m loop.tell runs/battery results.csv`.

A row is about an order or a candidate (column id, as loop.ask printed it) or about any material (formula or cif).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loop.doors import errors_told

if TYPE_CHECKING:
    from loop.by_hand.tellings import Tellings
    from loop.database.store import Store
    from materials.base import Measurement

FAR = 4.0
"""Standard deviations from what was expected beyond which the preview says so."""
PROBLEMS_SHOWN = 20

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def tell(
    folder: Annotated[Path, typer.Argument(help="A run folder, such as runs/battery.")],
    file: Annotated[Path | None, typer.Argument(help="A CSV of results.", show_default="none")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")] = False,
    repeat: Annotated[
        str, typer.Option(metavar="ID", help="An order whose robot vanished: hand it out again.")
    ] = "",
    give_up: Annotated[
        str, typer.Option(metavar="ID", help="An order whose robot vanished: count it as failed.")
    ] = "",
) -> None:
    """Shows what a table would change, and writes it when you agree; the next run learns from it."""
    from loop.database.lab_rows import LabError

    if file is None and not (repeat or give_up):
        raise typer.BadParameter("name a CSV of results, or --repeat or --give-up with an order's id")
    with errors_told(LabError):
        _tell(folder, file, yes, repeat, give_up)


def _tell(folder: Path, file: Path | None, yes: bool, repeat: str, give_up: str) -> None:
    from loop.by_hand.tellings import BY_HAND, Reader, write
    from loop.report.folder import config_of, store_of

    config = config_of(folder)
    with store_of(folder, config) as store:
        if repeat:
            store.lab().decide(repeat, BY_HAND, "repeat")
        if give_up:
            store.lab().decide(give_up, BY_HAND, "give_up")
        if file is None:
            return
        tellings = Reader(store, config.space.kind).read(file)
        _stop_at(tellings.problems)
        if tellings.repeated:
            typer.echo(f"{tellings.repeated} rows say what was told before")
        if not tellings.answers and not tellings.additions:
            typer.echo(f"{file} says nothing new; nothing is changed")
            return
        for line in _preview(store, tellings):
            typer.echo(line)
        if not yes and not (sys.stdin.isatty() and typer.confirm("Write this?")):
            typer.echo("nothing is written; add --yes to write it")
            raise typer.Exit(1)
        write(store, tellings)
    answered, added = len(tellings.answers), len(tellings.additions)
    typer.echo(
        f"written: {answered} orders answered, {added} further materials; run the campaign to learn from them"
    )


def _stop_at(problems: list[str]) -> None:
    for problem in problems[:PROBLEMS_SHOWN]:
        typer.echo(f"error: {problem}", err=True)
    if problems:
        typer.echo(f"{len(problems)} rows cannot be taken; nothing is written", err=True)
        raise typer.Exit(2)


def _preview(store: Store, tellings: Tellings) -> Iterator[str]:
    """A line for each value: of what, what it does, and what was expected."""
    expected = _expectations(store)
    lines = [
        *((a.row.order.formula, f"answers order {a.row.order.key}", a.row.order.candidate_id, m)
          for a in tellings.answers for m in a.outcome.measurements),
        *((a.candidate.formula, "a new material" if a.new else "one more measurement", a.candidate.id, m)
          for a in tellings.additions for m in a.measurements),
    ]  # fmt: skip
    for formula, what, candidate, one in lines:
        yield f"{formula} ({what})\n  {_told(one)}{_compared(one, expected.get((candidate, one.property)))}"


def _expectations(store: Store) -> dict[tuple[str, str], tuple[float, float]]:
    """The latest prediction (mean, std) by candidate and property."""
    return {
        (candidate, p.property): (p.mean, p.std)
        for row in store.rounds()
        for candidate, found in store.predictions(row.number).items()
        for p in found
    }


def _told(one: Measurement) -> str:
    error = "" if one.std is None else f" ± {one.std:.2g}"
    bound = {"upper": "at most ", "lower": "at least "}.get(str(one.bound), "")
    return f"{one.property} {bound}{one.value:.4g}{error} {one.unit}"


def _compared(one: Measurement, expected: tuple[float, float] | None) -> str:
    if expected is None:
        return ""
    mean, std = expected
    far = abs(one.value - mean) / max(std, 1e-9)
    return f"; expected {mean:.3g} ± {std:.2g}" + (
        f": {far:.0f} deviations off, is it right?" if far > FAR else ""
    )


if __name__ == "__main__":
    app()
