"""Extended XYZ and ASE databases: crystals without partial occupancies, with their best values beside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from loop.exporting.measured import Measured
from materials.base import Crystal
from materials.writing import write_extxyz


def ordered(measured: Sequence[Measured]) -> list[tuple[Measured, Crystal]]:
    """Those that are crystals whose every site holds one element."""
    found = ((one, one.record.material) for one in measured)
    return [(one, m) for one, m in found if isinstance(m, Crystal) and m.is_ordered]


def write_frames(path: Path, measured: Sequence[Measured]) -> int:
    """Extended XYZ, a frame each, which `data:` and the generator `files` read again; returns their number."""
    frames = [
        (crystal, {"id": one.name, **one.about(), **_values(one)}) for one, crystal in ordered(measured)
    ]
    write_extxyz(path, frames)
    return len(frames)


def _values(one: Measured) -> dict[str, str | float]:
    told: dict[str, str | float] = {}
    for name, measurement in one.best().items():
        told[name] = measurement.value
        told[f"{name}_fidelity"] = measurement.fidelity
        told[f"{name}_bound"] = str(measurement.bound)
        if measurement.std is not None:
            told[f"{name}_std"] = measurement.std
        told |= {f"{name}_{c}": value for c, value in measurement.conditions.items()}
    return told


def write_ase_database(path: Path, measured: Sequence[Measured]) -> int:
    """An ASE database: best values as key-value pairs, every measurement under `data`; returns their number."""
    from ase.db import connect

    from materials.potential import to_atoms

    part = path.with_name(f".{path.stem}.part{path.suffix}")
    part.unlink(missing_ok=True)
    crystals = ordered(measured)
    with connect(part, type="db") as database:
        for one, crystal in crystals:
            values = {name: measurement.value for name, measurement in one.best().items()}
            pairs = {"name": one.name, **_pairs(one), **values}
            every = [m.to_dict() for m in one.record.measurements]
            atoms = to_atoms(crystal.structure)
            database.write(atoms, key_value_pairs=pairs, data={"measurements": every})
    part.replace(path)
    return len(crystals)


def _pairs(one: Measured) -> dict[str, str | int]:
    """Where it comes from, without ids: ASE takes a text for a number where it looks like one."""
    about = one.about()
    kept = ("campaign", "generator", "stopped_by", "doubt", "known_before")
    told: dict[str, str | int] = {name: about[name] for name in kept if name in about}
    return told | ({"round": int(about["round"])} if "round" in about else {})
