"""Keeps the chatter of oracles off the terminal, in `evaluations/<key>/<attempt>/log.txt`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TextIO

LOG_FILE = "log.txt"


@contextmanager
def streams_to(attempt: Path) -> Iterator[None]:
    """Python's stdout and stderr go to the attempt's log; for the process that owns the terminal."""
    with _log_of(attempt) as log, redirect_stdout(log), redirect_stderr(log):
        yield


@contextmanager
def descriptors_to(attempt: Path) -> Iterator[None]:
    """File descriptors 1 and 2 go to the attempt's log, so that C, C++ and Fortran write there too."""
    with _log_of(attempt) as log:
        kept = [os.dup(1), os.dup(2)]
        _point(log.fileno(), log.fileno())
        try:
            yield
        finally:
            _point(*kept)
            for descriptor in kept:
                os.close(descriptor)


def send_descriptors_to(file: Path) -> None:
    """From now on this process writes its descriptors 1 and 2 to the end of a file."""
    with file.open("a", encoding="utf-8") as log:
        _point(log.fileno(), log.fileno())


def _point(stdout: int, stderr: int) -> None:
    with suppress(OSError):  # a full disk
        sys.stdout.flush()
        sys.stderr.flush()
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)


@contextmanager
def _log_of(attempt: Path) -> Iterator[TextIO]:
    """The attempt's log, opened for appending and removed when nothing was written.

    Where it cannot be opened the chatter is dropped; the evaluation itself reports what is wrong with the
    folder.
    """
    file = attempt / LOG_FILE
    try:
        attempt.mkdir(parents=True, exist_ok=True)
        log = file.open("a", encoding="utf-8")
    except OSError:
        file, log = Path(os.devnull), Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    try:
        yield log
    finally:
        with suppress(OSError):
            log.close()
        if file.name == LOG_FILE and file.exists() and not file.stat().st_size:
            file.unlink()
