"""Turns what pydantic found wrong into sentences: where it stands, what is wrong, what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from loop.plugins import OneOf, PluginError, did_you_mean, nearest
from loop.yaml_text import Place
from materials.settings import Settings

MISSING = "this key is missing"

BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}
"""In words: kind of error, how the number must lie to its limit, and the limit's name."""


def explain(error: ValidationError, model: type[Settings], data: Any) -> list[tuple[Place, str]]:
    """(place, sentence) for each thing wrong with `data`, the alternatives of a union joined into one.

    A key that is missing because it is misspelt is not told twice.
    """
    found: dict[Place, dict[str, None]] = {}
    meant: set[Place] = set()
    for detail in error.errors(include_url=False):
        if _follows_from_others(detail):
            continue
        place = _place_in(data, detail)
        known: Sequence[str] = ()
        if detail["type"] == "extra_forbidden":
            known = _known_keys(model, data, place[:-1])
            meant.update((*place[:-1], word) for word in nearest(place[-1], known))
        found.setdefault(place, {})[_sentence(detail, place, known)] = None
    return [
        (place, _joined(list(sentences)))
        for place, sentences in found.items()
        if not (place in meant and MISSING in sentences)
    ]


def suspicious_scalars(data: Any, effective: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Scalars taken for something they are not: the text '3' or `true` where a number belongs."""
    if isinstance(data, Mapping) and isinstance(effective, Mapping):
        for key in data.keys() & effective.keys():
            yield from suspicious_scalars(data[key], effective[key], (*place, key))
    elif isinstance(data, list) and isinstance(effective, list) and len(data) == len(effective):
        for number, (one, other) in enumerate(zip(data, effective, strict=True)):
            yield from suspicious_scalars(one, other, (*place, number))
    elif isinstance(effective, bool | int | float) and (
        isinstance(data, str) or isinstance(data, bool) is not isinstance(effective, bool)
    ):
        wanted = "true or false" if isinstance(effective, bool) else "a number"
        shown = f"the text {data!r}" if isinstance(data, str) else str(data).lower()
        yield place, f"{wanted} is expected here, not {shown}"


def show_place(place: Sequence[str | int]) -> str:
    """oracles[1].fmax"""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return text.lstrip(".")


def printable(text: str) -> str:
    """The text with line breaks and other control characters written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _place_in(data: Any, detail: ErrorDetails) -> Place:
    """The error's location without the names of union members that pydantic adds to it."""
    place: list[str | int] = []
    steps = list(detail["loc"])
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        if isinstance(data, Mapping) and (step in data or (last and detail["type"] == "missing")):
            data = data.get(step)
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
        elif data is not None or isinstance(step, int):
            continue
        place.append(step)
    return tuple(place)


def _follows_from_others(detail: ErrorDetails) -> bool:
    """A list counts as too short when its items are broken; each of them has an error of its own."""
    return detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]


def _sentence(detail: ErrorDetails, place: Place, known: Sequence[str]) -> str:
    kind, message = detail["type"], detail["msg"]
    if kind == "extra_forbidden":
        return f"unknown key{did_you_mean(place[-1], known)} Known here: {', '.join(known)}"
    if kind == "missing":
        return MISSING
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind in ("misfit", "kind_unknown", "kind_missing", "block_expected"):
        return message
    shown = repr(detail["input"])
    if kind in ("too_short", "too_long"):
        limit, count = detail["ctx"].get("min_length", detail["ctx"].get("max_length")), len(detail["input"])
        side = "at least" if kind == "too_short" else "at most"
        return f"{side} {limit} {'value is' if limit == 1 else 'values are'} needed here, not {count}: {_cut(shown)}"
    if kind == "literal_error":
        return f"must be {detail['ctx']['expected']}, not {_cut(shown)}"
    if kind in BOUNDS:
        words, name = BOUNDS[kind]
        return f"must be {words} {detail['ctx'][name]:g}, not {_cut(shown)}"
    return f"{message[0].lower()}{message[1:]}, not {_cut(shown)}"


def _joined(sentences: Sequence[str]) -> str:
    """Alternatives in one sentence: 'must be 'auto', or at least 1, not 0'."""
    heads, tails = zip(*(sentence.partition(", not ")[::2] for sentence in sentences), strict=True)
    if len(set(tails)) == 1 and all(head.startswith("must be ") for head in heads):
        return f"{heads[0]}{''.join(f', or {head[8:]}' for head in heads[1:])}, not {tails[0]}"
    return "; or ".join(sentences)


def _cut(shown: str) -> str:
    return shown if len(shown) < 60 else shown[:57] + "..."


def _known_keys(model: type[Settings], data: Any, place: Place) -> list[str]:
    """The keys of the block at `place`, found by following the models' annotations beside the data."""
    annotation: Any = model
    for step in place:
        block = _block(annotation, data)
        if isinstance(step, str) and block is not None and step in block.model_fields:
            field = block.model_fields[step]
            annotation = (
                Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
            )
        else:
            annotation = _item(annotation)
        data = data[step]
    block = _block(annotation, data)
    return [] if block is None else list(block.model_fields)


def _block(annotation: Any, data: Any) -> type[Settings] | None:
    """The model that a block of data is read by."""
    for part in _parts(annotation, lambda a: get_origin(a) in (Annotated, Union, UnionType)):
        if isinstance(part, OneOf) and isinstance(data, Mapping):
            try:
                return part.kinds.load_for(data)
            except PluginError:
                return None
        if isinstance(part, type) and issubclass(part, Settings):
            return part
    return None


def _parts(annotation: Any, opens: Callable[[Any], bool]) -> Iterator[Any]:
    """What an annotation is made of, last first: `OneOf` comes before the base class that it narrows."""
    if opens(annotation):
        for part in reversed(get_args(annotation)):
            yield from _parts(part, opens)
    else:
        yield annotation


def _item(annotation: Any) -> Any:
    """What a list or mapping holds."""
    for part in _parts(annotation, lambda a: get_origin(a) in (Annotated, Union, UnionType)):
        arguments = [a for a in get_args(part) if a is not Ellipsis]
        if arguments:
            return arguments[-1]
    return None
