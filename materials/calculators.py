"""Where energies and forces come from: the contract of a source, and any ASE calculator by its import path.

Larsen et al., J. Phys.: Condens. Matter 2017, 29, 273002 (ASE). What an import path names is run, so one comes from a
local campaign file only, never over the wire.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from functools import cached_property, lru_cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from subprocess import CalledProcessError
from typing import TYPE_CHECKING, Any, Protocol

from pymatgen.core import Structure

from materials.base import canonical_json
from materials.calculator_arguments import why_not_taken
from materials.evaluation import FailureKind
from materials.memory import is_out_of_memory
from materials.settings import content_of

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

    from materials.checked import CheckedCalculator

IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
NOT_STARTED = (126, 127)
"""Exit codes of a shell that may not run a program, or finds none (POSIX)."""
KILLED = (-15, -9, 128 + 15, 128 + 9)
"""Exit codes of a program that the system ended, most often for want of memory; the last two are a shell's."""


class UnsupportedElementError(ValueError):
    """A structure holds elements the potential was not trained on."""

    def __init__(self, elements: Sequence[str], potential: str, formula: str) -> None:
        self.elements = tuple(elements)
        super().__init__(
            f"{formula}: the potential {potential} does not know {', '.join(elements)}; "
            "leave these elements out of the space or choose another potential"
        )


class CalculatorFaultError(ValueError):
    """A calculator gave no result that can be used: it raised, or what it gave is no energy, force or stress.

    mendable: the trouble is the machine's (a missing program, a server that does not answer), not the material's.
    """

    def __init__(self, kind: FailureKind, message: str, mendable: bool = False) -> None:
        self.kind, self.mendable = kind, mendable
        super().__init__(message)


class CalculatorMaker(Protocol):
    """Makes calculators: energies (eV), forces (eV/angstrom) and stresses (eV/angstrom^3) through ASE."""

    @property
    def name(self) -> str:
        """As the campaign file writes it."""
        ...

    def calculator(self) -> Calculator:
        """A new ASE calculator."""
        ...

    def check_elements(self, structure: Structure) -> None:
        """Raises UnsupportedElementError where it is known beforehand that an element is none of the maker's."""
        ...


class CalculatorSource(CalculatorMaker, Protocol):
    """A potential, whose energies are compared with one another."""

    @property
    def version(self) -> str:
        """Changes whenever the energies would, and names one source: energies of two versions are never compared."""
        ...


@dataclass(frozen=True)
class ImportedCalculator:
    """An ASE calculator by the import path `module:name` of its class, or of a function that makes one.

    arguments: by keyword, as in YAML. What is there already is judged by `check`, the rest when it is used.
    """

    name: str
    arguments: Mapping[str, Any]

    @property
    def version(self) -> str:
        """The class, the version of its distribution (of its file where it has none), and the arguments."""
        factory = self.factory
        arguments = canonical_json(_content(dict(self.arguments)))
        return f"{factory.__module__}:{factory.__qualname__} ({_origin(factory)}) {arguments}"

    def check(self) -> None:
        """Raises ValueError where the path leads nowhere, to no calculator, or to one that takes other arguments."""
        from ase.calculators.calculator import BaseCalculator

        factory = self.factory
        usable = (
            issubclass(factory, BaseCalculator) if isinstance(factory, type) else inspect.isroutine(factory)
        )
        if not usable:
            raise ValueError(
                f"{self.name} is neither a class of ASE calculators nor a function that makes one, but "
                f"{factory!r}; name one, such as ase.calculators.emt:EMT"
            )
        reason = why_not_taken(factory, self.arguments)
        if reason is not None:
            raise ValueError(f"{self.name}: {reason} (change `arguments`)")

    def check_elements(self, structure: Structure) -> None:
        """Says nothing: what elements it knows shows when it is asked."""

    def calculator(self) -> CheckedCalculator:
        from materials.checked import CheckedCalculator

        return CheckedCalculator(self.name, self._fresh())

    @cached_property
    def factory(self) -> Callable[..., Any]:
        """What the import path names. Raises ValueError with a remedy where there is nothing."""
        module, _, name = self.name.partition(":")
        try:
            found: Callable[..., Any] = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            package = (error.name or module).partition(".")[0]
            inside = package == module.partition(".")[0] and error.name != package
            remedy = (
                "look for a misspelling" if inside else f"pip install the distribution that holds {package}"
            )
            raise ValueError(
                f"{self.name}: no module {error.name}; {remedy}, or put your own on PYTHONPATH"
            ) from error
        except AttributeError as error:
            raise ValueError(f"{self.name}: {module} holds no {name}; look for a misspelling") from error
        except Exception as error:
            # Foreign code may raise anything when it is imported.
            raise ValueError(
                f"{self.name}: importing it raised {_said(error)}; mend its installation"
            ) from error
        return found

    def _fresh(self) -> Calculator:
        try:
            return deepcopy(self._pristine)
        except (TypeError, ValueError, RuntimeError):  # it holds a file or a handle of another library
            return self._made()

    @cached_property
    def _pristine(self) -> Calculator:
        """Made once, because that may load a model, and never used itself."""
        return self._made()

    def _made(self) -> Calculator:
        from ase.calculators.calculator import BaseCalculator

        try:
            made = self.factory(**self.arguments)
        except Exception as error:
            raise fault_of(self.name, error) from error
        if not isinstance(made, BaseCalculator):
            raise CalculatorFaultError(
                FailureKind.BAD_RESULT,
                f"{self.name} made {type(made).__name__}, which is no ASE calculator; name a class or function of one",
            )
        return made


@lru_cache(maxsize=4)
def _imported(name: str, arguments: str) -> ImportedCalculator:
    return ImportedCalculator(name, json.loads(arguments))


def imported_calculator(name: str, arguments: Mapping[str, Any]) -> ImportedCalculator:
    """The calculator of that import path and arguments, made once per process."""
    return _imported(name, canonical_json(dict(arguments)))


def fault_of(name: str, error: Exception) -> Exception:
    """What to raise in place of an exception of a calculator: trouble of the machine stays what it is."""
    from ase.calculators.calculator import (
        BadConfiguration,
        CalculatorSetupError,
        PropertyNotImplementedError,
        SCFError,
    )

    if is_out_of_memory(error) or (isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT)):
        return error
    said = f"{name} raised {_said(error)}"
    if isinstance(error, ImportError):
        remedy = f"pip install {error.name or 'it'}"
        return CalculatorFaultError(FailureKind.MISSING_PROGRAM, f"{said}; {remedy}", mendable=True)
    absent = (FileNotFoundError, PermissionError, BadConfiguration, CalculatorSetupError)
    exit_code = _exit_code(error)
    if isinstance(error, absent) or exit_code in NOT_STARTED:
        remedy = "install the program or file it looks for, or change `arguments`"
        return CalculatorFaultError(FailureKind.MISSING_PROGRAM, f"{said}; {remedy}", mendable=True)
    if isinstance(error, OSError) or exit_code in KILLED:
        kind = FailureKind.MISSING_PROGRAM if isinstance(error, OSError) else FailureKind.WORKER_LOST
        remedy = "see that the machine, or the server it asks, works again, and run once more"
        return CalculatorFaultError(kind, f"{said}; {remedy}", mendable=True)
    if isinstance(error, PropertyNotImplementedError):
        return CalculatorFaultError(
            FailureKind.BAD_RESULT, f"{said}; mend the calculator or choose another potential"
        )
    if isinstance(error, SCFError):
        return CalculatorFaultError(FailureKind.NOT_CONVERGED, f"{said}; change `arguments`")
    return CalculatorFaultError(
        FailureKind.ERROR, f"{said}; run it on this material alone, and change `arguments` or the potential"
    )


def _exit_code(error: Exception) -> int | None:
    """Of the program that a calculator ran in vain, below 0 where a signal ended it; None where no program failed."""
    from ase.calculators.calculator import CalculationFailed

    if isinstance(error, CalledProcessError):
        return int(error.returncode)
    told = re.search(r"with error code (-?\d+)$", str(error))  # ASE keeps it in the text alone
    return int(told.group(1)) if isinstance(error, CalculationFailed) and told else None


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def _origin(factory: Callable[..., Any]) -> str:
    names = _distributions(factory.__module__.partition(".")[0])
    if names:
        return " ".join(f"{name} {version(name)}" for name in names)
    file = inspect.getsourcefile(factory)
    return content_of(Path(file)) if file else "of no distribution"


@lru_cache(maxsize=8)
def _distributions(package: str) -> tuple[str, ...]:
    """Kept, because it reads what all installed distributions hold."""
    return tuple(sorted(set(packages_distributions().get(package, ()))))


def _content(value: Any) -> Any:
    """An argument that names a file counts by the file's content."""
    if isinstance(value, str) and Path(value).is_file():
        return content_of(Path(value))
    if isinstance(value, dict):
        return {key: _content(item) for key, item in value.items()}
    return [_content(item) for item in value] if isinstance(value, list) else value
