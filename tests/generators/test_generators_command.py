"""Candidates from an outside program: real programs of a few lines, run as a user's would be."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from generator_cases import Evaluated, propose
from pydantic import ValidationError

from generators import command
from generators.command import CommandSettings
from materials.archive import Archive
from materials.base import Candidate
from materials.space import Space

SALTS = Space(elements=["Na", "Cl"])
# What a generator's program does, in short: crystals of growing cells, written in one way or another.
START = """
import sys, time, zipfile, pathlib, subprocess
from ase.build import bulk
from ase.io import write
out = pathlib.Path(sys.argv[1])
cells = [bulk("NaCl", "rocksalt", a=5.5 + 0.1 * k) for k in range(3)]
"""
CIFS = "[write(out / f'gen_{k}.cif', cell) for k, cell in enumerate(cells)]\n"
EXTXYZ = "write(out / 'generated_crystals.extxyz', cells)\n"
# The files that MatterGen's README names.
MATTERGEN = (
    EXTXYZ
    + """
for name, suffix in (("generated_crystals_cif", "cif"), ("generated_trajectories", "extxyz")):
    with zipfile.ZipFile(out / f"{name}.zip", "w") as packed:
        for k, cell in enumerate(cells):
            write(f"gen_{k}.{suffix}", cell)
            packed.write(f"gen_{k}.{suffix}")
            pathlib.Path(f"gen_{k}.{suffix}").unlink()
"""
)


def settings(tmp_path: Path, body: str, *words: str, seconds: float = 60.0) -> CommandSettings:
    script = tmp_path / "generate.py"
    script.write_text(START + body)
    words = (sys.executable, str(script), "{out}", *words)
    return CommandSettings(command=words, seconds=seconds)


def proposed(
    tmp_path: Path, archive: Archive, body: str, n: int = 10, seconds: float = 60.0
) -> list[Candidate]:
    return propose(settings(tmp_path, body, seconds=seconds).build(SALTS), n, archive)


@pytest.mark.parametrize(
    ("body", "notes"),
    [
        (CIFS, [f"gen_{k}.cif" for k in range(3)]),
        ("out = out / 'deep'; out.mkdir()\n" + CIFS, [f"deep/gen_{k}.cif" for k in range(3)]),
        (EXTXYZ, [f"generated_crystals.extxyz, frame {k}" for k in (1, 2, 3)]),
        (MATTERGEN, [f"generated_crystals_cif/gen_{k}.cif" for k in range(3)]),
    ],
)
def test_what_the_program_writes_is_proposed(
    tmp_path: Path, empty: Archive, body: str, notes: list[str]
) -> None:
    candidates = proposed(tmp_path, empty, body)
    assert [c.origin.note for c in candidates] == notes
    assert {c.origin.generator for c in candidates} == {"command"}
    assert {c.material.formula for c in candidates} == {"NaCl"}


def test_no_more_than_asked_and_nothing_twice(tmp_path: Path, empty: Archive, evaluated: Evaluated) -> None:
    first = proposed(tmp_path, empty, CIFS + "write(out / 'again.cif', cells[0])", n=2)
    assert len({c.id for c in first}) == 2
    rest = proposed(tmp_path, evaluated(first), CIFS)
    assert len(rest) == 1
    assert rest[0].id not in {c.id for c in first}


def test_placeholders_are_filled_and_other_braces_stay(tmp_path: Path, empty: Archive) -> None:
    body = "(pathlib.Path(__file__).parent / 'told').write_text(repr(sys.argv[2:]))\n" + CIFS
    generator = settings(
        tmp_path, body, "--seed={seed}", "--properties={'chemical_system': '{elements}'}", "a b; c $HOME"
    ).build(SALTS)
    candidates = propose(generator, 3, empty, seed=7)
    told = eval((tmp_path / "told").read_text())
    assert told[0] == f"--seed={candidates[0].origin.seed}"
    assert told[1:] == ["--properties={'chemical_system': 'Na-Cl'}", "a b; c $HOME"]
    assert [c.origin.seed for c in propose(generator, 3, empty, seed=7)] == [
        c.origin.seed for c in candidates
    ]
    assert propose(generator, 3, empty, seed=8)[0].origin.seed != candidates[0].origin.seed


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("print('loading'); sys.exit('no GPU was found')", ["failed with exit code 1", "no GPU was found"]),
        ("(out / 'log.txt').write_text('x')", ["wrote no structure that can be read", "it wrote log.txt"]),
        ("(out / 'a.cif').write_text('x')", ["a.cif: the CIF is broken", "wrote no structure"]),
        ("(out / 'a.zip').write_text('x')", ["a.zip: no zip file", "wrote no structure"]),
        ("(out / 'a.extxyz').write_text('x')", ["a.extxyz", "wrote no structure"]),
    ],
)
def test_a_run_that_gives_nothing_is_told(
    tmp_path: Path, empty: Archive, caplog: pytest.LogCaptureFixture, body: str, told: list[str]
) -> None:
    with caplog.at_level(logging.WARNING):
        assert proposed(tmp_path, empty, body) == []
    for words in told:
        assert words in caplog.text


def test_a_broken_crystal_costs_only_itself(
    tmp_path: Path, empty: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(proposed(tmp_path, empty, CIFS + "(out / 'x.cif').write_text('x')")) == 3
    assert "x.cif: the CIF is broken" in caplog.text


def test_a_hung_program_ends_with_all_it_started(
    tmp_path: Path, empty: Archive, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program and its child refuse to end when asked, and the child holds the output open."""
    monkeypatch.setattr(command, "PATIENCE", 0.2)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    body = (
        CIFS
        + "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        + f"child = subprocess.Popen([sys.executable, '-c', {deaf!r}])\n"
        + "(pathlib.Path(__file__).parent / 'child').write_text(str(child.pid))\n"
        + "print('still at it', flush=True); time.sleep(600)"
    )
    began = time.monotonic()
    assert proposed(tmp_path, empty, body, seconds=8.0) == []
    assert time.monotonic() - began < 300
    assert "had not ended after 8 s" in caplog.text
    assert "still at it" in caplog.text
    assert gone(int((tmp_path / "child").read_text()))


def gone(pid: int) -> bool:
    """Whether a process ended, waiting for it a while; one that runs on is ended here."""
    for _ in range(100):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return False


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["no-such-generator", "{out}"], "'no-such-generator' is no program that can be run"),
        (
            [sys.executable, "{outt}"],
            r"nothing is known of \{outt\}; there are \{out\}, \{seed\}, \{elements\}",
        ),
        ([], "at least 1 item"),
    ],
)
def test_a_command_that_cannot_run_is_refused_at_once(words: list[str], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        CommandSettings(command=tuple(words))


def test_a_file_that_is_only_looked_at_needs_no_program() -> None:
    block = {"kind": "command", "command": ["no-such-generator"]}
    assert CommandSettings.model_validate(block, context={"looking": True}).command == ("no-such-generator",)
