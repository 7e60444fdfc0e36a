"""`--set space.elements=[Na,S,Cl]`: one value of a campaign file changed from the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loop.plugins import ACQUISITIONS, EXECUTORS, GENERATORS, ORACLES, SURROGATES, Kinds, PluginError
from loop.yaml_text import Place, YamlError, read_yaml

_STEP = re.compile(r"([^.\[\]]+)((?:\[\d+\])*)")
_BLOCKS: Mapping[str, Kinds] = {
    "generators": GENERATORS,
    "surrogate": SURROGATES,
    "acquisition": ACQUISITIONS,
    "oracles": ORACLES,
    "executor": EXECUTORS,
}


class OverrideError(ValueError):
    """An override that cannot be read or applied."""


@dataclass(frozen=True)
class Override:
    """A place in the campaign file and its new value."""

    text: str
    place: Place
    value: Any

    def apply(self, data: dict[str, Any]) -> None:
        """Changes `data` in place; blocks on the way that the file leaves out are made.

        A new `kind` keeps those keys of its block that the new kind knows too.
        """
        block: Any = data
        for step, following in zip(self.place, self.place[1:], strict=False):
            if isinstance(block, dict) and block.get(step) is None:
                block[step] = [] if isinstance(following, int) else {}
            block = self._inside(block, step)
        last = self.place[-1]
        self._inside(block, last, new=True)
        if last == "kind":
            self._forget_foreign_keys(block)
        block[last] = self.value

    def _inside(self, block: Any, step: str | int, new: bool = False) -> Any:
        if isinstance(step, int):
            if not isinstance(block, list):
                raise OverrideError(f"--set {self.text}: there is no list to take item [{step}] of")
            if step >= len(block):
                raise OverrideError(f"--set {self.text}: no item [{step}], the file lists {len(block)}")
            return block[step]
        if not isinstance(block, dict):
            raise OverrideError(
                f"--set {self.text}: what should hold {step!r} is {block!r} in the file, no block of keys; "
                "set the whole block"
            )
        return None if new else block[step]

    def _forget_foreign_keys(self, block: dict[str, Any]) -> None:
        kinds = _BLOCKS.get(str(self.place[0]))
        if kinds is None or block.get("kind", kinds.default) in (None, self.value):
            return
        try:
            known = kinds.load(self.value).model_fields
        except PluginError:
            return
        for key in [key for key in block if key not in known]:
            del block[key]


def parse_override(text: str) -> Override:
    """'generators[0].share=0.2' as an Override; the value is YAML. Raises OverrideError."""
    path, equals, value = text.partition("=")
    place: list[str | int] = []
    for part in path.strip().split("."):
        match = _STEP.fullmatch(part)
        if not match:
            break
        place += [match[1], *(int(index) for index in re.findall(r"\d+", match[2]))]
    else:
        if equals:
            try:
                return Override(text, tuple(place), read_yaml(value).value)
            except YamlError as error:
                raise OverrideError(f"--set {text}: the value is no YAML: {error}") from error
    raise OverrideError(f"--set {text}: write it as  key.key[index]=value, such as  space.elements=[Na,S,Cl]")
