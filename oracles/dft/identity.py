"""What tells the answers of one DFT set-up from another's: the program, its data, its arguments; not where it runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from materials.base import content_hash
from materials.calculators import imported_calculator
from materials.settings import content_of
from oracles.dft.faults import program_of

PROGRAMS: Mapping[str, tuple[str, str]] = {
    "espresso": ("", "pw.x"),
    "vasp": ("ASE_VASP_COMMAND", "vasp_std"),
    "cp2k": ("ASE_CP2K_COMMAND", "cp2k_shell"),
}
"""Of each program of its own: ASE's variable that names its command, and what it is called without one."""
PSEUDOPOTENTIALS = "/usr/share/espresso/pseudo"
"""Where Debian's quantum-espresso-data puts them; ESPRESSO_PSEUDO or the argument pseudo_dir say otherwise."""
MACHINE = frozenset({"command", "pseudo_dir", "directory", "txt", "parallel"})
PARALLEL = frozenset({"ncore", "npar", "kpar", "nsim", "lplane", "lscalu", "nthreads"})


def meaning_of(calculator: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that decide results; places and parallelism of the programs we know are none of them."""
    if calculator not in ("gpaw", *PROGRAMS):
        return dict(arguments)
    return {key: value for key, value in arguments.items() if key.lower() not in MACHINE | PARALLEL}


def code_version(calculator: str, arguments: Mapping[str, Any]) -> str:
    """The program and the data it reads, as far as this machine can tell.

    GPAW by the versions of its distributions, another program by its file's content, a calculator by import path by its
    distribution, named pseudopotentials by their content. VASP's potentials are not looked into.
    """
    if calculator == "gpaw":
        return f"gpaw {installed_version('gpaw')} gpaw-data {installed_version('gpaw-data')}"
    if calculator not in PROGRAMS:
        return imported_calculator(calculator, arguments).version
    program = program_of(command_of(calculator, arguments))
    parts = [calculator, "" if program is None else _content(Path(program))]
    named = arguments.get("pseudopotentials")
    if isinstance(named, Mapping):
        files = [pseudopotential_folder(arguments) / str(file) for _, file in sorted(named.items())]
        found = {path.name: _content(path) for path in files if path.is_file()}
        parts.append(f"pseudopotentials {content_hash(found)[:16]}")
    return " ".join(part for part in parts if part)


def command_of(calculator: str, arguments: Mapping[str, Any]) -> str:
    """The command line of a program of its own."""
    from ase.config import cfg

    variable, usual = PROGRAMS[calculator]
    return str(arguments.get("command") or cfg.get(variable) or usual)


def pseudopotential_folder(arguments: Mapping[str, Any]) -> Path:
    """Where pw.x finds its pseudopotentials."""
    place = arguments.get("pseudo_dir", os.environ.get("ESPRESSO_PSEUDO", PSEUDOPOTENTIALS))
    return Path(place).expanduser()


def installed_version(distribution: str) -> str:
    """Empty where it is not installed."""
    try:
        return version(distribution)
    except (PackageNotFoundError, ValueError):
        return ""


def _content(path: Path) -> str:
    state = path.stat()
    return _hash(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=64)
def _hash(path: Path, changed: int, size: int) -> str:
    """Kept until the file changes: programs are large."""
    return content_of(path)
