"""Finds and reads campaign files, and says exactly what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from loop.config import CampaignConfig
from loop.errors import CampaignError
from loop.explain import explain, printable, show_place, suspicious_scalars
from loop.overrides import Override, OverrideError, parse_override
from loop.plugins import did_you_mean
from loop.yaml_text import Place, YamlError, YamlText, read_yaml, write_yaml
from materials.settings import LOOKING


class ConfigError(CampaignError):
    """A campaign file that cannot be used: the file, the line, the key, what is wrong and what to do."""


@dataclass(frozen=True)
class LoadedCampaign:
    """A valid campaign, the file it was read from, and the folder its relative paths start from."""

    config: CampaignConfig
    path: Path
    folder: Path


def bundled_campaigns() -> dict[str, Path]:
    """The campaign files that come with matloop, by file name."""
    folder = Path(str(files("experiments")))
    return {path.name: path for path in sorted(folder.glob("*.yaml"))}


def find_campaign_file(name: str | Path) -> Path:
    """The file as given, else the bundled one of that name. Raises ConfigError naming the bundled ones."""
    path = Path(name).expanduser()
    if path.is_file():
        return path.resolve()
    bundled = bundled_campaigns()
    if str(name) in bundled:
        return bundled[str(name)]
    if path.is_dir():
        raise ConfigError(f"{name}: this is a folder; name the campaign file in it")
    hint = did_you_mean(name, bundled)
    raise ConfigError(f"{name}: no such file{hint} Bundled campaigns: {', '.join(bundled)}")


def load_campaign(name: str | Path, overrides: Sequence[str] = (), looking: bool = False) -> LoadedCampaign:
    """The campaign in file `name` (see `find_campaign_file`) with `--set` overrides. Raises ConfigError.

    looking: only read it, without asking whether what it names can be loaded: a run folder may come from somebody else,
    and import paths run code.
    """
    path = find_campaign_file(name)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    return LoadedCampaign(parse_campaign(text, path, overrides, looking), path, path.parent)


def parse_campaign(
    text: str, path: Path, overrides: Sequence[str] = (), looking: bool = False
) -> CampaignConfig:
    """The campaign in `text`; `path` names it in errors, and its folder is where relative paths start."""
    try:
        document = read_yaml(text)
    except YamlError as error:
        where = "" if error.line is None else f":{error.line}:{error.column}"
        raise ConfigError(f"{path}{where}: this is no valid YAML: {error.message}") from error
    data = _mapping(document, path)
    try:
        changes = [parse_override(override) for override in overrides]
        for change in changes:
            change.apply(data)
    except OverrideError as error:
        raise ConfigError(f"{path}: {error}") from error
    return _validated(data, document, path, changes, looking)


def effective_yaml(config: CampaignConfig) -> str:
    """The complete configuration with all defaults and absolute paths; reading it gives an equal one."""
    return write_yaml(config.model_dump(mode="json"))


def _mapping(document: YamlText, path: Path) -> dict[str, Any]:
    if document.value is None:
        raise ConfigError(f"{path}: the file is empty; docs/campaign-file.md shows what belongs in it")
    if not isinstance(document.value, dict):
        found = "a list" if isinstance(document.value, list) else "a single value"
        raise ConfigError(
            f"{path}:1: the file holds {found}, but a campaign is a block of keys (name: ..., space: ...)"
        )
    return document.value


def _validated(
    data: dict[str, Any], document: YamlText, path: Path, overrides: Sequence[Override], looking: bool
) -> CampaignConfig:
    try:
        config = CampaignConfig.model_validate(data, context={"folder": path.parent, LOOKING: looking})
    except ValidationError as error:
        wrong = explain(error, CampaignConfig, data)
    else:
        wrong = list(suspicious_scalars(data, config.model_dump(mode="json")))
        if not wrong:
            return config
    wrong.sort(key=lambda found: document.line(found[0]) or 0)
    lines = [_located(place, sentence, document, path, overrides) for place, sentence in wrong]
    raise ConfigError("\n".join(lines))


def _located(
    place: Place, sentence: str, document: YamlText, path: Path, overrides: Sequence[Override]
) -> str:
    key, sentence = printable(show_place(place)), printable(sentence)
    for override in reversed(overrides):
        if override.place[: len(place)] == place or place[: len(override.place)] == override.place:
            return f"--set {override.text}: {key}: {sentence}"
    return f"{path}:{document.line(place)}: {key}: {sentence}" if key else f"{path}: {sentence}"
