"""What goes wrong in a DFT calculation, as typed failures with a remedy."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from materials.evaluation import FailureKind
from oracles.one_by_one import FailedError

LITTLE_SPACE = 1_000_000  # bytes; a program that dies with less left died of it
LONGEST_TAIL = 400  # characters of a program's own words


class NotConvergedError(Exception):
    """Self-consistency was not reached."""


def need_program(command: str, remedy: str) -> None:
    """Raises FailedError of kind missing_program where the first word of `command` is no program on PATH."""
    program = shlex.split(command)[0]
    if shutil.which(program) is None:
        raise FailedError(FailureKind.MISSING_PROGRAM, f"{program} is not on PATH; {remedy}")


@contextmanager
def typed_faults(code: str, formula: str, folder: Path) -> Iterator[None]:
    """Turns what `code` raises within into NotConvergedError, FailedError, or OSError for a full disk."""
    from ase.calculators.calculator import CalculatorError, SCFError

    where = f"{code}, {formula}, in {folder}"
    try:
        yield
    except SCFError as error:
        raise NotConvergedError(f"{where}: {error}") from error
    except subprocess.CalledProcessError as error:
        _full_disk(folder)
        raise FailedError(
            FailureKind.BAD_RESULT, f"{where}: ended with exit code {error.returncode}"
        ) from error
    except (
        CalculatorError,
        ArithmeticError,
        LookupError,
        AttributeError,
        ValueError,
        AssertionError,
    ) as error:
        _full_disk(folder)
        message = f"{where}: its answer cannot be read ({type(error).__name__}: {error}"[:LONGEST_TAIL] + ")"
        raise FailedError(FailureKind.BAD_RESULT, f"{message}; see the log there") from error


def _full_disk(folder: Path) -> None:
    """Raises the error that the program met and did not pass on, where the disk is full."""
    if shutil.disk_usage(folder).free < LITTLE_SPACE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
