"""The base of every block in a campaign file: strict, frozen pydantic models."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo

from materials.base import content_hash

LOOKING = "looking"
"""Validation context: the file is only looked at, so nothing it names is imported or loaded."""


def is_looking(info: ValidationInfo) -> bool:
    """Whether a file is only looked at."""
    return bool((info.context or {}).get(LOOKING))


class Settings(BaseModel):
    """A strict, frozen block of a campaign file: an unknown key is refused with its place.

    The text under a field is its meaning, in the JSON Schema and in docs/campaign-file.md.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    def meaning(self) -> dict[str, Any]:
        """The values that decide results, as JSON; input files count by their content, not their place."""
        return {name: _meaning_of(getattr(self, name)) for name in sorted(type(self).model_fields)}

    def fingerprint(self) -> str:
        """A hash of `meaning()`: equal fingerprints give equal results on equal input."""
        return content_hash(self.meaning())


def _meaning_of(value: Any) -> Any:
    if isinstance(value, Settings):
        return value.meaning()
    if isinstance(value, Path):
        return content_of(value)
    if isinstance(value, dict):
        return {str(k): _meaning_of(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = [_meaning_of(v) for v in value]
        return sorted(items) if isinstance(value, set | frozenset) else items
    return value


def content_of(path: Path) -> str:
    """A hash of the content of a file, whatever its name; of a folder, of all files below it and their names."""
    if not path.is_dir():
        return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return f"sha256:{content_hash({p.relative_to(path).as_posix(): content_of(p) for p in files})}"


def _find_input(path: Path, info: ValidationInfo) -> Path:
    """Relative paths are looked up beside the campaign file (validation context key `folder`).

    Whoever only looks at a run folder from another machine need not have what it was made from.
    """
    folder = (info.context or {}).get("folder")
    found = path if path.is_absolute() or folder is None else Path(folder) / path
    if not found.exists() and not is_looking(info):
        raise ValueError(f"no such file or folder: {path} (looked for {found})")
    return found.resolve()


InputPath = Annotated[Path, AfterValidator(_find_input)]
"""A file or folder that must exist; relative paths are resolved beside the campaign file."""
