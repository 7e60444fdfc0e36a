"""What is sent to another program and where its answer says what: templates with {names}, and dotted paths."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import JsonValue, StringConstraints

NAME = re.compile(r"\{(\w+)\}")
DottedPath = Annotated[str, StringConstraints(pattern=r"^[\w-]+(\.[\w-]+)*$", max_length=200)]
"""Into JSON: names of keys and numbers in lists, such as result.values.0.sigma"""


class MissingError(LookupError):
    """There is nothing at a dotted path; the message says how far it goes."""


def names_in(template: JsonValue) -> Iterator[tuple[str, bool]]:
    """The {names} of a template, each with whether it stands alone in its text, so that it may be any JSON."""
    if isinstance(template, str):
        for match in NAME.finditer(template):
            yield match[1], match[0] == template
    elif isinstance(template, dict):
        for value in template.values():
            yield from names_in(value)
    elif isinstance(template, list):
        for value in template:
            yield from names_in(value)


def check_names(template: JsonValue, known: Collection[str], only_alone: Collection[str] = ()) -> None:
    """Raises ValueError for a name that is not known, or that is no text and stands within one."""
    for name, alone in names_in(template):
        if name not in known:
            raise ValueError(f"{{{name}}} is unknown; known: {', '.join(f'{{{n}}}' for n in known)}")
        if name in only_alone and not alone:
            raise ValueError(f"{{{name}}} is more than text, so nothing may stand beside it")


def filled(template: JsonValue, fields: Mapping[str, Any]) -> Any:
    """The template with its names replaced. A name that stands alone becomes the field itself, whatever it is."""
    if isinstance(template, dict):
        return {key: filled(value, fields) for key, value in template.items()}
    if isinstance(template, list):
        return [filled(value, fields) for value in template]
    if not isinstance(template, str):
        return template
    alone = NAME.fullmatch(template)
    if alone is not None:
        return fields[alone[1]]
    return NAME.sub(lambda match: str(fields[match[1]]), template)


def filled_path(template: str, fields: Mapping[str, str]) -> str:
    """The path of a URL with its names replaced by single segments, whatever characters are in them."""
    return NAME.sub(lambda match: quote(fields[match[1]], safe=""), template)


def at(data: Any, path: str) -> Any:
    """What is at a dotted path. Raises MissingError."""
    found = data
    for name in path.split("."):
        if isinstance(found, Mapping) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            keys = (
                f"; there are: {', '.join(map(str, list(found)[:20]))}" if isinstance(found, Mapping) else ""
            )
            raise MissingError(f"nothing at {path}: no {name!r}{keys}")
    return found
