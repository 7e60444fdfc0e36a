"""Doubted candidates as a person sees them: apart from gates, with the reason and what became of them."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from campaigns import write_campaign
from doubting_oracles import announce
from rich.console import Console

from loop.engine import Campaign, ExitCode
from loop.loading import load_campaign
from loop.progress import Display
from loop.report.figures import failures_figure, origins_figure, pareto_figure, progress_figure
from loop.report.folder import open_view
from loop.report.page import write_report
from loop.report.ranking import write_ranking
from loop.report.view import CampaignView

SUSPECTS, GUILTY = ["Al", "Ga", "Y"], ["Ga"]
DOUBT = "models disagree"
UNTRUSTED = ["", "doubted", "duplicate", "pending", "failed"]


def run(folder: Path, suspects: list[str], judged: bool) -> tuple[CampaignView, str]:
    """A finished campaign, and what its terminal said."""
    announce(folder)
    table = {"kind": "table", "file": "answers.csv", "fidelity": "experiment"}
    gate = {"formation_energy": {"at_most": -0.9}}
    oracles: list[dict[str, object]] = [
        table | {"measures": ["formation_energy"], "failure_rate": 0.15, "gate": gate},
        {"kind": "suspicion", "suspects": suspects},
        table | {"measures": ["band_gap"]},
    ]
    if judged:
        oracles.append({"kind": "judge", "guilty": GUILTY})
    budget = {"rounds": 2, "batch": 10, "pool": 40}
    file = write_campaign(folder / "campaign", oracles=oracles, budget=budget, data=[])
    console = Console(width=200, record=True)
    display = Display(folder / "run", console)
    with Campaign(load_campaign(str(file)).config, folder / "run", display) as campaign:
        assert campaign.run() is ExitCode.DONE
    return open_view(folder / "run")[0], console.export_text()


@pytest.fixture
def kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_doubt_is_told_with_its_reason_and_apart_from_gates(kinds: Path) -> None:
    view, output = run(kinds, SUSPECTS, judged=False)
    doubted = [r for r in view.archive.values() if r.doubted]
    gated = [r for r in view.archive.values() if r.stopped_at_gate]
    assert doubted
    assert gated
    assert {r.doubt for r in doubted} == {DOUBT}
    assert f"suspicion doubted: {DOUBT}" in output
    assert f"{len(gated)} stopped at a gate, {len(doubted)} doubted" in output
    assert {fate for _, _, fate in view.doubts()} == {"nothing lifted it: no discovery; kept out of table_2"}
    bars = failures_figure(view).data[0]
    shown = dict(zip(bars.y, bars.x, strict=True))
    assert shown["doubted"] == len(doubted)
    assert not any(DOUBT in label for label in shown)
    page = write_report(view, kinds).read_text()
    assert f"<b>{len(doubted)}</b><span>doubted</span>" in page
    assert f"<b>{len(gated)}</b><span>stopped at a gate</span>" in page
    with write_ranking(view, kinds).open(newline="") as handle:
        statuses = [row["status"].split(":")[0].split(" at ")[0] for row in csv.DictReader(handle)]
    assert statuses.count("doubted") == len(doubted)
    places = [UNTRUSTED.index(s) if s in UNTRUSTED else 0 for s in statuses]
    assert places == sorted(places)
    assert statuses[0] == "complete"
    assert statuses[-1] == "failed"


def test_status_counts_doubts_apart(kinds: Path) -> None:
    view, _ = run(kinds, SUSPECTS, judged=False)
    doubted = sum(r.doubted for r in view.archive.values())
    gated = sum(r.stopped_at_gate for r in view.archive.values())
    environment = {"PYTHONPATH": ":".join([*sys.path, str(kinds)])}
    command = [sys.executable, "-m", "loop.status", str(kinds / "run")]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert f"{doubted} doubted: {DOUBT}" in told
    assert f"{gated} stopped at a gate" in " ".join(told.split())


def test_what_a_judge_made_of_a_doubt_is_told(kinds: Path) -> None:
    view, output = run(kinds, SUSPECTS, judged=True)
    fates = {(r.material.formula[:2] == "Ga", doubt): fate for r, doubt, fate in view.doubts()}
    assert fates[False, DOUBT] == "lifted by judge"
    assert fates[True, DOUBT] == "confirmed by judge"
    assert fates[True, "forces are large"] == "nothing lifted it: no discovery; kept out of table_2"
    assert "the doubt is lifted" in output
    assert {r.material.formula[:2] for r in view.archive.values() if r.doubted} == {"Ga"}


def test_a_campaign_with_nothing_complete_says_so_in_words(kinds: Path) -> None:
    view, _ = run(kinds, ["Li", "Na", "K", "Mg", "Ca", *SUSPECTS], judged=False)
    assert not view.archive.complete
    assert pareto_figure(view) is None
    page = write_report(view, kinds).read_text()
    assert "Nothing complete yet" in page
    assert "Progress by round" not in page


def test_a_hypervolume_that_spans_nothing_is_not_drawn(kinds: Path) -> None:
    view, _ = run(kinds, ["Na", "K", "Mg", "Ca", *SUSPECTS], judged=False)
    complete = view.archive.complete
    assert len(complete) > 1
    assert len(progress_figure(view).data) == 3
    for record in complete[1:]:
        del view.archive._records[record.id]
    assert len(progress_figure(view).data) == 2


def test_few_candidates_stand_on_a_linear_axis(kinds: Path) -> None:
    view, _ = run(kinds, SUSPECTS, judged=False)
    assert origins_figure(view).layout.yaxis.type is None
    view.pool_sizes[1]["files"] = 5000  # type: ignore[index]
    axis = origins_figure(view).layout.yaxis
    assert (axis.type, axis.dtick) == ("log", 1)
