"""Files that nobody ever sees a part of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to; what is there at the end of the block takes the name of `path` at once."""
    part = path.with_name(path.name + ".part")
    yield part
    part.replace(path)
