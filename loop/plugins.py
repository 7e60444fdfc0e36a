"""The kinds of blocks a campaign file may hold: built-ins plus what installed distributions announce.

A distribution adds a kind without touching this repository by an entry point whose name is the kind and whose
value is the settings class:

    [project.entry-points."matloop.oracles"]
    my_robot = "my_package.robot:RobotSettings"

A kind's module is imported when a campaign first names it, so a broken plugin harms nobody else.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from materials.settings import Settings


class PluginError(ValueError):
    """A kind that nobody offers, or one whose code cannot be used."""


def nearest(word: object, known: Iterable[str]) -> list[str]:
    """The known word most like `word`, in a list that is empty where none is like it."""
    return difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.6)


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """'; did you mean ...?' with the nearest known word, or '.'; a sentence of its own may follow."""
    near = nearest(word, known)
    return f"; did you mean {near[0]!r}?" if near else "."


@dataclass(frozen=True)
class Kinds:
    """All kinds one block of a campaign file may be of.

    what: the block in words ("oracle"). base: 'module:Class' that every kind derives from. builtin: kind ->
    'module:Class'. group: the entry point group that adds kinds, or None where nobody else may. default: the kind of
    a block that names none, or None where it must.
    """

    what: str
    base: str
    builtin: Mapping[str, str]
    group: str | None = None
    default: str | None = None

    def names(self) -> tuple[str, ...]:
        """Every kind on offer, built-ins first."""
        return (*self.builtin, *(name for name in self._announced() if name not in self.builtin))

    def load_for(self, block: Mapping[Any, Any]) -> type[Settings]:
        """The settings class that a block is read by; see `load`."""
        return self.load(block.get("kind", self.default))

    def load(self, kind: object) -> type[Settings]:
        """The settings class of `kind`. Raises PluginError naming the known kinds, or what is broken."""
        if isinstance(kind, str) and kind in self.builtin:
            return self._checked(kind, _imported(self.builtin[kind]))
        announced = self._announced()
        if not isinstance(kind, str) or kind not in announced:
            hint = did_you_mean(kind, self.names())
            raise PluginError(
                f"unknown kind {kind!r}{hint} Known kinds of {self.what}: {', '.join(self.names())}"
            )
        points = announced[kind]
        if len(points) > 1:
            owners = " and ".join(_owner(point) for point in points)
            raise PluginError(f"kind {kind!r} is announced by {owners}; uninstall all but one of them")
        try:
            return self._checked(kind, points[0].load())
        except Exception as error:
            raise PluginError(
                f"kind {kind!r} comes from {_owner(points[0])}, which cannot be used: "
                f"{type(error).__name__}: {error}; mend or uninstall that distribution"
            ) from error

    def load_all(self) -> dict[str, type[Settings]]:
        """Every kind that can be used; `problems` names the others."""
        usable: dict[str, type[Settings]] = {}
        for name in self.names():
            with suppress(PluginError):
                usable[name] = self.load(name)
        return usable

    def problems(self) -> list[str]:
        """A sentence about each announced kind that cannot be used, or that a built-in of its name hides."""
        found: list[str] = []
        for name, points in self._announced().items():
            if name in self.builtin:
                owners = ", ".join(map(_owner, points))
                found.append(f"kind {name!r} of {owners} is ignored: matloop has its own of that name")
                continue
            try:
                self.load(name)
            except PluginError as error:
                found.append(str(error))
        return found

    def _announced(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        if self.group is not None:
            for point in entry_points(group=self.group):
                same = found.setdefault(point.name, [])
                if all(other.value != point.value or _owner(other) != _owner(point) for other in same):
                    same.append(point)
        return dict(sorted(found.items()))

    def base_class(self) -> type[Settings]:
        """What every kind derives from."""
        base = _imported(self.base)
        assert isinstance(base, type)
        assert issubclass(base, Settings)
        return base

    def _checked(self, kind: str, loaded: object) -> type[Settings]:
        if not (isinstance(loaded, type) and issubclass(loaded, self.base_class())):
            raise PluginError(f"{loaded!r} is no subclass of {self.base}")
        allowed = get_args(loaded.model_fields["kind"].annotation)
        if kind not in allowed:
            raise PluginError(f"{loaded.__name__} must declare  kind: Literal[{kind!r}] = {kind!r}")
        return loaded


@dataclass(frozen=True)
class OneOf:
    """Annotates a field with the strict union over `kinds`; the class is chosen by the block's key `kind`."""

    kinds: Kinds

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(self._validated)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        choices = {name: cls.__pydantic_core_schema__ for name, cls in self.kinds.load_all().items()}
        union = handler(core_schema.tagged_union_schema(dict(choices), discriminator="kind"))
        if self.kinds.default is None:
            return union
        named = {"required": ["kind"]}
        return {"type": "object", "if": named, "then": union, "else": handler(choices[self.kinds.default])}

    def _validated(self, value: object, info: core_schema.ValidationInfo) -> Settings:
        if isinstance(value, self.kinds.base_class()):
            return value
        if not isinstance(value, Mapping):
            raise PydanticCustomError(
                "block_expected", "a block of keys is expected here, such as {{kind: ...}}"
            )
        if "kind" not in value and self.kinds.default is None:
            names = ", ".join(self.kinds.names())
            raise PydanticCustomError(
                "kind_missing", "the key `kind` is missing; known kinds: {names}", {"names": names}
            )
        try:
            chosen = self.kinds.load_for(value)
        except PluginError as error:
            raise PydanticCustomError("kind_unknown", "{reason}", {"reason": str(error)}) from error
        return chosen.model_validate(value, context=info.context)


def _imported(target: str) -> object:
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def _owner(point: EntryPoint) -> str:
    distribution = (
        "an unnamed distribution" if point.dist is None else f"{point.dist.name} {point.dist.version}"
    )
    return f"{distribution} (entry point {point.name} = {point.value})"


GENERATORS = Kinds(
    "generator",
    "generators.base:GeneratorSettings",
    {
        "substitution": "generators.substitution:SubstitutionSettings",
        "random": "generators.random_crystal:RandomSettings",
        "files": "generators.files:FilesSettings",
        "genetic": "generators.genetic:GeneticSettings",
        "latent": "generators.latent.settings:LatentSettings",
        "command": "generators.command:CommandSettings",
    },
    "matloop.generators",
)
SURROGATES = Kinds(
    "surrogate",
    "surrogates.base:SurrogateSettings",
    {"gp": "surrogates.gaussian_process:GaussianProcessSettings"},
    "matloop.surrogates",
    default="gp",
)
ACQUISITIONS = Kinds(
    "acquisition",
    "acquisition.base:AcquisitionSettings",
    {
        "noisy_expected_improvement": (
            "acquisition.noisy_expected_improvement:NoisyExpectedImprovementSettings"
        ),
        "random": "acquisition.random_choice:RandomChoiceSettings",
        "greedy": "acquisition.greedy:GreedySettings",
    },
    "matloop.acquisitions",
    default="noisy_expected_improvement",
)
ORACLES = Kinds(
    "oracle",
    "oracles.base:OracleSettings",
    {
        "relax": "oracles.relax:RelaxSettings",
        "hull": "oracles.hull:HullSettings",
        "bvse": "oracles.conduction.bvse:BondValenceSettings",
        "neb": "oracles.conduction.neb:NebSettings",
        "md": "oracles.conduction.md:MolecularDynamicsSettings",
        "table": "oracles.table:TableSettings",
        "committee": "oracles.committee:CommitteeSettings",
        "dft": "oracles.dft.oracle:DftSettings",
        "optics": "oracles.dft.optics:OpticsSettings",
        "electrochemistry": "oracles.electrochemistry:ElectrochemistrySettings",
        "insertion": "oracles.insertion:InsertionSettings",
        "learned": "oracles.learned:LearnedSettings",
        "lab": "oracles.lab.lab:LabSettings",
        "folder": "oracles.lab.folder:FolderSettings",
        "rest": "oracles.lab.rest_settings:RestSettings",
        "sila2": "oracles.lab.sila2:Sila2Settings",
    },
    "matloop.oracles",
)
EXECUTORS = Kinds(
    "executor",
    "loop.executors.base:ExecutorSettings",
    {
        "serial": "loop.executors.serial:SerialExecutorSettings",
        "local": "loop.executors.local:LocalExecutorSettings",
        "parsl": "loop.executors.parsl:ParslExecutorSettings",
    },
    default="local",
)
