"""What a campaign will do, in plain words, before it does it: the text of `--dry-run`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, islice
from pathlib import Path
from typing import TYPE_CHECKING

from loop.audit_record import oracle_told
from loop.config import AuditSettings, CampaignConfig, ConstraintSettings, ObjectiveSettings
from loop.earlier import is_campaign
from loop.plugins import ACQUISITIONS, GENERATORS, ORACLES, SURROGATES
from loop.prior import read_prior
from loop.relaxed_line import hull_limit
from materials.chemistry import balanced_formula_exists
from materials.properties import property_named
from materials.space import Space

if TYPE_CHECKING:
    from rich.console import RenderableType

MOST_SYSTEMS = 2000
"""Above so many sets of elements the plan does not count those that can be charge balanced."""


def describe(config: CampaignConfig, folder: Path | None = None) -> RenderableType:
    """The plan and the complete effective configuration, for a rich console.

    Raises CampaignError where a table of measurements or an earlier campaign cannot be read.
    """
    from rich.console import Group
    from rich.syntax import Syntax
    from rich.table import Table
    from rich.text import Text

    from loop.loading import effective_yaml

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for label, text in plan(config, folder or Path("runs") / config.name):
        table.add_row(label, Text(text))
    return Group(
        Text(f"Plan of campaign {config.name}", style="bold"),
        table,
        Text("\nEffective configuration", style="bold"),
        Syntax(effective_yaml(config), "yaml", background_color="default"),
    )


def plan(config: CampaignConfig, folder: Path) -> Iterator[tuple[str, str]]:
    """(label, sentence) for each part of the plan."""
    yield "space", _space(config.space)
    yield "goals", "\n".join([*map(_objective, config.objectives), *map(_constraint, config.constraints)])
    yield "known before", _known_before(config)
    yield "candidates", _generators(config)
    yield "choice", f"{config.acquisition.kind} on a {config.surrogate.kind} surrogate{_screen(config)}"
    for number, sentence in enumerate(_line(config)):
        yield ("oracles" if number == 0 else ""), sentence
    if config.audit is not None:
        yield "audit", _audit(config.audit)
    yield "budget", _budget(config)
    yield "files", f"{folder}/ (database {config.database or folder / 'campaign.db'})"
    yield "cache", "none" if config.cache is None else str(config.cache)
    yield "MLflow", _tracking(config)
    for problem in _plugin_problems():
        yield "warning", problem


def _known_before(config: CampaignConfig) -> str:
    """What the tables and earlier campaigns hold; they are read, so a broken one is noticed now."""
    prior = read_prior(config.data)
    number = sum(len(found) for found in prior.measurements.values())
    names = ", ".join(f"the campaign of {path}" if is_campaign(path) else str(path) for path in config.data)
    left_out = f"; {prior.doubted} doubted, left out" if prior.doubted else ""
    return (
        f"{len(prior.candidates)} materials with {number} measurements in {names}{left_out}"
        if names
        else "nothing"
    )


def _space(space: Space) -> str:
    least, most = space.number_of_elements
    smallest, largest = space.number_of_atoms
    what = f"{space.kind}s of {', '.join(space.elements)}"
    if space.formula is not None:
        what = f"{space.kind}s of formula {space.formula}"
    with_required = f", always with {' and '.join(space.required)}" if space.required else ""
    return (
        f"{what}{with_required}; {least} to {most} elements, {smallest} to {largest} atoms"
        f"{_charge_balance(space)}"
    )


def _charge_balance(space: Space) -> str:
    """How many of the sets of elements that the space allows have a charge-balanced formula."""
    if not space.charge_balanced or space.formula is not None:
        return ""
    systems = list(islice(_chemical_systems(space), MOST_SYSTEMS + 1))
    if len(systems) > MOST_SYSTEMS:
        return f"; charge balanced, more than {MOST_SYSTEMS} sets of elements"
    balanced = sum(
        balanced_formula_exists(system, system, (len(system), len(system)), space.number_of_atoms)
        for system in systems
    )
    return f"; charge balanced, which {balanced} of {len(systems)} sets of elements can be"


def _chemical_systems(space: Space) -> Iterator[tuple[str, ...]]:
    others = [element for element in space.elements if element not in space.required]
    least, most = space.number_of_elements
    for size in range(max(least, len(space.required)), most + 1):
        for chosen in combinations(others, size - len(space.required)):
            yield (*space.required, *chosen)


def _objective(goal: ObjectiveSettings) -> str:
    known = property_named(goal.property)
    at = "" if goal.fidelity is None else f" at fidelity {goal.fidelity}"
    if goal.goal != "target":
        return f"{goal.goal} {goal.property}{at} ({known.unit}): {known.meaning}"
    within = "" if goal.tolerance is None else f" within {goal.tolerance:g}"
    return f"bring {goal.property}{at} to {goal.target:g}{within} {known.unit}: {known.meaning}"


def _constraint(limit: ConstraintSettings) -> str:
    return f"keep {limit.constraint()} {property_named(limit.property).unit}"


def _generators(config: CampaignConfig) -> str:
    total = sum(generator.share for generator in config.generators)
    shares = [f"{generator.kind} {generator.share / total:.0%}" for generator in config.generators]
    return f"{config.budget.pool} a round, at first {', '.join(shares)}; shares follow success"


def _screen(config: CampaignConfig) -> str:
    limit = hull_limit(config.oracles, config.constraints)
    if config.energy_model is None or limit is None:
        return ""
    least = config.energy_model.least_chance
    return (
        f"; what a look at its relaxation gives less than {least:.0%} to end within {limit:g} eV/atom of the hull "
        "makes place for the next"
    )


def _line(config: CampaignConfig) -> Iterator[str]:
    for number, oracle in enumerate(config.oracles, 1):
        measured = ", ".join(oracle.measures) or "nothing"
        gates = " and ".join(str(gate.constraint(name)) for name, gate in oracle.gate.items())
        gate = f"; goes on only with {gates}" if gates else ""
        seconds = _duration(oracle.typical_seconds)
        yield f"{number}. {oracle.kind} measures {measured} ({oracle.fidelity}), about {seconds} each{gate}"


def _audit(audit: AuditSettings) -> str:
    seconds = _duration(audit.oracle.typical_seconds)
    return (
        f"{audit.each} of the most surprising results of each round and {audit.each} at random, measured again by "
        f"{oracle_told(audit.oracle)}, about {seconds} each; nothing is learned from them"
    )


def _budget(config: CampaignConfig) -> str:
    budget = config.budget
    candidates = budget.rounds * budget.batch
    calls = candidates * len(config.oracles)
    seconds = candidates * sum(oracle.typical_seconds for oracle in config.oracles)
    return (
        f"{budget.rounds} rounds of {budget.batch}: {candidates} candidates, at most {calls} oracle calls, "
        f"roughly {_duration(seconds)} of one core for oracles"
    )


def _tracking(config: CampaignConfig) -> str:
    if config.tracking is None:
        return "off"
    from loop.tracking import tracking_uri

    return f"experiment {config.tracking.experiment} at {tracking_uri()}"


def _plugin_problems() -> Sequence[str]:
    return [
        sentence for kinds in (GENERATORS, SURROGATES, ACQUISITIONS, ORACLES) for sentence in kinds.problems()
    ]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
