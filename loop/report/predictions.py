"""What the report says of predictions: against measured values, and how honest they were, round by round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loop.database.rows import AnsweredPrediction
from loop.honesty import Honesty, Widening
from loop.report.figures import ACCENT, GOOD, MUTED, PALETTE, axis_title, layout
from loop.report.view import CampaignView
from loop.terminal import counted
from loop.track_record import RoundHonesty, by_round, noted, overall, told
from materials.base import Bound, Prediction
from materials.properties import property_named

FAR = 3.0
"""From this distance on, nothing like the material is among the training rows."""


def told_prediction(expected: Prediction) -> str:
    """'0.42 (0.11 to 0.73), distance 1.2': mean, 90 % interval, and how far from the training rows."""
    low, high = expected.interval()
    text = f"{expected.mean:.2f} ({low:.2f} to {high:.2f})"
    if expected.distance is None:
        return text
    return f"{text}, distance {expected.distance:.1f}{', extrapolated' if expected.distance > FAR else ''}"


def tested(view: CampaignView, name: str) -> list[AnsweredPrediction]:
    """The tested predictions of one property whose measured value is exact."""
    mine = [a for a in view.answered if a.prediction.property == name]
    return [a for a in mine if a.measurement.bound == Bound.EXACT]


def calibration_figure(view: CampaignView, name: str) -> Any:
    """Predicted before the test against measured, with the 90 % interval; None without pairs."""
    import plotly.graph_objects as go

    answered = tested(view, name)
    if not answered:
        return None
    figure = go.Figure()
    ends = [x for a in answered for x in (a.measurement.value, a.prediction.mean)]
    line = [min(ends), max(ends)]
    figure.add_scatter(
        x=line, y=line, mode="lines", line={"color": MUTED, "dash": "dot"}, showlegend=False, hoverinfo="skip"
    )
    for index, number in enumerate(sorted({a.round for a in answered})):
        chosen = [a for a in answered if a.round == number]
        figure.add_scatter(
            x=[a.measurement.value for a in chosen],
            y=[a.prediction.mean for a in chosen],
            error_y={"type": "data", "array": [_half(a) for a in chosen], "thickness": 1, "width": 2},
            mode="markers",
            name=f"round {number}",
            marker={"color": PALETTE[index % len(PALETTE)], "size": 8},
            text=[_hover(view, a) for a in chosen],
            hovertemplate="%{text}<extra></extra>",
        )
    figure.update_xaxes(title=f"{axis_title(name)}, by the oracle")
    figure.update_yaxes(title="predicted, 90 % interval")
    return layout(figure, 360)


def _half(answered: AnsweredPrediction) -> float:
    low, high = answered.prediction.interval()
    return (high - low) / 2


def _hover(view: CampaignView, answered: AnsweredPrediction) -> str:
    formula = view.archive[answered.candidate_id].material.formula
    words = told_prediction(answered.prediction)
    return f"{formula}<br>{answered.measurement.value:.3f} ({answered.measurement.fidelity})<br>predicted {words}"


def coverage_figure(entries: Sequence[RoundHonesty]) -> Any:
    """The share of one property's values inside the 50 % and 90 % intervals, by round, beside what they promise."""
    import plotly.graph_objects as go

    figure = go.Figure()
    rounds = [e.round for e in entries]
    for level, colour in ((50, ACCENT), (90, GOOD)):
        counts = [getattr(e.honesty, f"inside_{level}") for e in entries]
        figure.add_scatter(
            x=rounds,
            y=[100 * c / e.honesty.count for c, e in zip(counts, entries, strict=True)],
            mode="lines+markers",
            name=f"inside the {level} % interval",
            line={"color": colour, "width": 2},
            marker={"size": 8},
            text=[f"{c} of {e.honesty.count}" for c, e in zip(counts, entries, strict=True)],
            hovertemplate="round %{x}: %{text}<extra></extra>",
        )
        figure.add_hline(y=level, line={"color": colour, "dash": "dot", "width": 1})
    figure.update_xaxes(title="round", dtick=max(1, len(rounds) // 8))
    figure.update_yaxes(title="outcomes inside (%)", range=[-4, 104])
    return layout(figure, 360)


def honesty_rows(view: CampaignView, name: str) -> list[dict[str, str]]:
    """The lines of a property's table: one for each round with outcomes, and one for all of them."""
    answered = [a for a in view.answered if a.prediction.property == name]
    entries = by_round(answered)
    rows = [_row(str(e.round), e.honesty, "" if e.widening == 1 else f"{e.widening:.2f} ×") for e in entries]
    return [*rows, _row("all", overall(answered), "")] if len(rows) > 1 else rows


def _row(label: str, found: Honesty, widening: str) -> dict[str, str]:
    return {
        "round": label,
        "values": str(found.count) + (f" + {found.limits} limits" if found.limits else ""),
        "mae": _number(found.mae),
        "spearman": _number(found.spearman),
        "nll": _number(found.nll),
        "inside_50": f"{found.inside_50} of {found.count}" if found.count else "",
        "inside_90": f"{found.inside_90} of {found.count}" if found.count else "",
        "widening": widening,
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def notes(view: CampaignView) -> list[str]:
    """One line for each property whose intervals were ever widened: in which rounds, and the latest in words."""
    widened: dict[str, dict[int, Widening]] = {}
    for row in view.rounds:
        for name, found in noted(row).items():
            widened.setdefault(name, {})[row.number] = found
    return [_note(name, found) for name, found in widened.items()]


def _note(name: str, by_number: Mapping[int, Widening]) -> str:
    *earlier, latest = by_number
    text = f"Round {latest}: {told(name, by_number[latest])}."
    if not earlier:
        return text
    most = max(found.factor for found in by_number.values())
    return f"{text} Widened in rounds {_spans(list(by_number))}, at most {most:.2f} times."


def _spans(numbers: Sequence[int]) -> str:
    """[1, 2, 3, 5] as '1 to 3, 5'; the numbers rise."""
    starts = [n for n in numbers if n - 1 not in numbers]
    ends = [n for n in numbers if n + 1 not in numbers]
    return ", ".join(
        str(start) if start == end else f"{start} to {end}" for start, end in zip(starts, ends, strict=True)
    )


def blocks(view: CampaignView) -> list[dict[str, Any]]:
    """For each property with tested predictions, goals first: title, words, figures and table."""
    found = []
    foretold = [a.prediction.property for a in view.answered]
    for name in dict.fromkeys([*view.goals, *foretold]):  # the energy model's energies are no goal
        answered = tested(view, name)
        if not answered:
            continue
        entries = [e for e in by_round(answered) if e.honesty.count]
        total = overall(answered)
        found.append(
            {
                "title": name.replace("_", " "),
                "unit": property_named(name).unit,
                "text": f"{counted(total.count, 'prediction')} stored before the test: mean absolute error "
                f"{total.mae:.3g} {property_named(name).unit}; {total.inside_90 / total.count:.0%} of the outcomes lie "
                "inside the 90 % interval.",
                "figure": calibration_figure(view, name),
                "coverage": coverage_figure(entries),
                "rows": honesty_rows(view, name),
            }
        )
    return found
