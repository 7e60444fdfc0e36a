"""Going on with a changed file: budgets may grow, the meaning may not change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from loop.comparison import changes, refuse_changes, snapshot
from loop.config import CampaignConfig
from loop.errors import CampaignError
from loop.loading import load_campaign
from materials.checkpoints import find_checkpoint

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the bundled pool campaign that a test may change."""
    for file in EXPERIMENTS.glob("pool*"):
        shutil.copy(file, tmp_path)
    return tmp_path


def config(folder: Path, *overrides: str) -> CampaignConfig:
    return load_campaign(folder / "pool.yaml", overrides).config


def stored(folder: Path, *overrides: str) -> dict[str, Any]:
    """What the database gives back."""
    loaded: dict[str, Any] = json.loads(json.dumps(snapshot(config(folder, *overrides))))
    return loaded


def test_the_same_file_is_no_change(folder: Path) -> None:
    assert changes(stored(folder), config(folder)) == []
    refuse_changes(stored(folder), config(folder), folder)


@pytest.mark.parametrize(
    "override",
    [
        "budget.rounds=9",
        "budget.rounds=1",
        "budget.batch=7",
        "budget.pool=400",
        "executor.kind=local",
        "tracking=none",
        "limits.failure_share=0.9",
        "cache=answers.db",
        "database=sqlite:///other.db",
        "oracles[0].walltime=60",
    ],
)
def test_budgets_may_grow_and_what_does_not_matter_may_change(folder: Path, override: str) -> None:
    new = config(folder, override)
    assert [change.allowed for change in changes(stored(folder), new)] == [True]
    refuse_changes(stored(folder), new, folder)


@pytest.mark.parametrize(
    ("override", "shown"),
    [
        ("seed=2", "seed: 1 -> 2"),
        ("name=other", "name: pool -> other"),
        ("budget.batch=5", "budget.batch: 6 -> 5"),
        ("budget.pool=200", "budget.pool: 251 -> 200"),
        ("acquisition.kind=random", "acquisition.kind: noisy_expected_improvement -> random"),
        ("objectives[1].goal=minimize", "objectives[1].goal: maximize -> minimize"),
        ("oracles[0].noise=0.1", "oracles[0].noise: 0.0 -> 0.1"),
        ("oracles[0].gate={band_gap: {at_least: 1}}", "oracles[0].gate.band_gap: nothing -> {at_least: 1.0}"),
        ("constraints=[{property: band_gap, at_least: 1}]", "constraints[0]: nothing -> {"),
        ("space.elements=[Li, O]", "space.elements: [Li, Na,"),
    ],
)
def test_another_meaning_is_refused_with_the_keys_that_differ(
    folder: Path, override: str, shown: str
) -> None:
    with pytest.raises(CampaignError) as caught:
        refuse_changes(stored(folder), config(folder, override), Path("runs/pool"))
    assert shown in str(caught.value)
    assert "runs/pool holds a campaign with another configuration" in str(caught.value)


def test_only_what_matters_is_named(folder: Path) -> None:
    with pytest.raises(CampaignError) as caught:
        refuse_changes(stored(folder), config(folder, "seed=2", "budget.rounds=9"), folder)
    assert "budget.rounds: " not in str(caught.value)


def test_an_edited_input_file_is_a_change_and_a_moved_one_is_not(folder: Path) -> None:
    before = stored(folder)
    moved = folder / "moved"
    moved.mkdir()
    for file in folder.glob("pool*"):
        shutil.move(file, moved)
    assert changes(before, config(moved)) == []
    answers = moved / "pool_answers.csv"
    answers.write_text(answers.read_text().replace("5.451", "5.452"))
    with pytest.raises(CampaignError, match=r"oracles\[0\]\.file: the content of the file or folder differs"):
        refuse_changes(before, config(moved), moved)
    (change,) = changes(before, config(moved))
    assert change.old != change.new


def test_a_moved_checkpoint_is_no_change_and_another_modal_or_calculator_file_is(tmp_path: Path) -> None:
    found = find_checkpoint("7net-mf-0")
    text = (
        "name: moved\nspace: {elements: [Mg, O]}\nobjectives: [{property: energy_per_atom, goal: minimize}]\n"
        f"oracles: [{{kind: relax, potential: 'mine.pth:PBE', sha256: {found.sha256}}}]\n"
    )
    here, there = tmp_path / "here", tmp_path / "there"
    for place in (here, there):
        place.mkdir()
        (place / "campaign.yaml").write_text(text)
        (place / "mine.pth").symlink_to(found.path)
    before = snapshot(load_campaign(here / "campaign.yaml").config)
    assert changes(before, load_campaign(there / "campaign.yaml").config) == []
    (there / "campaign.yaml").write_text(text.replace("PBE", "R2SCAN"))
    (change,) = changes(before, load_campaign(there / "campaign.yaml").config)
    assert (change.key, change.allowed) == ("oracles[0].potential", False)


def test_blocks_that_come_or_go_are_named_once(folder: Path) -> None:
    longer = config(folder, f"data=[pool_measurements.csv, {folder / 'pool_answers.csv'}]")
    found = changes(stored(folder), longer)
    assert [change.key for change in found] == ["data"]
    assert not found[0].allowed


def test_the_way_to_a_lab_may_change_and_what_it_measures_may_not(folder: Path) -> None:
    lab = [
        "oracles=[{kind: folder, folder: here, measures: [band_gap]}]",
        "objectives=[{property: band_gap, goal: maximize, fidelity: experiment}]",
    ]
    before = stored(folder, *lab)
    moved = config(
        folder, *lab, "oracles[0].folder=there", "oracles[0].format=csv", "oracles[0].most_waiting=2"
    )
    assert {change.key for change in changes(before, moved) if change.allowed} == {
        "oracles[0].folder",
        "oracles[0].format",
        "oracles[0].most_waiting",
    }
    refuse_changes(before, moved, folder)
    other = config(folder, *lab, "oracles[0].conditions={temperature: 400}")
    assert [change.allowed for change in changes(before, other)] == [False]
