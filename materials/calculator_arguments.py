"""Whether an ASE calculator knows the arguments it is to be made with, as far as that can be told without making it."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def why_not_taken(factory: Callable[..., Any], arguments: Mapping[str, Any]) -> str | None:
    """What is wrong with `arguments`, in words; None where nothing is, or where it shows only when it is made.

    A signature tells all but for `**keywords`. Of those an ASE calculator that computes in Python lists the known in
    `default_parameters`, and silently keeps any other; one that writes them into a program's input takes what the
    program takes, and a function hands them on: of these nothing is known.
    """
    known = known_arguments(factory)
    if known is not None:
        for name in arguments:
            if name not in known and not _is_mentioned(factory, name):
                return f"it knows no argument {name!r}{_nearest(name, known)}"
    try:
        inspect.signature(factory).bind(**arguments)
    except TypeError as error:
        return str(error)
    return None


def known_arguments(factory: Callable[..., Any]) -> list[str] | None:
    """The names that `factory` takes; None where it takes any, and which of them mean something is not told."""
    parameters = inspect.signature(factory).parameters.values()
    if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
        return [parameter.name for parameter in parameters]
    listed = getattr(factory, "default_parameters", None)
    if not (isinstance(factory, type) and listed and _keeps_silently(factory)):
        return None
    signed = [name for base in factory.__mro__[:-1] for name in _named(base)]
    return sorted({*listed, *signed})


def _keeps_silently(factory: type) -> bool:
    """Whether it stores what it is given as ASE's base does, and writes no input file from it."""
    from ase.calculators.calculator import Calculator, FileIOCalculator

    return (
        issubclass(factory, Calculator)
        and not issubclass(factory, FileIOCalculator)
        and getattr(factory, "set", None) is Calculator.set
    )


def _named(base: type) -> Iterable[str]:
    own = vars(base).get("__init__")
    if own is None:
        return []
    named = list(inspect.signature(own).parameters.values())[1:]  # without self
    return [p.name for p in named if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]


def _is_mentioned(factory: Callable[..., Any], name: str) -> bool:
    """Whether its code has the name, quoted or after a dot: some look up arguments that they list nowhere."""
    if not isinstance(factory, type):
        return False
    from ase.calculators.calculator import Calculator

    own = [base for base in factory.__mro__ if base not in Calculator.__mro__]
    try:
        return any(re.search(rf"['\".]{re.escape(name)}\b", inspect.getsource(base)) for base in own)
    except (OSError, TypeError):  # compiled, or typed in
        return True


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else f"; it knows {', '.join(known)}"
