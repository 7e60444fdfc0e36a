"""What to make next, as a person reads it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loop.database.lab_rows import OrderRow, OrderStatus
from loop.database.store import Store
from loop.database.view import View
from materials.base import Selection
from materials.files import whole
from materials.properties import CONDITIONS


@dataclass(frozen=True)
class ToMake:
    """An order, and why the campaign picked its material; None where the round is not known."""

    row: OrderRow
    why: Selection | None


def next_to_make(store: Store, number: int) -> list[ToMake]:
    """The most urgent orders that nobody has taken, in the order in which robots would get them."""
    queued = store.lab().orders(OrderStatus.QUEUED)
    urgent = sorted(queued, key=lambda row: (-row.order.priority, row.number))[:number]
    picked = _picked(store)
    return [ToMake(row, picked.get(row.order.candidate_id)) for row in urgent]


def _picked(view: View) -> dict[str, Selection]:
    return {s.candidate.id: s for row in view.rounds() for s in view.selections(row.number)}


def told(number: int, one: ToMake) -> str:
    """What to make, what to weigh in, what to measure, what is expected, and why, in lines for a terminal."""
    order = one.row.order
    amount = f", {order.grams:g} g" if order.grams else ""
    lines = [f"{number}. {order.formula}{amount}   (id {order.key})"]
    if order.precursors:
        lines.append("   weigh in  " + ", ".join(f"{p.grams:.4f} g {p.formula}" for p in order.precursors))
    for target in order.targets:
        at = "".join(f" at {value:g} {CONDITIONS[name]}" for name, value in target.conditions.items())
        lines.append(
            f"   measure   {target.property} in {target.unit}{at}; {_expected(one, target.property)}"
        )
    if one.why is not None:
        lines.append(f"   because   {one.why.reason}")
    return "\n".join(lines)


def _expected(one: ToMake, name: str) -> str:
    predictions = () if one.why is None else one.why.predictions
    found = next((p for p in predictions if p.property == name), None)
    return "no expectation yet" if found is None else f"expected {found.mean:.3g} ± {found.std:.2g}"


def write_form(orders: Sequence[ToMake], file: Path) -> None:
    """A CSV to fill in and to give to `loop.tell`: an empty column for every value that is wanted."""
    wanted = dict.fromkeys(f"{t.property} ({t.unit})" for one in orders for t in one.row.order.targets)
    details = {name: f"{name.split(' ')[0]}_std" for name in wanted}
    with whole(file) as part, part.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "formula", *(column for name in wanted for column in (name, details[name]))])
        for one in orders:
            order = one.row.order
            writer.writerow([order.key, order.formula, *("" for _ in range(2 * len(wanted)))])
