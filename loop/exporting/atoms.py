"""Extended XYZ and ASE databases: crystals without partial occupancies, with their best values beside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loop.exporting.measured import Measured
from materials.base import Crystal
from materials.properties import property_named
from materials.writing import write_extxyz


def ordered(measured: Sequence[Measured]) -> list[tuple[Measured, Crystal]]:
    """Those that are crystals whose every site holds one element."""
    found = ((one, one.record.material) for one in measured)
    return [(one, m) for one, m in found if isinstance(m, Crystal) and m.is_ordered]


def write_frames(path: Path, measured: Sequence[Measured]) -> int:
    """Extended XYZ, a frame each, which `data:` and the generator `files` read again; returns their number."""
    frames = [
        (crystal, {"id": one.name, **_about(one), **_values(one), **_units(one)})
        for one, crystal in ordered(measured)
    ]
    write_extxyz(path, frames)
    return len(frames)


def _values(one: Measured) -> dict[str, str | float]:
    told: dict[str, str | float] = {}
    for name, measurement in one.best().items():
        told[name] = measurement.value
        told[f"{name}_fidelity"] = measurement.fidelity
        told[f"{name}_bound"] = str(measurement.bound)
        told[f"{name}_oracle"] = measurement.oracle
        if measurement.std is not None:
            told[f"{name}_std"] = measurement.std
        told |= {f"{name}_{c}": value for c, value in measurement.conditions.items()}
    return told


def _units(one: Measured) -> dict[str, str]:
    return {f"{name}_unit": measurement.unit for name, measurement in one.best().items()}


def _about(one: Measured) -> dict[str, str | float]:
    """Where it comes from, in single lines; ids as names, because ASE takes some ids for numbers."""
    about = one.about()
    del about["candidate"]
    if "duplicate_of" in about:
        about["duplicate_of"] = f"{one.campaign}:{about['duplicate_of']}"
    told: dict[str, str | float] = {name: _one_line(value) for name, value in about.items()}
    return told | ({"round": int(about["round"])} if "round" in about else {})


def _one_line(text: str) -> str:
    """A frame's comment is one line, and a backslash in it takes the next character along."""
    return " ".join(text.replace("\\", "/").split())


def write_ase_database(path: Path, measured: Sequence[Measured]) -> int:
    """An ASE database: best values as key-value pairs, every measurement under `data`; returns their number."""
    from ase.db import connect

    from materials.potential import to_atoms

    part = path.with_name(f".{path.stem}.part{path.suffix}")
    part.unlink(missing_ok=True)
    crystals = ordered(measured)
    # Nobody else knows of the file yet, so it needs no lock beside it.
    with connect(part, type="db", use_lock_file=False) as database:
        for one, crystal in crystals:
            pairs = {"name": one.name, **_about(one), **_values(one)}
            data = {
                "about": one.about(),
                "measurements": [m.to_dict() for m in one.record.measurements],
                "origin": one.record.candidate.origin.to_dict(),
            }
            database.write(to_atoms(crystal.structure), key_value_pairs=_askable(pairs), data=data)
        database.metadata = _metadata(measured)
    part.replace(path)
    return len(crystals)


def _askable(pairs: dict[str, str | float]) -> dict[str, str | float]:
    """The pairs without texts that ASE refuses because they look like numbers: a campaign named 2026."""
    from ase.db.core import str_represents

    return {
        key: value
        for key, value in pairs.items()
        if not (isinstance(value, str) and any(str_represents(value, kind) for kind in (bool, int, float)))
    }


def _metadata(measured: Sequence[Measured]) -> dict[str, Any]:
    """Of each key a short and a long description, and its unit, which `ase db` shows."""
    described = {}
    for known in map(property_named, dict.fromkeys(name for one in measured for name in one.best())):
        described[known.name] = (known.symbol, known.meaning, known.unit)
        described[f"{known.name}_std"] = (f"std of {known.symbol}", "standard deviation", known.unit)
    return {"key_descriptions": described}
