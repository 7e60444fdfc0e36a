"""The plan of a dry run says in words what will happen."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from loop.errors import CampaignError
from loop.loading import effective_yaml, load_campaign
from loop.plan import describe
from loop.yaml_text import read_yaml


def printed(name: str, *overrides: str, folder: Path | None = None) -> str:
    output = io.StringIO()
    Console(file=output, width=400).print(describe(load_campaign(name, overrides).config, folder))
    return output.getvalue()


def line(text: str, label: str) -> str:
    return next(row for row in text.splitlines() if row.startswith(label))


def test_the_plan_names_what_is_searched_measured_and_spent() -> None:
    text = printed("battery.yaml", folder=Path("runs/mine"))
    assert "always with Li" in line(text, "space")
    assert "charge balanced, which 354 of 364 sets of elements can be" in line(text, "space")
    assert "minimize migration_barrier (eV)" in text
    assert "latent 50%, substitution 36%, random 2%, genetic 12%" in line(text, "candidates")
    assert "1. relax measures energy_per_atom (potential)" in line(text, "oracles")
    assert "2. hull" in text
    assert "only with energy_above_hull at most 0.15" in text
    assert "5 rounds of 12: 60 candidates, at most 240 oracle calls" in line(text, "budget")
    assert "runs/mine/campaign.db" in line(text, "files")


def test_what_is_known_before_is_read(tmp_path: Path) -> None:
    assert "16 materials with 32 measurements in" in line(printed("pool.yaml"), "known before")
    broken = tmp_path / "broken.csv"
    broken.write_text("formula,band_gap\nLi2O,5.0\nXq3,1.0\n")
    with pytest.raises(CampaignError, match=r"broken\.csv, row 3: 'Xq3' is no chemical formula"):
        printed("pool.yaml", f"data=[{broken}]")


def test_shares_are_told_as_parts_of_the_pool() -> None:
    assert "latent 86%, substitution 10%, random 1%, genetic 3%" in printed(
        "battery.yaml", "generators[0].share=3"
    )


def test_the_plan_ends_with_the_effective_file() -> None:
    text = printed("pool.yaml", "budget.rounds=7")
    effective = text.split("Effective configuration\n")[1]
    expected = effective_yaml(load_campaign("pool.yaml", ["budget.rounds=7"]).config)
    assert read_yaml(effective).value == read_yaml(expected).value


def test_tracking_goes_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example:5000")
    assert "http://tracking.example:5000" in line(printed("tiny.yaml"), "MLflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert "sqlite:///mlflow.db" in line(printed("tiny.yaml"), "MLflow")
    assert "off" in line(printed("tiny.yaml", "tracking=none"), "MLflow")


def test_targets_and_limits_are_told_with_their_units() -> None:
    text = printed(
        "pool.yaml",
        "objectives=[{property: band_gap, goal: target, target: 1.4, tolerance: 0.2}]",
        "constraints=[{property: formation_energy, at_most: -1}]",
    )
    assert "bring band_gap to 1.4 within 0.2 eV" in text
    assert "keep formation_energy at most -1 eV/atom" in text


def test_a_gap_at_a_learned_level_is_told_as_such() -> None:
    text = printed("semiconductor.yaml")
    assert "bring band_gap at fidelity learned_HSE to 1.4 within 0.2 eV" in line(text, "goals")
    assert "learned measures band_gap (learned_HSE)" in text
    assert not {"As", "Cd", "Hg", "Pb", "Tl", "Be", "Cr", "Se", "Te", "Sb"} & set(
        load_campaign("semiconductor.yaml").config.space.elements
    )


def test_a_prediction_does_not_answer_a_goal_that_names_hse() -> None:
    with pytest.raises(
        CampaignError, match=r"no oracle .* measures band_gap at fidelity 'HSE', only at learned_HSE"
    ):
        printed("semiconductor.yaml", "objectives[0].fidelity=HSE")
