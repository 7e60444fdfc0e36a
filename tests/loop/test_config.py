"""The blocks of a campaign: defaults, goals, and whether everything that is asked for can be measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pymatgen.core import Element

from loop.config import CampaignConfig
from materials.checkpoints import untrained_elements
from materials.goals import Constraint, Objective
from materials.potential import load_potential

TABLE = {"kind": "table", "measures": ["band_gap", "formation_energy"], "fidelity": "PBE"}
RELAX, HULL, BVSE = {"kind": "relax"}, {"kind": "hull"}, {"kind": "bvse", "mobile_ion": "Li"}


@pytest.fixture
def table(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "answers.csv"
    path.write_text("formula,band_gap,formation_energy\nLi2O,5.0,-2.0\n")
    return TABLE | {"file": str(path)}


def crystals(**changes: Any) -> dict[str, Any]:
    """A campaign on crystals, measured by the potential."""
    return {
        "name": "test",
        "space": {"elements": ["Li", "O"], "required": ["Li"]},
        "objectives": [{"property": "migration_barrier", "goal": "minimize"}],
        "oracles": [RELAX, HULL, BVSE],
    } | changes


def compositions(table: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A campaign on formulas, measured by a table."""
    return {
        "name": "test",
        "space": {"kind": "composition", "elements": ["Li", "O"]},
        "objectives": [{"property": "band_gap", "goal": "maximize"}],
        "generators": [{"kind": "files", "path": table["file"]}],
        "surrogate": {"kind": "gp", "descriptor": "composition"},
        "oracles": [table],
    } | changes


def misfits(data: dict[str, Any]) -> dict[tuple[int | str, ...], str]:
    with pytest.raises(ValidationError) as caught:
        CampaignConfig.model_validate(data)
    return {error["loc"]: error["msg"] for error in caught.value.errors()}


def test_goals_become_the_values_that_every_room_knows(table: dict[str, Any]) -> None:
    goals = [
        {"property": "band_gap", "goal": "target", "target": 1.4, "tolerance": 0.1, "fidelity": "PBE"},
        {"property": "formation_energy", "goal": "minimize"},
    ]
    limits = [{"property": "formation_energy", "at_most": 0}, {"property": "band_gap", "at_least": 1}]
    config = CampaignConfig.model_validate(compositions(table, objectives=goals, constraints=limits))
    assert config.as_objectives() == (
        Objective("band_gap", "target", 1.4, 0.1, "PBE"),
        Objective("formation_energy", "minimize"),
    )
    assert config.as_constraints() == (
        Constraint("formation_energy", at_most=0),
        Constraint("band_gap", at_least=1),
    )


def test_defaults_make_a_whole_campaign() -> None:
    config = CampaignConfig.model_validate(crystals())
    assert [generator.kind for generator in config.generators] == ["substitution", "random", "genetic"]
    assert config.surrogate.kind == "gp"
    assert config.acquisition.kind == "noisy_expected_improvement"
    assert config.executor.kind == "local"
    assert (config.budget.rounds, config.budget.batch, config.budget.pool) == (3, 8, 300)
    assert (config.limits.failure_share, config.limits.seconds_per_evaluation) == (0.6, 600)


@pytest.mark.parametrize("off", ["none", None])
def test_tracking_can_be_switched_off(off: object) -> None:
    assert CampaignConfig.model_validate(crystals(tracking=off)).tracking is None


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        ({"property": "band_gap", "goal": "maximize"}, "no oracle of this campaign measures band_gap"),
        ({"property": "band_gpa", "goal": "maximize"}, "did you mean 'band_gap'"),
    ],
)
def test_a_goal_that_nobody_measures_is_refused(goal: dict[str, Any], words: str) -> None:
    found = misfits(crystals(objectives=[goal]))
    assert words in found["objectives", 0, "property"]
    limit = {"property": goal["property"], "at_least": 1}
    assert words in misfits(crystals(constraints=[limit]))["constraints", 0, "property"]


def test_a_goal_at_a_fidelity_that_nobody_measures_is_refused(table: dict[str, Any]) -> None:
    goal = {"property": "band_gap", "goal": "maximize", "fidelity": "HSE"}
    found = misfits(compositions(table, objectives=[goal]))
    assert "only at PBE" in found["objectives", 0, "fidelity"]
    found = misfits(compositions(table, objectives=[goal | {"fidelity": "GGA"}]))
    assert "band_gap has no fidelity 'GGA'" in found["objectives", 0, "fidelity"]


def test_a_table_that_cannot_answer_is_refused_before_anything_starts(table: dict[str, Any]) -> None:
    Path(table["file"]).write_text("formula,band_gap\nLi2O,5.0\n")
    pool = {"kind": "files", "path": table["file"]}
    found = misfits(compositions(table, generators=[pool]))
    assert "no column 'formation_energy'" in found["oracles", 0]
    Path(table["file"]).write_text("formula,band_gap,formation_energy\nLi2O,5.0,much\n")
    assert "line 2, column formation_energy: 'much'" in misfits(compositions(table))["oracles", 0]


def test_an_ion_that_is_not_in_every_material_is_refused() -> None:
    potassium = crystals(oracles=[RELAX, HULL, BVSE | {"mobile_ion": "K"}])
    assert "space.elements does not hold it" in misfits(potassium)["oracles", 2]
    optional = crystals(space={"elements": ["Li", "O"]})
    assert "required: [Li]" in misfits(optional)["oracles", 2]
    CampaignConfig.model_validate(crystals())
    CampaignConfig.model_validate(crystals(space={"elements": ["Li", "O"], "formula": "Li2O"}))


def test_a_learned_conductivity_needs_lithium_in_every_material(table: dict[str, Any]) -> None:
    space = {"kind": "composition", "elements": ["Li", "O"]}
    gap, both = (
        {"kind": "learned", "measures": names}
        for names in (["band_gap"], ["band_gap", "log_ionic_conductivity"])
    )
    CampaignConfig.model_validate(compositions(table, oracles=[gap]))
    for line in ([both], [gap, both]):
        found = misfits(compositions(table, oracles=line))["oracles", len(line) - 1]
        assert "learned needs Li in every material" in found
        assert "add  required: [Li]" in found
        CampaignConfig.model_validate(compositions(table, oracles=line, space=space | {"required": ["Li"]}))


def test_a_goal_named_twice_is_refused(table: dict[str, Any]) -> None:
    goal = {"property": "band_gap", "goal": "maximize"}
    assert "twice" in misfits(compositions(table, objectives=[goal, goal]))["objectives", 1, "property"]


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        ({"goal": "target"}, "add  target: VALUE"),
        ({"goal": "maximize", "target": 1.0}, "belong to goal: target"),
        ({"goal": "maximize", "tolerance": 1.0}, "belong to goal: target"),
    ],
)
def test_target_and_goal_belong_together(table: dict[str, Any], goal: dict[str, Any], words: str) -> None:
    found = misfits(compositions(table, objectives=[{"property": "band_gap"} | goal]))
    assert words in found["objectives", 0]


def test_a_constraint_needs_a_side(table: dict[str, Any]) -> None:
    found = misfits(compositions(table, constraints=[{"property": "band_gap"}]))
    assert "at_least, at_most or both" in found["constraints", 0]


def test_an_oracle_finds_what_it_needs_before_it() -> None:
    found = misfits(crystals(oracles=[HULL, RELAX, BVSE]))
    assert "put the oracle that measures it first" in found["oracles", 0]
    found = misfits(crystals(oracles=[HULL, BVSE]))
    assert "needs energy_per_atom, which nothing before it measures" in found["oracles", 0]


def test_a_gate_judges_what_is_measured_by_then() -> None:
    gate = {"gate": {"energy_above_hull": {"at_most": 0.1}}}
    found = misfits(crystals(oracles=[RELAX | gate, HULL, BVSE]))
    assert "not measured up to this stage" in found["oracles", 0, "gate", "energy_above_hull"]
    CampaignConfig.model_validate(crystals(oracles=[RELAX, HULL | gate, BVSE]))
    CampaignConfig.model_validate(crystals(oracles=[RELAX, HULL, BVSE | gate]))
    found = misfits(crystals(oracles=[RELAX, HULL | {"gate": {"hull": {"at_most": 1}}}, BVSE]))
    assert "unknown property 'hull'" in found["oracles", 1, "gate", "hull"]


def test_every_block_can_work_on_the_materials_of_the_space(table: dict[str, Any]) -> None:
    data = compositions(table)
    found = misfits(data | {"generators": [{"kind": "random"}], "surrogate": {"kind": "gp"}})
    assert (
        "random works on crystal, but this space holds materials of kind composition"
        in (found["generators", 0, "kind"])
    )
    assert "gp works on crystal" in found["surrogate", "kind"]
    found = misfits(crystals(space={"kind": "composition", "elements": ["Li", "O"]}))
    assert {("oracles", i, "kind") for i in range(3)} <= found.keys()


def test_an_element_that_the_potential_does_not_know_is_refused(table: dict[str, Any]) -> None:
    space = {"elements": ["Li", "At", "O", "Am"]}
    assert "7net-0 does not know At, Am" in misfits(crystals(space=space))["space", "elements"]
    CampaignConfig.model_validate(compositions(table, space=space | {"kind": "composition"}))


@pytest.mark.slow
def test_the_elements_of_a_shipped_potential_are_those_it_was_trained_on() -> None:
    symbols = [element.symbol for element in Element if element.symbol not in ("D", "T")]
    known = load_potential("7net-0").elements
    assert sorted(known) == sorted(set(symbols) - set(untrained_elements("7net-0", symbols)))


def test_a_batch_fits_into_the_pool() -> None:
    assert "pool of 7" in misfits(crystals(budget={"batch": 8, "pool": 7}))["budget", "batch"]
    CampaignConfig.model_validate(crystals(budget={"batch": 8, "pool": 8}))


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"space": {"elements": ["Li", "S"], "required": ["Li"]}},
        {"acquisition": {"kind": "random"}},
        {"oracles": [RELAX | {"fmax": 0.5}, HULL, BVSE]},
    ],
)
def test_what_decides_results_is_part_of_the_fingerprint(changes: dict[str, Any]) -> None:
    before = CampaignConfig.model_validate(crystals()).fingerprint()
    assert CampaignConfig.model_validate(crystals(**changes)).fingerprint() != before


@pytest.mark.parametrize(
    "changes",
    [
        {"budget": {"rounds": 9}},
        {"budget": {"batch": 9, "pool": 301}},
        {"executor": {"kind": "serial"}},
        {"tracking": "none"},
        {"database": "sqlite:///elsewhere.db"},
        {"cache": "cache.db"},
        {"limits": {"failure_share": 1.0}},
    ],
)
def test_where_and_how_long_is_no_part_of_the_fingerprint(changes: dict[str, Any]) -> None:
    before = CampaignConfig.model_validate(crystals()).fingerprint()
    assert CampaignConfig.model_validate(crystals(**changes)).fingerprint() == before


def test_reading_a_campaign_loads_no_heavy_library() -> None:
    code = (
        "import sys; from loop.loading import load_campaign; load_campaign('battery.yaml'); "
        "heavy = {'torch', 'botorch', 'sevenn', 'mlflow', 'bvlain', 'pyxtal', 'sklearn', 'sqlalchemy'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
