"""The replay behind the rule for widened intervals, and the rules that were compared."""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from experiments.benchmarks.widening import BATCH, JUMP, KNOWN, ROUNDS, Table, app, campaign
from experiments.files import bundled
from experiments.widening_rules import RULES

POOL, COLUMN = bundled("pool_answers.csv"), "formation_energy (eV/atom)"


@pytest.fixture(scope="module")
def table() -> Table:
    return Table(POOL, "formula", COLUMN)


def nothing_learned(
    known: np.ndarray, values: np.ndarray, asked: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The mean and spread of what is known."""
    assert len(known) == len(values) == len(set(known.tolist()))
    return np.full(len(asked), values.mean()), np.full(len(asked), values.std())


@pytest.mark.parametrize("policy", ["random", "greedy"])
@pytest.mark.parametrize("when", ["none", "stays", "returns"])
def test_what_changes_changes_when_it_is_said_to(table: Table, when: str, policy: str) -> None:
    changed = {"none": set(), "stays": set(range(JUMP, ROUNDS + 1)), "returns": {JUMP}}[when]
    oxides, others = set(table.values[table.oxide]), set(table.values[~table.oxide])
    for kind in ("chemistry", "scatter"):
        rounds = list(campaign(table, nothing_learned, kind, when, policy, seed=0))
        assert [number for number, _ in rounds] == list(range(1, ROUNDS + 1))
        for number, rows in rounds:
            values = set(rows[:, 2].tolist())
            assert rows.shape == (BATCH, 3)
            if number not in changed:
                assert values <= oxides
            elif kind == "chemistry":
                assert values <= others
            else:
                assert not values & (oxides | others)


def test_a_replay_is_the_same_again(table: Table) -> None:
    once, again = (
        list(islice(campaign(table, table.forest, "none", "none", "greedy", 3), 2)) for _ in range(2)
    )
    for (_, first), (_, second) in zip(once, again, strict=True):
        assert np.array_equal(first, second)
    assert table.oxide.sum() > KNOWN + ROUNDS * BATCH


@given(st.lists(st.floats(0.0, 100.0), max_size=60), st.sampled_from(sorted(RULES)))
@settings(max_examples=100, deadline=None)
def test_no_rule_narrows(scores: list[float], name: str) -> None:
    ages = np.arange(len(scores))[::-1] // BATCH + 1
    factor = RULES[name](np.array(scores), ages)
    assert 1.0 <= factor < np.inf


@pytest.mark.slow
def test_the_report_judges_what_replay_wrote(tmp_path: Path) -> None:
    out = tmp_path / "forecasts.csv"
    command = [
        "replay",
        str(POOL),
        "--column",
        COLUMN,
        "--surrogate",
        "forest",
        "--seeds",
        "0:1",
        "--out",
        str(out),
    ]
    assert CliRunner().invoke(app, command).exit_code == 0
    with out.open(newline="") as handle:
        assert sum(1 for _ in csv.DictReader(handle)) == 5 * 2 * ROUNDS * BATCH
    told = CliRunner().invoke(app, ["report", str(out)])
    assert told.exit_code == 0, told.output
    assert f"as modelled; all rounds ({5 * 2 * ROUNDS * BATCH} outcomes)" in told.output
    assert told.output.count("shipped") == 6 + 2 * 4
