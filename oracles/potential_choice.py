"""The part of a block that says which potential an oracle computes with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, JsonValue, ValidationInfo, field_validator, model_validator

from materials.calculators import IMPORT_PATH, CalculatorSource, ImportedCalculator, imported_calculator
from materials.checkpoints import SHIPPED, is_pretrained, potential_version, split_modal
from materials.settings import Settings, content_of, is_looking
from oracles.base import OracleSettings, Resources

CHECKPOINT_SUFFIXES = (".pth", ".pt")
MATERIALS_PROJECT = "PBE of the Materials Project"


class PotentialChoice(Settings):
    """A potential: a SevenNet model, or any ASE calculator."""

    potential: str = "7net-0"
    """A SevenNet name (7net-0, 7net-l3i5, ...) or a checkpoint file with its `sha256`, either with `:modal`; or the
    import path of an ASE calculator (ase.calculators.emt:EMT)."""
    sha256: str | None = None
    """The checksum of the checkpoint file; needed, because loading one runs its code."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where a SevenNet model runs; auto takes a GPU where there is one."""
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    """What the calculator of an import path is made with."""

    @field_validator("potential")
    @classmethod
    def _beside_the_campaign_file(cls, potential: str, info: ValidationInfo) -> str:
        if is_pretrained(potential):
            return potential
        whole = _beside(potential, info)
        if whole is not None:
            return whole
        file, colon, modal = potential.rpartition(":")
        found = _beside(file, info) if colon else None
        return potential if found is None else f"{found}:{modal}"

    @field_validator("arguments")
    @classmethod
    def _files_beside_the_campaign_file(
        cls, arguments: dict[str, JsonValue], info: ValidationInfo
    ) -> dict[str, JsonValue]:
        return {
            key: (_beside(value, info) or value) if isinstance(value, str) else value
            for key, value in arguments.items()
        }

    @model_validator(mode="after")
    def _loadable(self, info: ValidationInfo) -> Self:
        if is_looking(info):
            return self
        imported = self._imported()
        try:
            if imported is None:
                potential_version(self.potential, self.sha256)
            else:
                imported.check()
        except (FileNotFoundError, ValueError) as error:
            raise ValueError(f"potential: {error}" if imported else str(error)) from error
        if imported is None and self.arguments:
            raise ValueError("`arguments` are those of a calculator's import path; SevenNet takes none")
        if imported is not None and self.sha256 is not None:
            raise ValueError("`sha256` belongs to a checkpoint file; a calculator's import path takes none")
        if imported is not None and self.device != "auto":
            raise ValueError("`device` is for SevenNet; tell another calculator in its `arguments`")
        return self

    def meaning(self) -> dict[str, Any]:
        """The potential counts by its version, which holds what is in it, not by where it lies or runs."""
        told = ("potential", "sha256", "arguments", "device")
        return {name: value for name, value in super().meaning().items() if name not in told}

    @property
    def potential_version(self) -> str:
        """Names what is in the potential: equal versions compute the same."""
        imported = self._imported()
        return potential_version(self.potential, self.sha256) if imported is None else imported.version

    def file_contents(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """What the files hold that this block names, by the key that names each: a moved file computes the same."""
        if self.is_sevennet and not is_pretrained(self.potential):
            yield ("potential",), self.potential_version
        for key, value in self.arguments.items():
            if isinstance(value, str) and Path(value).is_absolute() and Path(value).exists():
                yield ("arguments", key), content_of(Path(value))

    @property
    def potential_zero(self) -> str:
        """What its total energies are counted from: those of two potentials compare only where it is the same."""
        # All that ship have learned total energies of the Materials Project's PBE, and speak them by default.
        name, modal = split_modal(self.potential.lower())
        return MATERIALS_PROJECT if name in SHIPPED and modal in ("", "pbe") else self.potential_version

    def load(self) -> CalculatorSource:
        """The potential, loaded once per process."""
        imported = self._imported()
        if imported is not None:
            return imported
        from materials.potential import load_potential

        return load_potential(self.potential, self.sha256, self.device)

    @property
    def is_sevennet(self) -> bool:
        """Whether it is a SevenNet model, which can be told many structures at once."""
        return self._imported() is None

    @property
    def takes_gpu(self) -> bool:
        """Whether it is loaded onto a GPU of this machine; imports torch."""
        from materials.potential import has_gpu

        return self.is_sevennet and self.device != "cpu" and has_gpu()

    def _imported(self) -> ImportedCalculator | None:
        """The calculator that `potential` is the import path of; None where it is a checkpoint."""
        name, base = self.potential, Path(split_modal(self.potential)[0])
        a_file = is_pretrained(name) or base.is_file() or base.suffix in CHECKPOINT_SUFFIXES
        if a_file or not IMPORT_PATH.fullmatch(name):
            return None
        return imported_calculator(name, self.arguments)


class PotentialSettings(PotentialChoice, OracleSettings):
    """An oracle that computes with a potential: a SevenNet model, or any ASE calculator."""

    memory: ClassVar[float] = 2.0
    """Of one evaluation, GiB."""

    @property
    def resources(self) -> Resources:  # type: ignore[override]  # depends on the machine
        return Resources(memory=self.memory, gpus=int(self.takes_gpu))

    @property
    def fidelity(self) -> str:
        return "potential"

    def model_version(self) -> str:
        return self.potential_version

    @property
    def energy_source(self) -> str | None:
        return self.potential_version if "energy_per_atom" in self.measures else None

    def why_strained(self, earlier: Sequence[OracleSettings]) -> str | None:
        """Why a crystal relaxed by earlier oracles would be under strain in this potential; None where it is not."""
        relaxed = [o for o in earlier if isinstance(o, PotentialSettings) and o.energy_source is not None]
        if not relaxed or relaxed[-1].energy_source == self.model_version():
            return None
        return (
            f"{relaxed[-1].kind} relaxes with {relaxed[-1].energy_source}, but this block computes with "
            f"{self.model_version()}; give both the same potential"
        )

    @property
    def energy_zero(self) -> str | None:
        if self.why_incomparable is not None:
            return f"{self.energy_source} that {self.why_incomparable}"
        return self.potential_zero


def _beside(name: str, info: ValidationInfo) -> str | None:
    """The absolute path of the file of that name beside the campaign file; None where there is none."""
    path = Path((info.context or {}).get("folder") or ".") / Path(name).expanduser()
    return str(path.resolve()) if path.is_file() else None
