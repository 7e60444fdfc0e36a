"""Writes docs/campaign-file.md, every key of a campaign file, from the settings: `python -m loop.reference`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from loop.config import (
    BudgetSettings,
    CampaignConfig,
    ConstraintSettings,
    EnergyModelSettings,
    LimitSettings,
    ObjectiveSettings,
    TrackingSettings,
)
from loop.executors.parsl import WorkersSettings
from loop.executors.parsl_providers import LocalProviderSettings, OtherProviderSettings, SlurmProviderSettings
from loop.plugins import ACQUISITIONS, EXECUTORS, GENERATORS, ORACLES, SURROGATES, Kinds
from loop.yaml_text import write_yaml
from materials.properties import PROPERTIES
from materials.settings import Settings
from materials.space import Space
from oracles.base import Gate
from oracles.lab.rest_settings import CancelSettings, PollSettings, SubmitSettings

INTRODUCTION = """\
# The campaign file

One YAML file describes a campaign. It is strict: a key that is not on this page is refused, with its line and the
nearest known key. Relative paths start at the folder of the file. `python -m loop.campaign FILE --dry-run` checks a
file and prints it with every default filled in; `python -m loop.schema` prints the same rules as a JSON Schema, with
which an editor completes and checks the file while you write.

The shortest file names the campaign, its elements, what to improve and what measures it:

```yaml
name: first
space: {elements: [Li, O, Cl], required: [Li], charge_balanced: true}
objectives:
  - {property: energy_above_hull, goal: minimize}
oracles:
  - {kind: relax}
  - {kind: hull}
```

Any value can be changed on the command line: `--set budget.rounds=5 --set space.elements=[Li,S,Cl]
--set generators[0].share=0.2`. The value is YAML. A new `kind` keeps those keys of its block that it knows.

YAML is read by its version 1.2: `No`, `Y` and `on` are text (the elements are safe), only `true` and `false` are
booleans, `1e-3` is a number, and a key written twice is refused.

A run folder goes on with a changed file as long as the meaning is the same: `budget.rounds`, `limits`, `executor`,
`database`, `tracking` and `cache` may change, `budget.batch` and `budget.pool` may grow. Input files are compared by
their content.

This page is written by `python -m loop.reference --out docs/campaign-file.md`.
"""

PLUGINS = """\
## Kinds of your own

An installed distribution adds kinds by entry points in the groups `matloop.generators`, `matloop.surrogates`,
`matloop.acquisitions` and `matloop.oracles`; the name is the kind, the value the settings class:

```toml
[project.entry-points."matloop.oracles"]
my_robot = "my_package.robot:RobotSettings"
```

The class derives from the room's base (`oracles.base.OracleSettings` and so on), declares
`kind: Literal["my_robot"] = "my_robot"`, and imports its heavy libraries in `build()`.
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def write(
    out: Annotated[Path | None, typer.Option(help="A file to write, instead of printing.")] = None,
) -> None:
    """Prints the reference of campaign files in Markdown."""
    text = campaign_reference()
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")


def campaign_reference() -> str:
    """The page: top-level keys, then every block and every built-in kind."""
    return "\n".join([INTRODUCTION, *_blocks(), _properties(), PLUGINS])


def _blocks() -> Iterator[str]:
    yield _section("## All blocks", CampaignConfig)
    yield _section("## space", Space)
    yield _section("## objectives", ObjectiveSettings)
    yield _section("## constraints", ConstraintSettings)
    yield from _kinds("## generators", GENERATORS, "A list of blocks.")
    yield from _kinds("## surrogate", SURROGATES, "One block.")
    yield _section("## energy_model", EnergyModelSettings)
    yield from _kinds("## acquisition", ACQUISITIONS, "One block.")
    yield from _kinds("## oracles", ORACLES, "A list of blocks, asked in this order.")
    yield _section("### submit of an oracle of kind rest", SubmitSettings)
    yield _section("### poll of an oracle of kind rest", PollSettings)
    yield _section("### cancel of an oracle of kind rest", CancelSettings)
    yield _section("### gate: {property: limits}", Gate)
    yield _section("## budget", BudgetSettings)
    yield _section("## limits", LimitSettings)
    yield from _kinds("## executor", EXECUTORS, "One block.")
    yield _section("#### cpu and gpu of the executor parsl", WorkersSettings)
    for provider in (LocalProviderSettings, SlurmProviderSettings, OtherProviderSettings):
        yield _section(f"#### provider: {provider.model_fields['kind'].default}", provider)
    yield _section("## tracking", TrackingSettings)


def _kinds(title: str, kinds: Kinds, sentence: str) -> Iterator[str]:
    left_out = f"; left out, it is `{kinds.default}`" if kinds.default else ""
    yield (
        f"{title}\n\n{sentence} `kind` is one of {', '.join(f'`{kind}`' for kind in kinds.builtin)}{left_out}.\n"
    )
    for kind in kinds.builtin:
        yield _section(f"### {title.removeprefix('## ')}: {kind}", kinds.load(kind))


def _section(title: str, model: type[Settings]) -> str:
    """A title, the class's own words, and a table of its keys."""
    schema = model.model_json_schema()
    required = schema.get("required", [])
    rows = [
        f"| `{key}` | {_type(part, schema)} | {_default(key, part, required)} | {_meaning(part, schema)} |"
        for key, part in schema["properties"].items()
        if key != "kind" or "enum" in part
    ]
    head = "| key | value | default | meaning |\n| --- | --- | --- | --- |"
    table = ["", head, *rows] if rows else []
    return "\n".join([title, "", inspect.getdoc(model) or "", *table, ""])


def _meaning(part: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """The description of a key, else that of the block it holds."""
    block = whole.get("$defs", {}).get(part.get("$ref", "").rsplit("/", 1)[-1], {})
    text = part.get("description") or block.get("description", "")
    return " ".join(text.split()).replace("|", "\\|")


def _default(key: str, part: Mapping[str, Any], required: list[str]) -> str:
    if key in required:
        return "required"
    text = write_yaml({"x": part.get("default")}).removeprefix("x:").strip()
    if text == "null":
        return ""
    return f"`{text}`" if "\n" not in text else "see below"


def _type(part: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """A JSON Schema in words."""
    if "$ref" in part:
        name = part["$ref"].rsplit("/", 1)[1]
        return _type(whole["$defs"][name], whole)
    for choice in ("anyOf", "oneOf"):
        if choice in part and part.get("type") != "object":
            words = [_type(option, whole) for option in part[choice] if option.get("type") != "null"]
            return " or ".join(dict.fromkeys(words))
    if "const" in part:
        return f"`{part['const']}`"
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    kind = part.get("type")
    if kind == "array":
        return _array(part, whole)
    if kind == "object":
        inside = part.get("additionalProperties")
        limits = isinstance(inside, Mapping) and str(inside.get("$ref")).endswith("/Gate")
        return "properties with their limits" if limits else "a block"
    names = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    if part.get("format") in ("path", "file-path"):
        return "path"
    return names.get(str(kind), "any") + _limits(part)


def _array(part: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    if "prefixItems" in part:
        return f"[{', '.join(_type(item, whole) for item in part['prefixItems'])}]"
    return f"list of {_type(part.get('items', {}), whole)}"


def _limits(part: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [f"{sign} {part[key]:g}" for key, sign in signs.items() if key in part]
    return f" {' and '.join(found)}" if found else ""


def _properties() -> str:
    rows = [
        f"| `{p.name}` | {p.unit} | {p.meaning} | {', '.join(p.fidelities)} |" for p in PROPERTIES.values()
    ]
    head = (
        "| property | unit | meaning | fidelities, from cheapest to most trusted |\n| --- | --- | --- | --- |"
    )
    return "\n".join(
        ["## Properties", "", "What objectives, constraints and gates may name.", "", head, *rows, ""]
    )


if __name__ == "__main__":
    app()
