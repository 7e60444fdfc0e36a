"""What goes wrong in a DFT calculation, as typed failures with a remedy."""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CalledProcessError
from typing import TYPE_CHECKING

from materials.calculators import CalculatorFaultError, UnsupportedElementError
from materials.evaluation import FailureKind
from oracles.one_by_one import FailedError, NoAnswerError, RejectedError

if TYPE_CHECKING:
    from oracles.dft.codes import Code

LITTLE_SPACE = 1_000_000  # bytes; a program that dies with less left died of it
LONGEST_MESSAGE = 400  # characters of an exception's own words
LAUNCHERS = ("mpirun", "mpiexec", "orterun", "srun", "env", "nice", "time", "timeout", "numactl")
NOT_EXECUTABLE, NOT_FOUND = 126, 127  # exit codes of shells and launchers (POSIX.1-2017, Shell, 2.8.2)


class NotConvergedError(Exception):
    """Self-consistency was not reached."""


def program_of(command: str) -> str | None:
    """Path of the program that `command` runs, behind a launcher such as mpirun; None where it is not on PATH."""
    words = shlex.split(command)
    if not words or shutil.which(words[0]) is None:
        return None
    if Path(words[0]).name not in LAUNCHERS:
        return shutil.which(words[0])
    return next((found for found in map(shutil.which, words[1:]) if found), None)


def need_program(command: str, remedy: str) -> None:
    """Raises FailedError of kind missing_program where `command` runs no program on PATH."""
    if program_of(command) is None:
        raise FailedError(FailureKind.MISSING_PROGRAM, f"{command!r} names no program on PATH; {remedy}")


@contextmanager
def typed_faults(code: Code, formula: str, folder: Path) -> Iterator[None]:
    """Turns what `code` raises within into NotConvergedError, NoAnswerError, or OSError for a full disk.

    What the machine may have done (an exit code, a signal) is failed; an answer of no use would come again: rejected.
    """
    from ase.calculators.calculator import SCFError

    where = f"{code.name}, {formula}, in {folder}"
    try:
        yield
    except SCFError as error:
        raise NotConvergedError(f"{where}: {error}") from error
    except CalculatorFaultError as error:
        if error.kind is not FailureKind.NOT_CONVERGED:
            raise
        raise NotConvergedError(f"{where}: {error}") from error
    except FileNotFoundError as error:
        if "PAW dataset" not in str(error):
            raise
        raise FailedError(
            FailureKind.MISSING_DATA, f"{formula}: {error}; or run  gpaw install-data"
        ) from error
    except Exception as error:
        if isinstance(
            error, NoAnswerError | NotConvergedError | UnsupportedElementError | OSError | MemoryError
        ):
            raise
        if type(error).__name__ == "KohnShamConvergenceError":  # GPAW's, which may not be installed
            raise NotConvergedError(f"{where}: {error}") from error
        if shutil.disk_usage(folder).free < LITTLE_SPACE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        if code.says_unconverged(folder):
            raise NotConvergedError(f"{where}: self-consistency was not reached") from error
        raise _no_answer(code, where, error) from error
    if code.says_unconverged(folder):
        raise NotConvergedError(f"{where}: self-consistency was not reached")


def _no_answer(code: Code, where: str, error: Exception) -> NoAnswerError:
    exit_code = _exit_code(error)
    said = f"{type(error).__name__}: {error}"[:LONGEST_MESSAGE]
    if exit_code in (NOT_EXECUTABLE, NOT_FOUND):
        remedy = "install the program, or name it under arguments: command"
        return FailedError(FailureKind.MISSING_PROGRAM, f"{where}: no program was found ({said}); {remedy}")
    own = ", and look at your `arguments`" if code.arguments else ""
    message = f"{where}: no usable answer ({said}); see the log{own}"
    return (RejectedError if exit_code is None else FailedError)(FailureKind.BAD_RESULT, message)


def _exit_code(error: Exception) -> int | None:
    """Of the program that failed; None where it ended well."""
    from ase.calculators.calculator import CalculationFailed

    if isinstance(error, CalledProcessError):
        return int(error.returncode)
    if not isinstance(error, CalculationFailed):
        return None
    found = re.search(r"(?:returned an error:|error code|exit code|code)\s*=?\s*(-?\d+)", str(error))
    return int(found.group(1)) if found else 1
