"""A calculation that misses self-consistency is tried once more with robust settings, then given up by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from materials.evaluation import FailureKind
from oracles.dft.codes import Code
from oracles.dft.faults import NotConvergedError, typed_faults
from oracles.one_by_one import RejectedError

Result = TypeVar("Result")


def first_converged(
    code: Code, formula: str, folder: Path, ask: Callable[[Path, bool], Result]
) -> tuple[Result, list[str]]:
    """What `ask(folder, robust)` gave, and the names of the folders it took, the last one being the answer's.

    The first attempt works in `folder`, the robust one beside it. Raises RejectedError of kind not_converged where both
    miss self-consistency, and FailedError for missing programs and data and for answers of no use.
    """
    why: dict[str, str] = {}
    for place, robust in ((folder, False), (folder.with_name(f"{folder.name}_robust"), True)):
        place.mkdir(parents=True, exist_ok=True)
        try:
            with typed_faults(code, formula, place):
                return ask(place, robust), [*why, place.name]
        except NotConvergedError as error:
            why[place.name] = str(error)
        finally:
            code.clean(place)
    message = (
        f"{formula}: not self-consistent with usual and with robust settings; logs in {' and '.join(why)}"
    )
    raise RejectedError(FailureKind.NOT_CONVERGED, message, {"attempts": why, "folder": str(folder.parent)})
