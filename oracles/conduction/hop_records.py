"""What a survey of hops has computed so far, on disk, so that a stopped one continues."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg

from oracles.conduction.hops import Hop

CHECKPOINT = "hops.json"
LOG = "neb.log"


class HopRecords:
    """The checkpoint, the log and the paths in a folder.

    vacancies: number of the supercell's vacant site -> energy (eV) and positions of all sites (angstrom). hops: name of
    the hop -> what is told of it in the provenance.
    """

    def __init__(self, folder: Path, unit: pmg.Structure, matrix: npt.NDArray[np.int64]) -> None:
        self.folder = folder
        self.unit = unit
        self.matrix = matrix
        self.vacancies: dict[str, dict[str, Any]] = {}
        self.hops: dict[str, dict[str, Any]] = {}

    @classmethod
    def read(cls, folder: Path) -> HopRecords | None:
        """What an earlier attempt left in the folder; None where there was none."""
        file = folder / CHECKPOINT
        if not file.exists():
            return None
        found = json.loads(file.read_text(encoding="utf-8"))
        records = cls(folder, pmg.Structure.from_dict(found["unit"]), np.array(found["matrix"]))
        records.vacancies, records.hops = found["vacancies"], found["hops"]
        return records

    def save(self) -> None:
        """Writes the checkpoint; after a crash it is the new or the old one, and whole."""
        content = {
            "unit": self.unit.as_dict(),
            "matrix": self.matrix.tolist(),
            "vacancies": self.vacancies,
            "hops": self.hops,
        }
        temporary = self.folder / f"{CHECKPOINT}.tmp"
        temporary.write_text(json.dumps(content), encoding="utf-8")
        temporary.replace(self.folder / CHECKPOINT)

    @property
    def log_file(self) -> Path:
        """Where the steps of relaxations and bands are told."""
        return self.folder / LOG

    def log(self, line: str) -> None:
        """Adds a line to the log."""
        with self.log_file.open("a", encoding="utf-8") as handle:
            handle.write(f"{self.unit.composition.reduced_formula}: {line}\n")

    def path_of(self, hop: Hop) -> Path:
        """The file of a hop's images."""
        return self.folder / f"hop_{name_of(hop)}.extxyz"


def name_of(hop: Hop) -> str:
    """A name for a hop that is unique among those of a crystal."""
    return f"{hop.first}_{hop.second}_{'_'.join(map(str, hop.image))}"
