"""Whether the blocks of a campaign file fit together, judged before anything expensive starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pydantic_core import InitErrorDetails, PydanticCustomError
from pymatgen.core import Composition

from loop.line import comparable_properties
from loop.relaxed_line import hull_limit, why_not_screened
from materials.checkpoints import SHIPPED, split_modal, untrained_elements
from materials.properties import property_named
from oracles.base import TicketOracleSettings

if TYPE_CHECKING:
    from generators.base import GeneratorSettings
    from loop.config import CampaignConfig
    from loop.yaml_text import Place
    from oracles.base import OracleSettings
    from surrogates.base import SurrogateSettings

Misfit = tuple["Place", str]


def misfits(config: CampaignConfig) -> list[InitErrorDetails]:
    """Everything that does not fit, each with its place, in the form pydantic reports errors."""
    checks = (_goals, _line, _material_kinds, _elements, _needed_elements, _energy_model, _audit, _budget)
    return [told(misfit) for check in checks for misfit in check(config)]


def told(misfit: Misfit) -> InitErrorDetails:
    """A misfit in the form pydantic reports errors."""
    place, message = misfit
    return InitErrorDetails(
        type=PydanticCustomError("misfit", "{reason}", {"reason": message}), loc=place, input=None
    )


def _goals(config: CampaignConfig) -> Iterator[Misfit]:
    """Every objective and constraint is measured by some oracle, at the fidelity it names."""
    measured = {name for oracle in config.oracles for name in oracle.measures}
    for block in ("objectives", "constraints"):
        seen: set[tuple[str, object]] = set()
        for number, goal in enumerate(getattr(config, block)):
            place = (block, number, "property")
            unknown = _unknown_property(goal.property)
            if unknown:
                yield place, unknown
            elif goal.property not in measured:
                yield (
                    place,
                    f"no oracle of this campaign measures {goal.property}; {_what_is_measured(measured)}",
                )
            key = (goal.property, getattr(goal, "fidelity", None))
            if key in seen:
                yield place, f"{goal.property} is named twice under {block}; keep one of them"
            seen.add(key)
    for number, objective in enumerate(config.objectives):
        yield from _fidelity(config, number, objective.property, objective.fidelity)


def _fidelity(config: CampaignConfig, number: int, name: str, fidelity: str | None) -> Iterator[Misfit]:
    if fidelity is None or _unknown_property(name):
        return
    place = ("objectives", number, "fidelity")
    ladder = property_named(name).fidelities
    available = {oracle.fidelity for oracle in config.oracles if name in oracle.measures}
    if fidelity not in ladder:
        yield place, f"{name} has no fidelity {fidelity!r}; it has {', '.join(ladder)}"
    elif available and fidelity not in available:
        offered = ", ".join(sorted(available))
        yield place, f"no oracle of this campaign measures {name} at fidelity {fidelity!r}, only at {offered}"


def _line(config: CampaignConfig) -> Iterator[Misfit]:
    return line_misfits(config.oracles)


def line_misfits(oracles: Sequence[OracleSettings]) -> Iterator[Misfit]:
    """Each oracle finds what it requires, and each gate what it judges, measured before."""
    measured: set[str] = set()
    later = {name for oracle in oracles for name in oracle.measures}
    for number, oracle in enumerate(oracles):
        unmet = [name for name in oracle.requires if name not in measured]
        for name in unmet:
            where = "; put the oracle that measures it first" if name in later else ""
            yield ("oracles", number), f"{oracle.kind} needs {name}, which nothing before it measures{where}"
        reason = None if unmet else oracle.misfit(oracles[:number])
        if reason is not None:
            yield ("oracles", number), reason
        measured.update(oracle.measures)
        for name in oracle.gate:
            place = ("oracles", number, "gate", name)
            unknown = _unknown_property(name)
            if unknown:
                yield place, unknown
            elif name not in measured:
                yield place, f"{name} is not measured up to this stage; {_what_is_measured(measured)}"


def _material_kinds(config: CampaignConfig) -> Iterator[Misfit]:
    """Generators, surrogate and oracles can all work on what the space holds."""
    kind = config.space.kind
    blocks: list[tuple[Place, GeneratorSettings | SurrogateSettings | OracleSettings]] = [
        *((("generators", i, "kind"), block) for i, block in enumerate(config.generators)),
        (("surrogate", "kind"), config.surrogate),
        *((("oracles", i, "kind"), block) for i, block in enumerate(config.oracles)),
    ]
    for place, block in blocks:
        if kind not in block.material_kinds:
            able = " or ".join(block.material_kinds)
            yield place, f"{block.kind} works on {able}, but this space holds materials of kind {kind}"


def _elements(config: CampaignConfig) -> Iterator[Misfit]:
    """Every element of the space is one that the named potentials were trained on."""
    named = {str(potential) for oracle in config.oracles if (potential := getattr(oracle, "potential", None))}
    descriptor = config.surrogate.descriptor_settings()
    if descriptor.kind != "composition":
        named.add(descriptor.potential)
    for potential in sorted(named):
        if split_modal(potential)[0].lower() in SHIPPED:
            unknown = untrained_elements(potential, config.space.elements)
            if unknown:
                yield ("space", "elements"), f"the potential {potential} does not know {', '.join(unknown)}"


def _needed_elements(config: CampaignConfig) -> Iterator[Misfit]:
    """What an oracle cannot do without is in every material of the space."""
    space = config.space
    present = set(Composition(space.formula).as_dict()) if space.formula else set(space.required)
    for number, oracle in enumerate(config.oracles):
        for symbol in oracle.needed_elements:
            if symbol not in space.elements:
                yield (
                    ("oracles", number),
                    f"{oracle.kind} needs {symbol} in every material, but space.elements does not hold it; "
                    "name an element of the space, or add it there",
                )
            elif symbol not in present and space.elements != (symbol,):
                yield (
                    ("oracles", number),
                    f"{oracle.kind} needs {symbol} in every material, but the space also allows materials without it; "
                    f"add  required: [{symbol}]  under space",
                )


def _energy_model(config: CampaignConfig) -> Iterator[Misfit]:
    """The energy model looks at what the line relaxes, and has a limit to judge by."""
    if config.energy_model is None:
        return
    reason = why_not_screened(config.oracles)
    if reason is not None:
        yield ("energy_model",), f"{reason}; change the oracles, or leave the block out"
    elif hull_limit(config.oracles, config.constraints) is None:
        yield (
            ("energy_model",),
            "nothing says what is too far above the hull to be relaxed; give the oracle hull a gate, such as "
            "gate: {energy_above_hull: {at_most: 0.1}}, or add a constraint on energy_above_hull",
        )


def _audit(config: CampaignConfig) -> Iterator[Misfit]:
    """The audit can be made, is no repetition of what it judges, and gives something to compare."""
    if config.audit is None:
        return
    oracle, place = config.audit.oracle, ("audit", "oracle")
    measured = {name for earlier in config.oracles for name in earlier.measures}
    for name in oracle.requires:
        if name not in measured:
            yield place, f"{oracle.kind} needs {name}, which no oracle of this campaign measures"
    if config.space.kind not in oracle.material_kinds:
        able = " or ".join(oracle.material_kinds)
        yield (
            place,
            f"{oracle.kind} works on {able}, but this space holds materials of kind {config.space.kind}",
        )
    if isinstance(oracle, TicketOracleSettings):
        yield place, f"{oracle.kind} answers from outside, when it likes; an audit is part of its round"
    reason = oracle.misfit(config.oracles)
    if reason is not None:
        yield place, reason
    if any(_same_source(oracle, other) for other in config.oracles):
        yield place, f"this campaign measures with the same {oracle.kind} already; name another one"
    elif not comparable_properties(config.oracles, oracle):
        yield (
            place,
            f"{oracle.kind} gives {', '.join(oracle.measures)}, of which nothing compares with the campaign's values; "
            f"{_what_is_measured(measured)} (total energies compare only where they are counted from the same zero)",
        )


def _same_source(audit: OracleSettings, oracle: OracleSettings) -> bool:
    """Whether an audit would only repeat an oracle: another fmax makes no other potential."""
    if audit.kind != oracle.kind:
        return False
    same_model = audit.model_version() == oracle.model_version()
    return same_model and (audit.fingerprint() == oracle.fingerprint() or audit.fidelity == "potential")


def _budget(config: CampaignConfig) -> Iterator[Misfit]:
    batch, pool = config.budget.batch, config.budget.pool
    if batch > pool:
        yield (
            ("budget", "batch"),
            f"a batch of {batch} cannot be picked from a pool of {pool}; raise pool or lower batch",
        )


def _unknown_property(name: str) -> str | None:
    try:
        property_named(name)
    except ValueError as error:
        return str(error)
    return None


def _what_is_measured(measured: set[str]) -> str:
    return f"measured are: {', '.join(sorted(measured)) or 'nothing'}"
