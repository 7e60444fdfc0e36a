"""A campaign's predictions against its outcomes: by round for whoever looks, and what the next round learns of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from loop.database.rows import AnsweredPrediction, RoundRow
from loop.honesty import Forecast, Honesty, Widening, honesty, widening
from materials.archive import Archive
from materials.properties import property_named


@dataclass(frozen=True)
class RoundHonesty:
    """How the predictions of one property did on the outcomes that arrived in one round.

    widening: the factor on their standard deviations; the largest, where an outcome came late from another round.
    """

    round: int
    property: str
    honesty: Honesty
    widening: float


def counting(answered: Iterable[AnsweredPrediction], archive: Archive) -> tuple[AnsweredPrediction, ...]:
    """Those answered by the value that counts: of several fidelities the one that the surrogate learns from."""
    return tuple(
        a
        for a in answered
        if archive.measured(archive[a.candidate_id], a.prediction.property) == a.measurement
    )


def by_round(answered: Iterable[AnsweredPrediction]) -> list[RoundHonesty]:
    """One entry for each round and property with an outcome, in the order of rounds."""
    groups: defaultdict[tuple[int, str], list[AnsweredPrediction]] = defaultdict(list)
    for a in answered:
        groups[a.arrived_in_round, a.prediction.property].append(a)
    return [
        RoundHonesty(number, name, overall(group), max(a.prediction.widening for a in group))
        for (number, name), group in sorted(groups.items())
    ]


def overall(answered: Iterable[AnsweredPrediction]) -> Honesty:
    """How predictions did, as they were stated."""
    return honesty([_forecast(a) for a in answered])


def widenings(answered: Sequence[AnsweredPrediction]) -> dict[str, Widening]:
    """What the next round does to the intervals of each property, from all outcomes so far, oldest first.

    It starts from the standard deviations as the models gave them, so it ends when they are honest again.
    """
    forecasts: defaultdict[str, list[Forecast]] = defaultdict(list)
    for a in answered:
        forecasts[a.prediction.property].append(_forecast(a, a.prediction.widening))
    return {name: widening(found) for name, found in forecasts.items()}


def as_notes(found: Mapping[str, Widening]) -> dict[str, Any]:
    """What the notes of a round keep of it: the properties whose intervals it widened."""
    return {"widening": {name: asdict(one) for name, one in found.items() if one.factor > 1.0}}


def noted(row: RoundRow) -> dict[str, Widening]:
    """The inverse of `as_notes`: why and by how much a round widened intervals, by property."""
    return {name: Widening(**fields) for name, fields in row.notes.get("widening", {}).items()}


def told(name: str, found: Widening) -> str:
    """A widening in words."""
    return (
        f"the intervals of {name} are widened {found.factor:.2f} times: {found.misses} of the latest {found.count} "
        f"measured values lay outside the model's 90 % interval, where about {0.1 * found.count:.0f} are expected "
        f"(chance {found.chance:.1g})"
    )


def summary(entry: RoundHonesty) -> str:
    """A round's property in a few words."""
    found = entry.honesty
    if not found.count:
        return f"{entry.property}: {found.limits} limits only"
    unit = property_named(entry.property).unit
    return (
        f"{entry.property} off by {found.mae:.3g} {unit}, "
        f"{found.inside_90} of {found.count} inside the 90 % interval"
    )


def _forecast(answered: AnsweredPrediction, widened: float = 1.0) -> Forecast:
    expected, measured = answered.prediction, answered.measurement
    return Forecast(expected.mean, expected.std / widened, measured.value, measured.bound)
