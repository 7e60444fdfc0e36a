"""What an evaluation leaves in `evaluations/<key>/<attempt>/`: an outcome.json that is whole or absent."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from materials.base import canonical_json
from materials.evaluation import Outcome

log = logging.getLogger(__name__)

OUTCOME_FILE = "outcome.json"


def attempt_folder(folder: Path, key: str, attempt: int) -> Path:
    """Where one attempt at a request keeps its files."""
    return folder / key / str(attempt)


def outcome_file(folder: Path, key: str, attempt: int) -> Path:
    """Where one attempt at a request leaves its outcome, when there is one."""
    return attempt_folder(folder, key, attempt) / OUTCOME_FILE


def attempts_at(folder: Path, key: str) -> list[int]:
    """The numbers of all attempts at a request that left a folder, in order."""
    return sorted(int(p.name) for p in (folder / key).glob("*") if p.name.isdecimal())


def write_outcome(outcome: Outcome, attempt: Path) -> None:
    """Writes outcome.json atomically: after a crash the file is whole or absent. Raises OSError."""
    temporary = attempt / f"{OUTCOME_FILE}.tmp"
    with temporary.open("w", encoding="utf-8") as handle:
        handle.write(canonical_json(outcome.to_dict()))
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(attempt / OUTCOME_FILE)
    _sync_folder(attempt)


def _sync_folder(folder: Path) -> None:
    # The rename itself is lost in a power cut until its folder is synced; Windows cannot open folders.
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_outcome(file: Path, key: str) -> Outcome:
    """The outcome in a file. Raises ValueError naming the file when it is not a whole outcome of that key."""
    try:
        outcome = Outcome.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file}: not a whole outcome ({type(error).__name__}: {error})") from error
    if outcome.key != key:
        raise ValueError(f"{file}: holds the outcome of {outcome.key}, not of {key}")
    return outcome


def find_outcome(folder: Path, key: str, attempt: int | None = None) -> Outcome | None:
    """The first valid outcome of a key, of one attempt or of all; invalid files are named and skipped."""
    for number in attempts_at(folder, key) if attempt is None else [attempt]:
        file = outcome_file(folder, key, number)
        if not file.is_file():
            continue
        try:
            return read_outcome(file, key)
        except (ValueError, OSError) as error:
            log.warning("ignored an outcome: %s", error)
    return None


def file_artifacts(outcome: Outcome, attempt: Path) -> Outcome:
    """Moves the files an oracle made into the attempt's folder and records their sha256.

    Paths become relative to the run folder (the parent of `evaluations`), so that it can be moved. Raises
    OSError when a named file is not there.
    """
    if not outcome.artifacts:
        return outcome
    artifacts = {name: _file_in(entry, attempt) for name, entry in outcome.artifacts.items()}
    return replace(outcome, artifacts=artifacts)


def _file_in(entry: Mapping[str, str], attempt: Path) -> dict[str, str]:
    source = Path(entry["path"])
    target = attempt / source.name
    if source.absolute() != target:
        shutil.move(source, target)
    with target.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    path = target.relative_to(attempt.parents[2]).as_posix()
    return {**entry, "path": path, "sha256": digest}
