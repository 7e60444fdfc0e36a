"""Whether a run folder may go on with a changed campaign file: budgets may grow, meaning may not change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loop.config import WITHOUT_MEANING, CampaignConfig
from loop.earlier import known_content
from loop.errors import CampaignError
from loop.explain import show_place
from loop.yaml_text import Place, read_yaml
from materials.settings import Settings, content_of
from oracles.potential_choice import PotentialChoice

INPUTS = "inputs"
"""The key under which `snapshot` keeps the content of input files."""

CONTENT = "sha256:"
"""How the content of an input file begins."""

WHERE_AND_HOW_LONG = ("walltime", "device")
"""Keys of any block that decide where and whether a question is answered, and no answer."""


@dataclass(frozen=True)
class Change:
    """One key that differs; `old` or `new` is None where the key is missing on that side."""

    key: str
    old: Any
    new: Any
    allowed: bool

    def __str__(self) -> str:
        if isinstance(self.new, str) and self.new.startswith(CONTENT):
            return f"{self.key}: the content of the file or folder differs"
        return f"{self.key}: {_shown(self.old)} -> {_shown(self.new)}"


def snapshot(config: CampaignConfig) -> dict[str, Any]:
    """The effective configuration as JSON, and under `inputs` the content hash of each input file."""
    inputs = {show_place(place): content for place, content in _inputs(config, ())}
    return config.model_dump(mode="json") | {INPUTS: inputs}


def changes(old: Mapping[str, Any], new: CampaignConfig) -> list[Change]:
    """What differs between a stored `snapshot` and a configuration, in the order of the file.

    Input files are compared by their content: a moved file is no change, an edited one is.
    """
    before, after = _comparable(old), _comparable(snapshot(new))
    free = {("oracles", n, key) for n, oracle in enumerate(new.oracles) for key in oracle.without_meaning}
    return [
        Change(show_place(place), one, other, place[:3] in free or _allowed(place, one, other))
        for place, one, other in _differences(before, after, ())
    ]


def refuse_folder_of_another(folder: Path, name: str) -> None:
    """Raises CampaignError for the run folder of another campaign: reports and evaluations of two would mix."""
    file = folder / "campaign.yaml"
    try:
        kept = read_yaml(file.read_text(encoding="utf-8")).value if file.is_file() else None
    except (OSError, ValueError):
        return  # it says nothing of whose it is, and is written anew
    owner = kept.get("name", name) if isinstance(kept, dict) else name
    if owner != name:
        raise CampaignError(
            f"{folder} is the run folder of the campaign {owner}, not of {name}; name another one with --dir"
        )


def refuse_changes(old: Mapping[str, Any], new: CampaignConfig, folder: Path) -> None:
    """Raises CampaignError naming every changed key that would change the meaning of the run in `folder`."""
    refused = [change for change in changes(old, new) if not change.allowed]
    if refused:
        lines = "\n".join(f"  {change}" for change in refused)
        free = ", ".join(WITHOUT_MEANING)
        raise CampaignError(
            f"{folder} holds a campaign with another configuration; these keys differ:\n{lines}\n"
            "Change them back, or start a new run with another --dir. "
            f"(budget.rounds and {free} may change; budget.batch and budget.pool may grow.)"
        )


def _allowed(place: Place, old: Any, new: Any) -> bool:
    if place[0] in WITHOUT_MEANING or place == ("budget", "rounds") or place[-1] in WHERE_AND_HOW_LONG:
        return True
    return place[0] == "budget" and old is not None and new is not None and bool(new >= old)


def _comparable(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The snapshot with every path of an input file replaced by its content hash."""
    inputs = stored.get(INPUTS, {})

    def replaced(value: Any, place: Place) -> Any:
        if isinstance(value, Mapping):
            return {key: replaced(item, (*place, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [replaced(item, (*place, number)) for number, item in enumerate(value)]
        return inputs.get(show_place(place), value)

    return {key: replaced(value, (key,)) for key, value in stored.items() if key != INPUTS}


def _differences(old: Any, new: Any, place: Place) -> Iterator[tuple[Place, Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        if old.get("kind") != new.get("kind"):
            yield (*place, "kind"), old.get("kind"), new.get("kind")
            return
        for key in dict.fromkeys([*new, *old]):
            yield from _differences(old.get(key), new.get(key), (*place, key))
    elif _is_list_of_blocks(old) and _is_list_of_blocks(new):
        for number in range(max(len(old), len(new))):
            one = old[number] if number < len(old) else None
            other = new[number] if number < len(new) else None
            yield from _differences(one, other, (*place, number))
    elif _are_inputs(old) and _are_inputs(new) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _differences(one, other, (*place, number))
    elif old != new:
        yield place, old, new


def _is_list_of_blocks(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)


def _are_inputs(value: Any) -> bool:
    return isinstance(value, list) and all(str(item).startswith(CONTENT) for item in value)


def _inputs(value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    """The content of every file or folder the campaign reads, by the key that names it."""
    if isinstance(value, PotentialChoice):
        yield from (((*place, *key), content) for key, content in value.file_contents())
    if isinstance(value, Settings):
        for name, field in type(value).model_fields.items():
            if place or name not in WITHOUT_MEANING:
                yield from _inputs(getattr(value, name), (*place, field.alias or name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _inputs(item, (*place, key))
    elif isinstance(value, tuple | list):
        for number, item in enumerate(value):
            yield from _inputs(item, (*place, number))
    elif isinstance(value, Path):
        yield place, (known_content if place[0] == "data" else content_of)(value)


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_shown(v)}" for k, v in value.items() if v not in (None, {}, [])) + "}"
    return str(value)
