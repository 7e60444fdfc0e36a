"""The line of oracles a candidate passes through: its stages, its keys and its gates. No state, no effects."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from materials.base import Candidate, Material, Measurement, content_hash
from materials.evaluation import Request, request_key
from oracles.base import OracleSettings

TOTAL_ENERGIES = ("energy_per_atom", "enthalpy_per_atom")
ZERO_WHEN_RELAXED = "max_force"
"""A relaxation makes it small, so a second opinion on a relaxed material is held against 0."""


@dataclass(frozen=True)
class Stage:
    """One oracle in the line. `fingerprint` covers this stage and all before it: they decide what it sees."""

    number: int
    name: str
    settings: OracleSettings
    fingerprint: str

    def key(self, candidate_id: str) -> str:
        """The key under which this stage is asked about the candidate once."""
        return request_key(candidate_id, self.settings.kind, self.fingerprint)

    def request(
        self, candidate: Candidate, material: Material, measurements: Sequence[Measurement]
    ) -> Request:
        """The question, with the material and the measurements as the earlier stages left them."""
        return Request(
            key=self.key(candidate.id),
            candidate=candidate,
            material=material,
            oracle=self.name,
            measurements=tuple(measurements),
        )

    def closed_gate(self, measurements: Sequence[Measurement]) -> str | None:
        """The first gate that a measured value does not pass, in words; None when the line goes on."""
        latest = {m.property: m for m in measurements}
        for name, gate in self.settings.gate.items():
            measurement = latest.get(name)
            limit = gate.constraint(name)
            if measurement is None:
                return f"{self.name}: {name} was not measured"
            if not limit.kept_by(measurement):
                return f"{self.name}: {limit} not kept ({measurement.value:.3g})"
        return None


def following(line: Sequence[Stage], answered: Collection[int], doubt: str) -> Stage | None:
    """The stage to ask next: the first without an answer, but in a doubt the first of those that judges doubts.

    What a doubt is about must not reach the stages that build on it, so there is none where nothing judges it.
    """
    left = [stage for stage in line if stage.number not in answered]
    return next((stage for stage in left if stage.settings.judges_doubt or not doubt), None)


def stage_names(oracles: Sequence[OracleSettings]) -> tuple[str, ...]:
    """The names of the stages in order: the kind, from its second appearance on with a number."""
    kinds = [oracle.kind for oracle in oracles]
    return tuple(
        kind if (count := kinds[:place].count(kind)) == 0 else f"{kind}_{count + 1}"
        for place, kind in enumerate(kinds)
    )


def build_line(oracles: Sequence[OracleSettings]) -> tuple[Stage, ...]:
    """Stages in order. A gate decides who goes on, not what is measured, so it is no part of a fingerprint."""
    stages: list[Stage] = []
    so_far: list[object] = []
    for number, (name, settings) in enumerate(zip(stage_names(oracles), oracles, strict=True)):
        asked = settings.model_copy(update={"gate": {}})
        so_far.append([settings.kind, asked.fingerprint(), settings.model_version()])
        stages.append(Stage(number, name, settings, content_hash(so_far)))
    return tuple(stages)


def comparable_properties(line: Sequence[OracleSettings], audit: OracleSettings) -> list[str]:
    """The properties of an audit that can be held against what the line measures.

    Total energies only where they are counted from the same zero. The largest force counts against 0 where a line
    relaxes, whoever measures it.
    """
    measured = {name for oracle in line for name in oracle.measures}
    return [
        name
        for name in audit.measures
        if any(comparable(name, oracle, audit) for oracle in line)
        or (name == ZERO_WHEN_RELAXED and "energy_per_atom" in measured)
    ]


def comparable(name: str, oracle: OracleSettings, audit: OracleSettings) -> bool:
    """Whether what two oracles measure of property `name` can be held against one another."""
    if name not in oracle.measures or name not in audit.measures:
        return False
    return name not in TOTAL_ENERGIES or oracle.energy_zero == audit.energy_zero is not None
