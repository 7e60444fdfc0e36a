"""The JSON Schema accepts what the campaign accepts, and refuses what editors can refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from loop.loading import bundled_campaigns, effective_yaml, load_campaign
from loop.schema import app, campaign_schema
from loop.yaml_text import read_yaml


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = campaign_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def campaign(name: str) -> Any:
    return read_yaml(bundled_campaigns()[name].read_text()).value


@pytest.mark.parametrize("name", sorted(bundled_campaigns()))
def test_bundled_campaigns_and_their_effective_text_are_valid(
    validator: Draft202012Validator, name: str
) -> None:
    validator.validate(campaign(name))
    validator.validate(read_yaml(effective_yaml(load_campaign(name).config)).value)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (["oracles", 0, "fmaxx"], 1),
        (["oracles", 0, "kind"], "relaks"),
        (["oracles", 0, "steps"], "many"),
        (["space", "elements"], []),
        (["budget", "rounds"], 0),
        (["objectives", 0, "goal"], "max"),
        (["executor"], {"kind": "dask"}),
        (["energy_model"], {"least_chance": 2}),
        (["tracking"], "off"),
    ],
)
def test_mistakes_are_refused(validator: Draft202012Validator, place: list[Any], value: object) -> None:
    data = campaign("battery.yaml")
    block = data
    for step in place[:-1]:
        block = block[step]
    block[place[-1]] = value
    assert not validator.is_valid(data)


def test_a_space_may_say_how_many_atoms_in_short_and_take_its_elements_from_a_formula(
    validator: Draft202012Validator,
) -> None:
    data = campaign("battery.yaml")
    assert validator.is_valid(data | {"space": {"formula": "Li3PS4", "number_of_atoms": 16}})
    assert not validator.is_valid(data | {"space": {"number_of_atoms": 16}})


def test_a_block_without_a_kind_is_read_as_the_default_kind(validator: Draft202012Validator) -> None:
    data = campaign("battery.yaml")
    for block in ({}, {"workers": 2}):
        assert validator.is_valid(data | {"executor": block})
    assert not validator.is_valid(data | {"executor": {"wokers": 2}})
    assert not validator.is_valid(data | {"surrogate": {"prior": "head"}})


def test_tracking_none_is_valid(validator: Draft202012Validator) -> None:
    assert validator.is_valid(campaign("battery.yaml") | {"tracking": "none"})


def test_the_command_prints_or_writes_it(tmp_path: Path) -> None:
    printed = CliRunner().invoke(app, [])
    assert json.loads(printed.stdout) == campaign_schema()
    out = tmp_path / "schema.json"
    assert CliRunner().invoke(app, ["--out", str(out)]).exit_code == 0
    assert json.loads(out.read_text()) == campaign_schema()
