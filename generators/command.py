"""Candidates from an outside program: a larger generative model, such as MatterGen, with an environment of its own.

A command runs code with the rights of whoever runs the campaign. It comes from the campaign file alone, never from an
answer, a table or the network: read a file of others before you run it.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from generators.base import Generator, GeneratorSettings, Guide
from materials.archive import Archive
from materials.base import Candidate, Crystal, Origin
from materials.settings import is_looking
from materials.space import Space

if TYPE_CHECKING:
    from materials.reading import Problem

logger = logging.getLogger(__name__)

KIND: Final = "command"
PLACEHOLDERS = ("out", "seed", "elements")
# What a program that is told to end may take to do so, in seconds.
PATIENCE = 10.0
# Lines of its output that are shown where it fails.
LINES_SHOWN = 8


class CommandSettings(GeneratorSettings):
    """Candidates from an outside program, such as MatterGen."""

    kind: Literal["command"] = KIND
    command: Annotated[tuple[str, ...], Field(min_length=1)]
    """The program and its arguments, one word each; no shell reads them. In them `{out}` is the empty folder to write
    structures into (the program also starts there), `{seed}` an integer below 2^31, `{elements}` the elements of the
    space, such as Li-P-S."""
    seconds: float = Field(default=3600.0, gt=0)
    """Seconds after which a run is ended with everything it started; what it wrote is not used."""

    @field_validator("command")
    @classmethod
    def _can_run(cls, command: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        named = {name for word in command for name in re.findall(r"\{(\w+)\}", word)}
        unknown = sorted(named - set(PLACEHOLDERS))
        if unknown:
            known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
            raise ValueError(
                f"nothing is known of {', '.join(f'{{{name}}}' for name in unknown)}; there are {known}"
            )
        if not is_looking(info) and shutil.which(command[0]) is None:
            raise ValueError(
                f"{command[0]!r} is no program that can be run; install it, or write its full path"
            )
        return command

    def build(self, space: Space) -> Command:
        return Command(self.command, self.seconds, "-".join(space.elements))


class CommandError(RuntimeError):
    """A run that gave nothing: why, and what the program said."""


class Command(Generator):
    """Runs a program once for each call, in a folder that is removed afterwards."""

    def __init__(self, command: tuple[str, ...], seconds: float, elements: str) -> None:
        self._command = command
        self._seconds = seconds
        self._elements = elements

    def propose(
        self, n: int, archive: Archive, rng: np.random.Generator, guide: Guide | None = None
    ) -> Iterator[Candidate]:
        """Up to n of the crystals the program writes, each once, none that the archive holds.

        How many it makes is its own affair, said in the command. A run that fails is told in the log and gives nothing.
        """
        seed = int(rng.integers(2**31))
        given: set[str] = set()
        with tempfile.TemporaryDirectory(prefix="matloop-command-") as folder:
            try:
                crystals = list(self._run(Path(folder), seed))
            except CommandError as error:
                logger.warning("generator command: %s", error)
                return
        for note, crystal in crystals:
            candidate = Candidate(crystal, Origin(KIND, seed=seed, note=note))
            if len(given) < n and candidate.id not in archive and candidate.id not in given:
                given.add(candidate.id)
                yield candidate

    def _run(self, folder: Path, seed: int) -> Iterator[tuple[str, Crystal]]:
        """The crystals of one run, with a note of their place. Raises CommandError."""
        out = folder / "out"
        out.mkdir()
        words = _filled(self._command, {"out": str(out), "seed": str(seed), "elements": self._elements})
        run_to_end(words, out, folder / "said.txt", self._seconds)
        problems: list[Problem] = []
        found = list(read_written(out, problems))
        for problem in problems[:LINES_SHOWN]:
            logger.warning("generator command: %s", _place(str(problem), out))
        if not found:
            written = ", ".join(sorted(p.relative_to(out).as_posix() for p in out.rglob("*"))[:LINES_SHOWN])
            raise CommandError(
                f"{words[0]} ended well but wrote no structure that can be read (.cif, .zip of .cif, .extxyz) to "
                f"{{out}}; it wrote {written or 'nothing'}"
            )
        return iter(found)


def run_to_end(words: tuple[str, ...], folder: Path, said: Path, seconds: float) -> None:
    """Runs a program in a folder, its output in the file `said`; it and all it started have ended on return.

    Raises CommandError where it cannot start, fails, or takes longer than `seconds`.
    """
    program = shutil.which(words[0])
    if program is None:
        raise CommandError(f"{words[0]} is no program that can be run; install it, or write its full path")
    with said.open("wb") as output:
        process = subprocess.Popen(
            [str(Path(program).absolute()), *words[1:]],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a process group of its own, which ends as one
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise CommandError(
                f"{words[0]} had not ended after {seconds:g} s and was ended; raise `seconds`, or ask it for fewer "
                f"structures. {_last_lines(said)}"
            ) from None
        finally:
            _end(process)
    if code:
        raise CommandError(f"{words[0]} failed with exit code {code}. {_last_lines(said)}")


def read_written(folder: Path, problems: list[Problem]) -> Iterator[tuple[str, Crystal]]:
    """The crystals a program left in a folder, with a note of their place; what cannot be read goes to `problems`.

    All .cif files, those in .zip files too; where there are none, all frames of .extxyz and .xyz files: MatterGen
    writes the same crystals both ways (and zips of other files, the paths it took to them).
    """
    from materials.reading import Problem, ReadingError, stream_materials

    for packed in sorted(folder.rglob("*.zip")):
        try:
            with zipfile.ZipFile(packed) as archive:
                members = [name for name in archive.namelist() if name.lower().endswith(".cif")]
                archive.extractall(packed.with_suffix(""), members)
        except (zipfile.BadZipFile, OSError) as error:
            problems.append(Problem(packed, "", f"no zip file ({error})"))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    cifs = [path for path in files if path.suffix.lower() == ".cif"]
    for file in cifs or [path for path in files if path.suffix.lower() in (".extxyz", ".xyz")]:
        try:
            for entry in stream_materials(file, problems):
                if isinstance(entry.material, Crystal):
                    place = entry.source.removeprefix(file.name)
                    yield file.relative_to(folder).as_posix() + place, entry.material
        except ReadingError as error:
            problems.append(Problem(file, "", str(error)))


def _filled(command: tuple[str, ...], values: Mapping[str, str]) -> tuple[str, ...]:
    """The words with their placeholders filled in; other braces stay as they are."""
    return tuple(re.sub(r"\{(\w+)\}", lambda found: values[found[1]], word) for word in command)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a program and all it started: asked first, then not asked."""
    with suppress(ProcessLookupError):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_lines(said: Path) -> str:
    lines = said.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES_SHOWN:]
    return "It said last:\n" + "\n".join(lines) if lines else "It said nothing."


def _place(text: str, out: Path) -> str:
    """The text without the folder that will be gone."""
    return text.replace(f"{out}/", "")
