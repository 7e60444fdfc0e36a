"""What people measured, checked against what the campaign knows before any of it is written."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from loop.database.lab_rows import OrderRow, OrderStatus
from loop.database.store import Store
from loop.errors import CampaignError
from materials.base import Candidate, Composition, Measurement, Origin
from materials.columns import MeasuredColumns
from materials.evaluation import Outcome
from materials.reading import ID_COLUMNS, material_of_row
from oracles.lab.results import done

BY_HAND = "by hand"
MOST_BYTES = 50 * 2**20


@dataclass(frozen=True)
class Answer:
    """An order that the table answers whole."""

    row: OrderRow
    outcome: Outcome


@dataclass(frozen=True)
class Addition:
    """Something measured that no open order asks for, of a known or a new candidate."""

    candidate: Candidate
    new: bool
    measurements: tuple[Measurement, ...]


@dataclass
class Tellings:
    """What a table says; nothing is written while there is a problem."""

    answers: list[Answer] = field(default_factory=list)
    additions: list[Addition] = field(default_factory=list)
    repeated: int = 0
    """Rows that say what was told before."""
    problems: list[str] = field(default_factory=list)


class Reader:
    """Reads a table of results for one campaign."""

    def __init__(self, store: Store, kind: str) -> None:
        """kind: of the materials of the campaign's space."""
        self._kind = kind
        self._orders = {row.order.key: row for row in store.lab().orders()}
        self._by_candidate: dict[str, list[OrderRow]] = {}
        for row in self._orders.values():
            self._by_candidate.setdefault(row.order.candidate_id, []).append(row)
        self._candidates = {c.id: c for c in store.candidates()}

    def read(self, file: Path) -> Tellings:
        """Everything in the table. Raises CampaignError for a file that is no such table."""
        found = Tellings()
        try:
            if file.stat().st_size > MOST_BYTES:
                raise CampaignError(f"{file}: larger than {MOST_BYTES >> 20} MB; split it")
            with file.open(encoding="utf-8-sig", newline="") as handle:
                reader = csv.DictReader(handle, restkey="\n", restval=None)
                header = list(reader.fieldnames or ())
                columns = MeasuredColumns(header)
                if not columns:
                    raise CampaignError(
                        f"{file}: no column holds measurements; name one after a property, such as band_gap (eV)"
                    )
                for number, row in enumerate(reader, 2):
                    self._row(row, f"row {number}", file, columns, found)
        except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
            raise CampaignError(f"{file}: {error}") from error
        return found

    def _row(
        self, row: Mapping[str, str | None], place: str, file: Path, columns: MeasuredColumns, found: Tellings
    ) -> None:
        try:
            if "\n" in row or None in row.values():
                raise ValueError("more or fewer cells than the header has; quote cells that hold commas")
            cells = {name: value or "" for name, value in row.items()}
            measured = columns.measurements(cells)
            if measured:
                self._told(cells, measured, f"{file.name}, {place}", found)
        except ValueError as error:
            found.problems.append(f"{file}, {place}: {error}")

    def _told(
        self, cells: Mapping[str, str], measured: tuple[Measurement, ...], source: str, found: Tellings
    ) -> None:
        name = next((cells[column].strip() for column in ID_COLUMNS if cells.get(column, "").strip()), "")
        if name in self._orders and _same(self._orders[name], measured):
            found.repeated += 1
            return
        order = self._open_order(name)
        known = order.order.candidate_id if order is not None else name
        if known in self._candidates:
            candidate, new = self._candidates[known], False
            _check_formula(cells, candidate)
        else:
            candidate, new = self._new(cells, name, source)
        wanted = set() if order is None else {target.property for target in order.order.targets}
        asked = tuple(m for m in measured if m.property in wanted)
        if order is not None and {m.property for m in asked} == wanted:
            found.answers.append(Answer(order, self._outcome(order, asked, source)))
            measured = tuple(m for m in measured if m.property not in wanted)
        if measured:
            found.additions.append(Addition(candidate, new, measured))

    def _open_order(self, name: str) -> OrderRow | None:
        """The unanswered order of this key, or the only one of this candidate."""
        rows = [self._orders[name]] if name in self._orders else self._by_candidate.get(name, [])
        if name in self._orders and rows[0].outcome is not None:
            raise ValueError(
                f"order {name} is answered already; to add another measurement, name its formula"
            )
        waiting = [row for row in rows if row.outcome is None]
        taken = next((row for row in waiting if row.status is OrderStatus.LEASED), None)
        if taken is not None:
            raise ValueError(f"order {taken.order.key} is being made by {taken.worker}; wait for its answer")
        return waiting[0] if len(waiting) == 1 else None

    def _new(self, cells: Mapping[str, str], name: str, source: str) -> tuple[Candidate, bool]:
        """The candidate that the row's formula or CIF names: a known one of that formula, else a new one."""
        if not cells.get("formula", "").strip() and not cells.get("cif", "").strip():
            raise ValueError(
                f"the campaign knows no {name!r}; use an id that loop.ask printed, or add a column formula or cif"
            )
        material = material_of_row(cells)
        candidate = Candidate(material, Origin("data", note=f"{source}: {name}" if name else source))
        if candidate.id in self._candidates:
            return self._candidates[candidate.id], False
        if material.kind == self._kind:
            return candidate, True
        same = [c for c in self._candidates.values() if c.formula == material.formula]
        if len(same) == 1:
            return same[0], False
        reason = (
            f"{len(same)} candidates have this formula" if same else "the campaign has none of this formula"
        )
        raise ValueError(f"{material.formula}: {reason}; name its id, or give its structure in a column cif")

    @staticmethod
    def _outcome(row: OrderRow, measured: tuple[Measurement, ...], source: str) -> Outcome:
        """The answer to an order, under the conditions asked for where the table states none."""
        conditions = {target.property: target.conditions for target in row.order.targets}
        for one in measured:
            if one.fidelity != "experiment":
                raise ValueError(f"{one.property} of a lab is of fidelity experiment, not {one.fidelity}")
        values = [
            replace(one, oracle=row.order.oracle, conditions={**conditions[one.property], **one.conditions})
            for one in measured
        ]
        return done(row.order, values, 0.0, {"measured_by": BY_HAND, "source": source})


def _same(row: OrderRow, measured: tuple[Measurement, ...]) -> bool:
    """Whether an order is answered with just these values."""
    before = () if row.outcome is None else row.outcome.measurements
    told = {(m.property, m.value, m.std, m.bound) for m in measured}
    return {(m.property, m.value, m.std, m.bound) for m in before} == told


def _check_formula(cells: Mapping[str, str], candidate: Candidate) -> None:
    """Raises ValueError where the row's formula is another one: the id was probably meant for another row."""
    told = cells.get("formula", "").strip()
    if told and Composition(told).formula != Composition(candidate.formula).formula:
        raise ValueError(f"the id is of {candidate.formula}, the row says {told}; correct one of them")


def write(store: Store, tellings: Tellings) -> None:
    """Writes all of it; what was written before changes nothing."""
    desk = store.lab()
    for answer in tellings.answers:
        desk.post(answer.row.order.key, BY_HAND, None, answer.outcome)
    new = [a.candidate for a in tellings.additions if a.new]
    measured: dict[str, list[Measurement]] = {}
    for addition in tellings.additions:
        measured.setdefault(addition.candidate.id, []).extend(addition.measurements)
    store.add_told(new, measured)
