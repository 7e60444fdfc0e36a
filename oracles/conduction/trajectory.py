"""The trajectory of a molecular dynamics run on disk, in chunks, with a checkpoint after each.

A file is whole or absent: it is written beside its place and then moved. The checkpoint is moved last, so what it
counts is there, and frames beyond it (of a run stopped between the two) are written again, the same.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from materials.evaluation import FailureKind

CHECKPOINT = "checkpoint.npz"
END = "end.json"

Floats = NDArray[np.float64]


class BrokenTrajectoryError(Exception):
    """A file of a trajectory that cannot be read; the message names it and says what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """All a run needs to go on exactly as if it had not stopped.

    frames: that were written. positions [atoms, 3] in angstrom, not wrapped into the cell; momenta [atoms, 3] in ASE's
    units. random_state: of the thermostat's generator, as JSON values.
    """

    frames: int
    positions: Floats
    momenta: Floats
    random_state: dict[str, Any]


@dataclass(frozen=True)
class Trajectory:
    """Frames at equal intervals.

    displacements: [frames, atoms, 3], angstrom, from the start of the run and not wrapped. energies: [frames],
    potential energy per atom, eV. temperatures: [frames], K, of the momenta. interval: ps between frames.
    """

    displacements: NDArray[np.float32]
    energies: Floats
    temperatures: Floats
    interval: float

    def __len__(self) -> int:
        return len(self.energies)

    def since(self, frame: int) -> Trajectory:
        """The part that begins with `frame`; displacements are still from the start of the run."""
        return Trajectory(
            self.displacements[frame:], self.energies[frame:], self.temperatures[frame:], self.interval
        )


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replaces the folder's checkpoint. Raises OSError (a full disk)."""
    _write(
        folder / CHECKPOINT,
        frames=np.array(checkpoint.frames),
        positions=checkpoint.positions,
        momenta=checkpoint.momenta,
        random_state=np.array(json.dumps(checkpoint.random_state)),
    )


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """The folder's checkpoint, None where no run has come to one. Raises BrokenTrajectoryError."""
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    found = _read(path)
    random_state: dict[str, Any] = json.loads(str(found["random_state"]))
    return Checkpoint(int(found["frames"]), found["positions"], found["momenta"], random_state)


def write_end(folder: Path, kind: FailureKind, message: str) -> None:
    """Says why the folder's run ended before its time, so that no one begins it again. Raises OSError (a full disk)."""
    _write_whole(folder / END, json.dumps({"kind": kind, "message": message}).encode())


def read_end(folder: Path) -> tuple[FailureKind, str] | None:
    """Why the folder's run ended before its time, None where it did not. Raises BrokenTrajectoryError."""
    path = folder / END
    if not path.exists():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return FailureKind(told["kind"]), str(told["message"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _broken(path, error) from error


def write_chunk(folder: Path, first: int, chunk: Trajectory) -> None:
    """Writes frames `first`, `first + 1`, ... as one file. Raises OSError (a full disk)."""
    _write(
        _chunk_path(folder, first),
        displacements=chunk.displacements,
        energies=chunk.energies,
        temperatures=chunk.temperatures,
    )


def read_trajectory(folder: Path, frames: int, interval: float) -> Trajectory:
    """The first `frames` frames, which a checkpoint counted. Raises BrokenTrajectoryError."""
    chunks: list[dict[str, Any]] = []
    read = 0
    while read < frames:
        chunks.append(_read(_chunk_path(folder, read)))
        read += len(chunks[-1]["energies"])
    displacements, energies, temperatures = (
        np.concatenate([chunk[name] for chunk in chunks])[:frames]
        for name in ("displacements", "energies", "temperatures")
    )
    return Trajectory(displacements, energies, temperatures, interval)


def _chunk_path(folder: Path, first: int) -> Path:
    return folder / f"frames-{first:07d}.npz"


def _write(path: Path, **arrays: NDArray[Any]) -> None:
    whole = BytesIO()
    np.savez_compressed(whole, **arrays)  # type: ignore[arg-type]
    _write_whole(path, whole.getvalue())


def _write_whole(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    partial.replace(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> BrokenTrajectoryError:
    remedy = f"delete the folder {path.parent}, and the run begins anew"
    return BrokenTrajectoryError(f"{path}: it cannot be read ({error}); {remedy}")
