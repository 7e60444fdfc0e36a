"""The report's figures, each a plotly figure of a campaign view."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from textwrap import shorten
from typing import Any

import numpy as np
import numpy.typing as npt

from loop.report.view import CampaignView
from materials.archive import Record
from materials.base import Crystal
from materials.goals import Objective
from materials.properties import property_named

INK, MUTED, ACCENT, GOOD, BAD = "#1f2430", "#9aa3b2", "#2563eb", "#059669", "#dc2626"
FEW = 100
"""Up to so many candidates, bars stand on a linear axis."""
LABEL = 60
"""Characters of a label beside a bar."""
PALETTE = ("#2563eb", "#d97706", "#059669", "#9333ea", "#db2777", "#0891b2", "#64748b")


def layout(figure: Any, height: int = 400) -> Any:
    """The common look: white, thin grid, legend below."""
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        legend={"orientation": "h", "y": -0.22, "x": 0},
        hoverlabel={"bgcolor": "white"},
    )
    return figure


def axis_title(name: str) -> str:
    """'migration barrier (eV)'."""
    unit = property_named(name).unit
    return f"{name.replace('_', ' ')} ({unit})"


def goal_title(objective: Objective) -> str:
    """'band gap, HSE (eV)': with the fidelity where the goal names one."""
    title = axis_title(objective.property)
    return title if objective.fidelity is None else title.replace(" (", f", {objective.fidelity} (", 1)


def _wanted(objective: Objective) -> tuple[float, float] | None:
    """The values that are as good as the target, to be shaded; None for other goals."""
    if objective.target is None:
        return None
    reach = objective.tolerance or 0.0
    return objective.target - reach, objective.target + reach


def hypervolume(scores: npt.NDArray[np.float64], reference: npt.NDArray[np.float64]) -> float:
    """Volume dominated by `scores` [n, m] above `reference` [m], larger scores being better."""
    import torch
    from botorch.utils.multi_objective.hypervolume import Hypervolume
    from botorch.utils.multi_objective.pareto import is_non_dominated

    points = torch.as_tensor(scores[np.all(scores > reference, axis=1)])
    if not len(points):
        return 0.0
    front = points[is_non_dominated(points)]
    return float(Hypervolume(torch.as_tensor(reference)).compute(front))


def pareto_figure(view: CampaignView) -> Any:
    """Records with both first objectives measured, the Pareto front as a line. None without objectives or points."""
    import plotly.graph_objects as go

    if len(view.archive.objectives) < 2:
        return None
    first, second = view.archive.objectives[:2]
    records = [r for r in view.archive.evaluated if r.duplicate_of is None]
    own = [r for r in records if not r.known_before]
    complete = {r.id for r in view.archive.complete}
    groups = {
        "known before": [r for r in records if r.known_before],
        "complete": [r for r in own if r.id in complete],
        "outside a constraint or gate": [r for r in own if not view.archive.feasible(r)],
        "only a limit is known": [r for r in own if view.archive.feasible(r) and r.id not in complete],
    }
    figure = go.Figure()
    colours = (MUTED, ACCENT, "#d97706", "#9333ea")
    for (label, members), colour in zip(groups.items(), colours, strict=True):
        points = [
            (r, r.value(first.property, first.fidelity), r.value(second.property, second.fidelity))
            for r in members
        ]
        points = [p for p in points if p[1] is not None and p[2] is not None]
        if points:
            figure.add_scatter(
                x=[p[1] for p in points],
                y=[p[2] for p in points],
                mode="markers",
                name=label,
                marker={
                    "color": colour,
                    "size": 9,
                    "opacity": 0.8,
                    "symbol": "triangle-right-open" if label.startswith("only") else "circle",
                },
                text=[f"{p[0].material.formula} ({p[0].candidate.origin.generator})" for p in points],
                hovertemplate="%{text}<br>%{x:.3f}, %{y:.3f}<extra></extra>",
            )
    if not figure.data:
        return None
    front = sorted(
        (r.value(first.property, first.fidelity), r.value(second.property, second.fidelity))
        for r in view.archive.pareto_front()
    )
    if front:
        figure.add_scatter(
            x=[p[0] for p in front],
            y=[p[1] for p in front],
            # About a target the front has two arms; a line through both would mean nothing.
            mode="markers" if "target" in (first.goal, second.goal) else "lines+markers",
            name="Pareto front",
            line={"color": GOOD, "width": 2},
            marker={"size": 13, "symbol": "circle-open", "line": {"width": 2}},
            hoverinfo="skip",
        )
    figure.update_xaxes(title=goal_title(first))
    figure.update_yaxes(title=goal_title(second))
    if span := _wanted(first):
        figure.add_vrect(*span, fillcolor=GOOD, opacity=0.15, line_width=0)
    if span := _wanted(second):
        figure.add_hrect(*span, fillcolor=GOOD, opacity=0.15, line_width=0)
    return layout(figure, 440)


def progress_figure(view: CampaignView) -> Any:
    """Best value of each objective by round and, with several objectives, the dominated hypervolume."""
    from plotly.subplots import make_subplots

    objectives = view.archive.objectives
    rounds = [row.number for row in view.rounds]
    volumes = _hypervolumes(view, rounds) if len(objectives) > 1 else []
    titles = [goal_title(o) for o in objectives] + (["hypervolume"] if any(volumes) else [])
    figure = make_subplots(rows=1, cols=len(titles), subplot_titles=titles)
    for column, objective in enumerate(objectives, start=1):
        figure.add_scatter(
            x=rounds,
            y=[_best_until(view, objective, n) for n in rounds],
            mode="lines+markers",
            line={"color": ACCENT, "shape": "hv"},
            showlegend=False,
            row=1,
            col=column,
        )
        if span := _wanted(objective):
            figure.add_hrect(*span, fillcolor=GOOD, opacity=0.15, line_width=0, row=1, col=column)
    if any(volumes):
        figure.add_scatter(
            x=rounds,
            y=volumes,
            mode="lines+markers",
            line={"color": GOOD, "shape": "hv"},
            showlegend=False,
            row=1,
            col=len(titles),
        )
    figure.update_xaxes(title="round", dtick=max(1, len(rounds) // 8))
    _room_around_constants(figure)
    layout(figure, 320)
    figure.update_layout(margin={"t": 40})
    return figure


def failures_figure(view: CampaignView) -> Any:
    """How candidates ended that did not come through: failures, gates, doubts, duplicates. None when all did."""
    import plotly.graph_objects as go

    counts: Counter[str] = Counter()
    for record in view.archive.values():
        if record.known_before:
            continue
        if record.failure is not None:
            counts[f"failed: {record.failure.kind}"] += 1
        elif record.duplicate_of is not None:
            counts["duplicate after relaxation"] += 1
        elif record.doubted:
            counts["doubted"] += 1
        elif record.stopped_by is not None:
            counts[
                shorten(f"gate: {record.stopped_by.split(' not kept')[0]}", LABEL, placeholder=" ...")
            ] += 1
    if not counts:
        return None
    labels, values = zip(*counts.most_common()[::-1], strict=True)
    colours = [BAD if label.startswith("failed") else "#d97706" for label in labels]
    figure = go.Figure(go.Bar(x=values, y=labels, orientation="h", marker={"color": colours}))
    figure.update_xaxes(title="candidates", dtick=max(1, max(values) // 8))
    figure.update_yaxes(automargin=True)
    return layout(figure, 120 + 34 * len(labels))


def origins_figure(view: CampaignView) -> Any:
    """For each generator: how many entered a pool, were picked, and came through."""
    import plotly.graph_objects as go

    steps: dict[str, Counter[str]] = {"in the pool": Counter(), "picked": Counter(), "complete": Counter()}
    for sizes in view.pool_sizes.values():
        steps["in the pool"].update(sizes)
    own = [r for r in view.archive.values() if not r.known_before]
    steps["picked"].update(r.candidate.origin.generator for r in own)
    steps["complete"].update(
        r.candidate.origin.generator for r in view.archive.complete if not r.known_before
    )
    names = sorted(steps["in the pool"])
    figure = go.Figure()
    for (label, counts), colour in zip(steps.items(), (MUTED, ACCENT, GOOD), strict=True):
        figure.add_bar(
            name=label,
            x=names,
            y=[counts[n] for n in names],
            marker={"color": colour},
            text=[counts[n] for n in names],
        )
    largest = max((count for counts in steps.values() for count in counts.values()), default=0)
    figure.update_yaxes(title="candidates", rangemode="tozero")
    if largest >= FEW:
        # One tick a decade: the ticks between them overlap where an axis spans few decades.
        figure.update_yaxes(type="log", range=[-0.3, np.log10(largest) + 0.2], dtick=1)
    return layout(figure, 360)


def _room_around_constants(figure: Any) -> None:
    """A line that never changes gets an axis of its own size, not plotly's from -1 to 1."""
    for number, trace in enumerate(figure.data, start=1):
        values = [y for y in trace.y if y is not None]
        if values and max(values) - min(values) < 1e-9:
            margin = 0.2 * abs(values[0]) or 0.1
            figure.update_yaxes(range=[values[0] - margin, values[0] + margin], row=1, col=number)


def structure_figure(record: Record) -> Any:
    """A structure to turn in three dimensions, or None for a material without one."""
    if not isinstance(record.material, Crystal):
        return None
    from pymatviz import structure_3d

    figure = structure_3d(record.material.structure, show_bonds=False)
    figure.update_layout(height=360, margin={"l": 0, "r": 0, "t": 0, "b": 0}, title=None, showlegend=False)
    return figure


def _best_until(view: CampaignView, objective: Objective, number: int) -> float | None:
    values = [
        value
        for record in view.archive.complete
        if (record.round or 0) <= number
        and (value := record.value(objective.property, objective.fidelity)) is not None
    ]
    return max(values, key=objective.score) if values else None


def _hypervolumes(view: CampaignView, rounds: Sequence[int]) -> list[float]:
    """Above the worst of each objective; zeros while these all are one value and span nothing."""
    scored = [(r.round or 0, view.archive.scores(r) or ()) for r in view.archive.complete]
    table = np.array([s for _, s in scored])
    if not scored or not np.ptp(table, axis=0).all():
        return [0.0 for _ in rounds]
    reference = table.min(axis=0) - 0.1 * np.ptp(table, axis=0)
    return [
        hypervolume(table[[n <= number for n, _ in scored]].reshape(-1, table.shape[1]), reference)
        for number in rounds
    ]
