"""What goes wrong in a DFT calculation, as typed failures with a remedy."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from materials.evaluation import FailureKind
from oracles.one_by_one import FailedError, NoAnswerError

if TYPE_CHECKING:
    from oracles.dft.codes import Code

LITTLE_SPACE = 1_000_000  # bytes; a program that dies with less left died of it
LONGEST_MESSAGE = 400  # characters of an exception's own words


class NotConvergedError(Exception):
    """Self-consistency was not reached."""


def need_program(command: str, remedy: str) -> None:
    """Raises FailedError of kind missing_program where the first word of `command` is no program on PATH."""
    program = shlex.split(command)[0]
    if shutil.which(program) is None:
        raise FailedError(FailureKind.MISSING_PROGRAM, f"{program} is not on PATH; {remedy}")


@contextmanager
def typed_faults(code: Code, formula: str, folder: Path) -> Iterator[None]:
    """Turns what `code` raises within into NotConvergedError, FailedError, or OSError for a full disk."""
    from ase.calculators.calculator import SCFError

    where = f"{code.name}, {formula}, in {folder}"
    try:
        yield
    except SCFError as error:
        raise NotConvergedError(f"{where}: {error}") from error
    except FileNotFoundError as error:
        if "PAW dataset" not in str(error):
            raise
        raise FailedError(
            FailureKind.MISSING_DATA, f"{formula}: {error}; or run  gpaw install-data"
        ) from error
    except Exception as error:
        if isinstance(error, NoAnswerError | OSError | MemoryError):
            raise
        if type(error).__name__ == "KohnShamConvergenceError":  # GPAW's, which may not be installed
            raise NotConvergedError(f"{where}: {error}") from error
        if shutil.disk_usage(folder).free < LITTLE_SPACE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        if code.says_unconverged(folder):
            raise NotConvergedError(f"{where}: self-consistency was not reached") from error
        said = f"{type(error).__name__}: {error}"[:LONGEST_MESSAGE]
        raise FailedError(
            FailureKind.BAD_RESULT, f"{where}: no usable answer ({said}); see the log"
        ) from error
    if code.says_unconverged(folder):
        raise NotConvergedError(f"{where}: self-consistency was not reached")
