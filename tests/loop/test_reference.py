"""docs/campaign-file.md says what every key means, and is what the settings say today."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from loop.config import CampaignConfig
from loop.plugins import ACQUISITIONS, EXECUTORS, GENERATORS, ORACLES, SURROGATES, Kinds
from loop.reference import campaign_reference

PAGE = Path(__file__).parents[2] / "docs" / "campaign-file.md"


def test_the_page_is_up_to_date() -> None:
    remedy = "write it again: python -m loop.reference --out docs/campaign-file.md"
    assert PAGE.read_text(encoding="utf-8") == campaign_reference(), remedy


def test_every_key_of_every_block_has_a_meaning() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", campaign_reference(), flags=re.MULTILINE)
    assert len(rows) > 60
    assert [key for key, meaning in rows if not meaning] == []


@pytest.mark.parametrize("kinds", [GENERATORS, SURROGATES, ACQUISITIONS, ORACLES, EXECUTORS])
def test_every_built_in_kind_is_on_the_page(kinds: Kinds) -> None:
    for kind in kinds.builtin:
        assert re.search(rf"^### \w+: {kind}$", campaign_reference(), flags=re.MULTILINE)


def test_the_shortest_file_on_the_page_is_a_campaign() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", campaign_reference(), flags=re.DOTALL)
    assert CampaignConfig.model_validate(yaml.safe_load(example)).name == "first"
