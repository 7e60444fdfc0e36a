"""Campaigns whose lab is elsewhere: the page about it is right, and a run waits, ends and goes on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from campaigns import write_campaign

from loop.engine import Campaign, ExitCode
from loop.loading import load_campaign
from loop.plugins import ORACLES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "lab-elsewhere.md").read_text(encoding="utf-8")
EXAMPLES = [
    block
    for text in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    for block in (lambda read: read["oracles"] if isinstance(read, dict) else read)(yaml.safe_load(text))
]


@pytest.mark.parametrize("block", EXAMPLES, ids=lambda block: block["kind"])
def test_every_example_on_the_page_is_an_oracle(
    block: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_TOKEN", "token")
    if block["kind"] != "folder":
        pytest.importorskip({"rest": "httpx", "sila2": "sila2"}[block["kind"]], reason="extra `lab`")
    assert ORACLES.load_for(block).model_validate(block).kind == block["kind"]


def run(file: Path, folder: Path) -> tuple[ExitCode, int, int]:
    """How a run ends, and how many candidates are evaluated and failed by then."""
    with Campaign(load_campaign(file, ()).config, folder) as campaign:
        code = campaign.run()
        archive = campaign.archive()
        return code, len(archive.evaluated), len(archive.failed)


def test_a_campaign_waits_for_a_folder_that_is_away_and_goes_on_with_its_answers(tmp_path: Path) -> None:
    exchange = tmp_path / "exchange"
    lab = {"kind": "folder", "folder": "exchange", "measures": ["band_gap"], "settle_seconds": 0.0}
    file = write_campaign(
        tmp_path,
        oracles=[lab],
        objectives=[{"property": "band_gap", "goal": "maximize", "fidelity": "experiment"}],
        data=[],
        budget={"rounds": 1, "batch": 3, "pool": 64},
    )
    folder = tmp_path / "run"
    assert run(file, folder) == (ExitCode.WAITING, 0, 0)
    exchange.mkdir()
    assert run(file, folder) == (ExitCode.WAITING, 0, 0)
    keys = sorted(request.stem for request in (exchange / "requests").iterdir())
    assert len(keys) == 3
    measured = [{"property": "band_gap", "value": 3.0, "unit": "eV"}]
    answers: list[dict[str, object]] = [{"key": key, "measurements": measured} for key in keys[:2]]
    answers.append({"key": keys[2], "failure": "it melted"})
    (exchange / "results" / "week.json").write_text(json.dumps(answers))
    assert run(file, folder) == (ExitCode.DONE, 2, 1)
