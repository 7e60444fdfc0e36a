"""A run folder that somebody else made is looked at without running what it names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from loop.database.store import Store
from loop.loading import ConfigError, load_campaign
from loop.report.folder import open_view

DOCUMENT = {
    "name": "theirs",
    "space": {"elements": ["Cu", "Ni"]},
    "objectives": [{"property": "energy_per_atom", "goal": "minimize"}],
    "oracles": [{"kind": "relax", "potential": "their_module:Potential"}],
}


def test_looking_imports_nothing_that_a_campaign_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "their_module.py").write_text("raise SystemExit('this must not run')\n")
    (tmp_path / "campaign.yaml").write_text(yaml.safe_dump(DOCUMENT))
    with Store.open(tmp_path / "campaign.db", "theirs", create=True) as store:
        store.begin({}, "fingerprint")
    view, config = open_view(tmp_path)
    assert view.name == config.name == "theirs"
    assert "their_module" not in sys.modules


def test_running_a_campaign_needs_what_it_names(tmp_path: Path) -> None:
    file = tmp_path / "campaign.yaml"
    file.write_text(yaml.safe_dump(DOCUMENT))
    with pytest.raises(ConfigError, match="their_module"):
        load_campaign(str(file))
