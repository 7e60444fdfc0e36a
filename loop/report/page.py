"""report.html: one static file with everything a person wants to see after, or during, a campaign."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loop.audit_record import audited_in, told
from loop.report import figures, predictions
from loop.report.ranking import STRUCTURES, structure_name
from loop.report.view import CampaignView
from loop.screen_record import refused_in, screen_records
from materials.archive import Record
from materials.base import Crystal, Measurement
from materials.files import whole
from materials.properties import property_named

BEST_SHOWN = 6
REFUSED_SHOWN = 12
AUDITS_SHOWN = 25
TABLE_ROWS = 25


def write_report(view: CampaignView, folder: Path) -> Path:
    """Writes `folder`/report.html, whole or not at all."""
    from jinja2 import Environment, PackageLoader, select_autoescape
    from plotly.offline import get_plotlyjs

    environment = Environment(loader=PackageLoader("loop.report"), autoescape=select_autoescape(["html"]))
    text = environment.get_template("report.html").render(
        name=view.name,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        tiles=_tiles(view),
        goals=_goals(view),
        pareto=_html(figures.pareto_figure(view)),
        progress=_html(figures.progress_figure(view)) if view.rounds and view.archive.complete else "",
        nothing_complete=not view.archive.complete,
        predictions=_predictions(view),
        widenings=predictions.notes(view),
        screened=[(r.round, r.told()) for r in screen_records(view.rounds, view.evaluations)],
        refused=_refused(view),
        audits=_audits(view),
        same_data=any(one.same_data for row in view.rounds for one in audited_in(row)),
        audited=[(row.number, told(found)) for row in view.rounds if (found := audited_in(row))],
        doubts=[(r.candidate.formula, doubt, fate) for r, doubt, fate in view.doubts()],
        failures=_html(figures.failures_figure(view)),
        failure_messages=_failure_messages(view),
        origins=_html(figures.origins_figure(view)) if view.rounds else "",
        refusals=_refusals(view),
        best=_best(view),
        against=view.against,
        columns=[figures.axis_title(name) for name in view.goals],
        rows=[_table_row(view, record) for record in view.ranked[:TABLE_ROWS]],
        hidden_rows=max(0, len(view.ranked) - TABLE_ROWS),
        timings=_timings(view),
        plotly_script=get_plotlyjs(),
    )
    path = folder / "report.html"
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def _html(figure: Any) -> str:
    if figure is None:
        return ""
    config = {"displaylogo": False, "responsive": True, "displayModeBar": False}
    return str(figure.to_html(full_html=False, include_plotlyjs=False, config=config))


def _tiles(view: CampaignView) -> list[tuple[str, str]]:
    archive = view.archive
    own = [r for r in archive.values() if not r.known_before]
    closed = sum(row.closed_at is not None for row in view.rounds)
    return [
        ("round closed" if closed == 1 else "rounds closed", str(closed)),
        ("candidates picked", str(len(own))),
        ("of them complete, constraints kept", str(sum(not r.known_before for r in archive.complete))),
        ("stopped at a gate", str(sum(r.stopped_at_gate for r in own))),
        ("doubted", str(sum(r.doubted for r in own))),
        ("relaxed into a known one", str(sum(r.duplicate_of is not None for r in own))),
        ("failed", str(len(archive.failed))),
        ("on the Pareto front", str(len(archive.pareto_front()))),
        ("known beforehand", str(len(archive) - len(own))),
    ]


def _goals(view: CampaignView) -> list[str]:
    goals = []
    for objective in view.archive.objectives:
        unit = property_named(objective.property).unit
        name = objective.property.replace("_", " ")
        if objective.fidelity is not None:
            name += f" at fidelity {objective.fidelity}"
        if objective.goal == "target":
            goals.append(f"bring {name} to {objective.target:g} ± {objective.tolerance or 0:g} {unit}")
        else:
            goals.append(f"{objective.goal} {name} ({unit})")
    limits = [
        f"keep {c} {property_named(c.property).unit}".replace("_", " ") for c in view.archive.constraints
    ]
    return goals + limits


def _predictions(view: CampaignView) -> list[dict[str, Any]]:
    return [
        block | {"figure": _html(block["figure"]), "coverage": _html(block["coverage"])}
        for block in predictions.blocks(view)
    ]


def _failure_messages(view: CampaignView) -> list[tuple[str, str]]:
    return [(r.candidate.formula, r.failure.message) for r in view.archive.failed if r.failure is not None][
        :12
    ]


def _refusals(view: CampaignView) -> list[tuple[str, str, int]]:
    total: Counter[tuple[str, str]] = Counter()
    for counts in view.refusals.values():
        total.update(counts)
    return [(generator, reason, count) for (generator, reason), count in total.most_common(20)]


def _refused(view: CampaignView) -> list[tuple[int, str, str, str, str]]:
    """The likeliest of those that the energy model refused: round, formula, generator, height above hull, chance."""
    found = [(row.number, one) for row in view.rounds for one in refused_in(row)]
    likeliest = sorted(found, key=lambda item: -item[1].chance)[:REFUSED_SHOWN]
    return [(n, one.formula, one.generator, one.told_height(), f"{one.chance:.1%}") for n, one in likeliest]


def _audits(view: CampaignView) -> list[tuple[int, str, str, str, str]]:
    """The latest audits: round, formula, why it was chosen, by which oracle, what came of it."""
    found = [(row.number, one) for row in view.rounds for one in audited_in(row)]
    latest = list(reversed(found))[:AUDITS_SHOWN]
    return [(number, one.formula, one.why, one.oracle, one.told()) for number, one in latest]


def _best(view: CampaignView) -> list[dict[str, Any]]:
    shown = [r for r in view.archive.complete if isinstance(r.material, Crystal)]
    order = {r.id: i for i, r in enumerate(view.ranked)}
    cards = []
    for record in sorted(shown, key=lambda r: order[r.id])[:BEST_SHOWN]:
        cards.append(
            {
                "formula": record.material.formula,
                "novelty": view.novelty(record),
                "known": view.known.get(record.id, ""),
                "origin": f"{record.candidate.origin.generator} {record.candidate.origin.note}".strip(),
                "values": [v for name in view.goals if (v := _value(view.archive.measured(record, name)))],
                "file": "" if record.known_before else f"{STRUCTURES}/{structure_name(record)}",
                "figure": _html(figures.structure_figure(record)),
            }
        )
    return cards


def _value(measured: Measurement | None) -> str:
    if measured is None:
        return ""
    spread = f" ± {measured.std:.2g}" if measured.std else ""
    limit = {"exact": "", "upper": "≤ ", "lower": "≥ "}[str(measured.bound)]
    name = measured.property.replace("_", " ")
    return f"{name} {limit}{measured.value:.3f}{spread} {measured.unit} ({measured.fidelity})"


def _table_row(view: CampaignView, record: Record) -> dict[str, Any]:
    expected = {p.property: p for p in view.predictions.get(record.id, ())}
    cells = []
    for name in view.goals:
        measured = view.archive.measured(record, name)
        limit = {"exact": "", "upper": "≤ ", "lower": "≥ "}[str(measured.bound)] if measured else ""
        cells.append(
            {
                "measured": "" if measured is None else f"{limit}{measured.value:.3f}",
                "fidelity": "" if measured is None else measured.fidelity,
                "predicted": predictions.told_prediction(expected[name]) if name in expected else "",
            }
        )
    return {
        "formula": record.material.formula,
        "status": view.status(record),
        "novelty": view.novelty(record),
        "known": view.known.get(record.id, ""),
        "generator": record.candidate.origin.generator,
        "round": "" if record.round is None else record.round,
        "cells": cells,
    }


def _timings(view: CampaignView) -> list[dict[str, Any]]:
    steps = list(dict.fromkeys(step for row in view.rounds for step in row.timings))
    return [
        {"round": row.number, "steps": [(step, f"{row.timings.get(step, 0.0):.1f} s") for step in steps]}
        for row in view.rounds
    ]
