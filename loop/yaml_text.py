"""Reads and writes YAML without its traps, and remembers the line of every key.

The YAML 1.2 core schema (https://yaml.org/spec/1.2.2/#103-core-schema) on top of PyYAML: `No`, `Y` and `on`
stay text (they are elements or words), `1e-3` is a number, `010` is ten, dates and sexagesimals stay text.
Keys written twice are refused, and nothing but plain values can be constructed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

Place = tuple[str | int, ...]
"""The way to a value: keys of mappings and indices of lists."""

_TAG = "tag:yaml.org,2002:"
_CORE_SCHEMA = (
    ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", [*"-+0123456789"]),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        [*"-+.0123456789"],
    ),
    ("merge", r"<<", ["<"]),
)


class YamlError(ValueError):
    """Text that is no YAML, at a line and column counted from 1."""

    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column


class _Loader(yaml.SafeLoader):
    """Plain values under the YAML 1.2 core schema."""


class _Dumper(yaml.SafeDumper):
    """Quotes every text that YAML 1.1 or 1.2 would take for something else."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


_Loader.yaml_implicit_resolvers = {}
_Dumper.yaml_implicit_resolvers = {
    first: list(rules) for first, rules in yaml.SafeDumper.yaml_implicit_resolvers.items()
}
for _name, _pattern, _first in _CORE_SCHEMA:
    _regexp = re.compile(rf"^(?:{_pattern})$")
    _Loader.add_implicit_resolver(_TAG + _name, _regexp, _first)
    _Dumper.add_implicit_resolver(_TAG + _name, _regexp, _first)


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    based = text.startswith(("0o", "0x"))
    return int(text, 0 if based else 10)


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    text = loader.construct_scalar(node).lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


def _list(dumper: yaml.SafeDumper, items: Sequence[Any]) -> yaml.SequenceNode:
    blocks = any(isinstance(item, Mapping) for item in items)
    return dumper.represent_sequence(_TAG + "seq", items, flow_style=not blocks)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML loses the line breaks of Unicode unless they stand in double quotes.
    style = '"' if re.search("[\x85\u2028\u2029]", text) else None
    return dumper.represent_scalar(_TAG + "str", text, style)


_Dumper.add_representer(list, _list)
_Dumper.add_representer(str, _text)
_Loader.add_constructor(_TAG + "int", _integer)
_Loader.add_constructor(_TAG + "float", _number)


@dataclass(frozen=True)
class YamlText:
    """The value of a YAML document, and where each part of it stands."""

    value: Any
    _root: yaml.Node | None

    def line(self, place: Sequence[str | int]) -> int | None:
        """The line, counted from 1, of the key or item at `place`, or of the nearest block around it."""
        node, line = self._root, None
        for step in place:
            found = _child(node, step)
            if found is None:
                break
            mark, node = found
            line = mark
        if line is None and self._root is not None:
            line = self._root.start_mark.line + 1
        return line


def read_yaml(text: str) -> YamlText:
    """The one document in `text`. Raises YamlError with the line of what is wrong."""
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is not None:
            _refuse_odd_keys(root, set())
        return YamlText(None if root is None else loader.construct_document(root), root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = " ".join(part for part in (error.context, error.problem) if part)
        if "\\t" in message:
            message = "a tab is used for indentation; YAML allows spaces only"
        if mark is None:
            raise YamlError(message) from error
        raise YamlError(message, mark.line + 1, mark.column + 1) from error
    except yaml.YAMLError as error:
        raise YamlError(str(error)) from error


def write_yaml(value: Mapping[str, Any]) -> str:
    """Block style, keys in the order given; `read_yaml` gives an equal value back."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _child(node: yaml.Node | None, step: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        item = node.value[step]
        return item.start_mark.line + 1, item
    return None


def _refuse_odd_keys(node: yaml.Node, seen: set[int]) -> None:
    """Raises YamlError for a key written twice in one block, or one that is no plain text."""
    if id(node) in seen:  # an alias, or a node that contains itself
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_odd_keys(item, seen)
    if not isinstance(node, yaml.MappingNode):
        return
    first_lines: dict[str, int] = {}
    for key, value in node.value:
        line, column = key.start_mark.line + 1, key.start_mark.column + 1
        if not isinstance(key, yaml.ScalarNode):
            raise YamlError("a key must be a word, not a list or a block", line, column)
        if key.value in first_lines:
            first = first_lines[key.value]
            raise YamlError(
                f"the key {key.value!r} is already on line {first}; keep one of them", line, column
            )
        first_lines[key.value] = line
        _refuse_odd_keys(value, seen)
