"""Campaign files: found, read, overridden, and refused with the file, the line, the key and the remedy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loop.config import CampaignConfig
from loop.loading import (
    ConfigError,
    bundled_campaigns,
    effective_yaml,
    find_campaign_file,
    load_campaign,
    parse_campaign,
)
from loop.yaml_text import read_yaml

TEXT = """\
name: coatings
space:
  kind: composition
  elements: [Li, Y, O]
objectives:
  - property: band_gap
    goal: maximize
generators:
  - {kind: files, path: answers.csv}
surrogate: {kind: gp, descriptor: composition}
oracles:
  - kind: table
    file: answers.csv
    measures: [band_gap, formation_energy]
    gate:
      band_gap: {at_least: 1.0}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "answers.csv").write_text("formula,band_gap,formation_energy\nLi2O,5.0,-2.0\nY2O3,4.1,-3.9\n")
    path = tmp_path / "coatings.yaml"
    path.write_text(TEXT)
    return path


def refusal(file: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_campaign(file, overrides)
    return str(caught.value)


def test_a_short_file_is_enough(file: Path) -> None:
    loaded = load_campaign(file)
    assert loaded.path == file
    assert loaded.folder == file.parent
    assert loaded.config.budget.rounds == 3
    assert loaded.config.space.elements == ("Li", "Y", "O")


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "words"),
    [
        ("goal: maximize", "gaol: maximize", 7, "objectives[0].gaol", "unknown key; did you mean 'goal'?"),
        ("    goal: maximize\n", "", 6, "objectives[0].goal", "this key is missing"),
        (
            "goal: maximize",
            "goal: max",
            7,
            "objectives[0].goal",
            "'maximize', 'minimize' or 'target', not 'max'",
        ),
        (
            "at_least: 1.0",
            "at_leats: 1.0",
            16,
            "oracles[0].gate.band_gap.at_leats",
            "did you mean 'at_least'?",
        ),
        ("at_least: 1.0", "at_least: high", 16, "oracles[0].gate.band_gap.at_least", "valid number"),
        ("at_least: 1.0", "at_least: '1.0'", 16, "oracles[0].gate.band_gap.at_least", "not the text '1.0'"),
        ("at_least: 1.0", "at_least: true", 16, "oracles[0].gate.band_gap.at_least", "a number is expected"),
        ("at_least: 1.0", "at_least: .nan", 16, "oracles[0].gate.band_gap.at_least", "finite number"),
        (
            "      band_gap: {",
            "      band_gab: {",
            16,
            "oracles[0].gate.band_gab",
            "did you mean 'band_gap'?",
        ),
        (
            "file: answers.csv",
            "file: answer.csv",
            13,
            "oracles[0].file",
            "no such file or folder: answer.csv",
        ),
        ("file: answers.csv", "fiel: answers.csv", 13, "oracles[0].fiel", "did you mean 'file'?"),
        (
            "- kind: table",
            "- kind: tabel",
            12,
            "oracles[0]",
            "did you mean 'table'? Known kinds of oracle: relax",
        ),
        ("- kind: table\n    file", "- file", 12, "oracles[0]", "the key `kind` is missing"),
        (
            "surrogate: {kind: gp, descriptor: composition}",
            "surrogate: gp",
            10,
            "surrogate",
            "a block of keys",
        ),
        ("[Li, Y, O]", "[Li, Yy, O]", 4, "space.elements", "'Yy' is no element"),
        ("[Li, Y, O]", "[Li, Y, O]\n  required: [Na]", 2, "space", "Na not in elements"),
        ("[Li, Y, O]", "[Li, Y]\n  charge_balanced: true", 2, "space", "no charge-balanced formula"),
        ("name: coatings", "name: a/b", 1, "name", "should match pattern"),
        ("name: coatings\n", "", 1, "name", "this key is missing"),
        ("name: coatings", "name: c\nseed: -1", 2, "seed", "must be at least 0, not -1"),
        (
            "name: coatings",
            "name: c\nenergy_model: {}",
            2,
            "energy_model",
            "with relax and hull",
        ),
        ("name: coatings", "name: c\nbudget: {batch: 9, pool: 3}", 2, "budget.batch", "pool of 3"),
        (
            "name: coatings",
            "name: c\nexecutor: {kind: dask}",
            2,
            "executor",
            "Known kinds of executor: serial",
        ),
        ("descriptor: composition", "descriptor: sevennet", 10, "surrogate.kind", "gp works on crystal"),
    ],
)
def test_each_mistake_is_shown_with_its_line_and_key(
    file: Path, old: str, new: str, line: int, key: str, words: str
) -> None:
    assert TEXT.count(old) == 1
    file.write_text(TEXT.replace(old, new))
    message = refusal(file)
    assert message.startswith(f"{file}:{line}: {key}: ")
    assert words in message


@pytest.mark.parametrize(
    ("text", "start", "words"),
    [
        ("", "", "the file is empty"),
        ("# only a comment\n", "", "the file is empty"),
        ("- a\n- b\n", ":1", "holds a list"),
        ("name\n", ":1", "holds a single value"),
        ("name: [a\nspace: b\n", ":2:6", "no valid YAML"),
        ("name: a\n\tspace: b\n", ":2:1", "tab"),
        ("name: a\nname: b\n", ":2:1", "already on line 1"),
    ],
)
def test_a_file_that_is_no_campaign_is_refused(file: Path, text: str, start: str, words: str) -> None:
    file.write_text(text)
    message = refusal(file)
    assert message.startswith(f"{file}{start}: ")
    assert words in message


def test_a_file_that_is_no_text_is_refused(file: Path) -> None:
    file.write_bytes(b"name: \xff\xfe\n")
    assert "UTF-8" in refusal(file)


def test_every_mistake_is_shown_at_once(file: Path) -> None:
    file.write_text(TEXT.replace("goal: maximize", "gaol: maximize").replace("name:", "nmae:"))
    places = [line.split(": ")[1] for line in refusal(file).splitlines()]
    assert places == ["nmae", "objectives[0].gaol"]


def test_overrides_take_yaml_values_at_dotted_places(file: Path) -> None:
    overrides = ["space.elements=[Li, O, N]", "generators[0].share=0.5", "executor.kind=serial", "seed=1"]
    overrides += [
        "oracles[0].gate={}",
        "limits.failure_share=5e-1",
        "tracking=none",
        "oracles[0].measures=[band_gap]",
    ]
    config = load_campaign(file, overrides).config
    assert config.space.elements == ("Li", "O", "N")
    assert config.generators[0].share == 0.5
    assert config.executor.kind == "serial"
    assert config.oracles[0].gate == {}
    assert config.oracles[0].measures == ("band_gap",)
    assert config.limits.failure_share == 0.5
    assert config.tracking is None


def test_a_later_override_wins(file: Path) -> None:
    assert load_campaign(file, ["seed=1", "seed=2"]).config.seed == 2


def test_another_kind_keeps_the_keys_it_knows(file: Path) -> None:
    file.write_text(TEXT + "executor: {kind: local, workers: 2}\n")
    assert load_campaign(file, ["executor.kind=serial"]).config.executor.kind == "serial"
    config = load_campaign(file, ["generators[0].share=3", "generators[0].kind=files"]).config
    assert config.generators[0].share == 3


def test_a_block_that_names_no_kind_is_of_the_default_one(file: Path) -> None:
    config = load_campaign(file, ["executor.workers=2", "surrogate={descriptor: composition}"]).config
    assert config.model_dump()["executor"] == {"kind": "local", "workers": 2}
    assert config.surrogate.kind == "gp"
    assert config.acquisition == load_campaign(file, ["acquisition={}"]).config.acquisition
    file.write_text(TEXT.replace("kind: gp, descriptor", "descriptor") + "executor: {workers: 2}\n")
    assert load_campaign(file).config == config
    assert load_campaign(file, ["executor.kind=serial"]).config.executor.kind == "serial"
    file.write_text(TEXT + "executor: {wokers: 2}\n")
    assert f"{file}:17: executor.wokers: unknown key; did you mean 'workers'?" in refusal(file)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("space.elements", "write it as"),
        ("=3", "write it as"),
        ("space..elements=3", "write it as"),
        ("generators[x].share=3", "write it as"),
        ("generators[4].share=3", "no item [4], the file lists 1"),
        ("space[0]=3", "no list"),
        ("name.first=3", "no block of keys"),
        ("space.elements=[Li", "the value is no YAML"),
        ("budget.batch=many", "budget.batch: input should be a valid integer"),
        ("oracles[0].kind=tabel", "did you mean 'table'?"),
        ("oracles[0].delai=1", "oracles[0].delai: unknown key; did you mean 'delay'?"),
        ("budget={batch: 9, pool: 3}", "pool of 3"),
        ("surrogate.prior=head", "surrogate.prior: must be 'heads' or 'none', not 'head'"),
        ("executor.workers=many", "executor.workers: must be 'auto', not 'many'"),
        ("executor.workers=0", "executor.workers: must be 'auto', or at least 1, not 0"),
        (
            "executor.wrokers=2",
            "executor.wrokers: unknown key; did you mean 'workers'? Known here: kind, workers",
        ),
        ("acquisition.kind=gredy", "acquisition: unknown kind 'gredy'; did you mean 'greedy'?"),
        ("oracles=[{file: answers.csv}]", "oracles[0]: the key `kind` is missing; known kinds: relax"),
    ],
)
def test_a_wrong_override_is_named(file: Path, override: str, words: str) -> None:
    message = refusal(file, override)
    assert f"--set {override}" in message
    assert words in message


def test_files_are_found_as_given_and_then_among_the_bundled(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    assert find_campaign_file("coatings.yaml") == file
    assert find_campaign_file("battery.yaml") == bundled_campaigns()["battery.yaml"]
    (file.parent / "battery.yaml").write_text(TEXT)
    assert find_campaign_file("battery.yaml") == file.parent / "battery.yaml"
    with pytest.raises(ConfigError, match=r"did you mean 'battery.yaml'\?.*tiny.yaml"):
        find_campaign_file("batery.yaml")
    with pytest.raises(ConfigError, match="folder"):
        find_campaign_file(file.parent)


def test_relative_inputs_start_at_the_file_and_not_where_python_runs(file: Path, tmp_path: Path) -> None:
    config = load_campaign(os.path.relpath(file), ["data=[answers.csv]", "cache=../cache.db"]).config
    assert config.data == (file.parent / "answers.csv",)
    assert config.cache == file.parent.parent / "cache.db"


@pytest.mark.parametrize("name", sorted(bundled_campaigns()))
def test_bundled_campaigns_are_valid_and_their_effective_text_is_equal(name: str) -> None:
    config = load_campaign(name).config
    assert parse_campaign(effective_yaml(config), Path("elsewhere") / "x.yaml") == config


numbers = st.floats(1e-6, 1e6)
goals = st.one_of(
    st.fixed_dictionaries({"goal": st.sampled_from(["maximize", "minimize"])}),
    st.fixed_dictionaries(
        {"goal": st.just("target"), "target": st.floats(-1e3, 1e3)}, optional={"tolerance": numbers}
    ),
)
changes = st.fixed_dictionaries(
    {},
    optional={
        "name": st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,8}\Z"),
        "seed": st.integers(0, 2**63),
        "objectives": goals.map(lambda goal: [{"property": "band_gap", **goal}]),
        "constraints": numbers.map(lambda x: [{"property": "formation_energy", "at_most": x}]),
        "budget": st.integers(1, 50).map(lambda n: {"batch": n, "pool": n + 3, "rounds": n}),
        "limits": st.fixed_dictionaries({"seconds_per_evaluation": numbers}),
        "tracking": st.one_of(
            st.just("none"), st.text(min_size=1, max_size=6).map(lambda t: {"experiment": t})
        ),
        "executor": st.sampled_from([{"kind": "serial"}, {"kind": "local", "workers": 2}]),
        "database": st.one_of(st.none(), st.sampled_from(["no", "1e3", "sqlite:////tmp/x.db"])),
        "cache": st.sampled_from(["c.db", "No"]),
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(changes)
def test_the_effective_text_reads_back_equal(file: Path, change: dict[str, object]) -> None:
    data = read_yaml(TEXT).value | change
    config = CampaignConfig.model_validate(data, context={"folder": file.parent})
    again = parse_campaign(effective_yaml(config), Path("/another/folder/x.yaml"))
    assert again == config
    assert again.fingerprint() == config.fingerprint()


junk = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just("band_gap")),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


def places(value: Any, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(inner for step, item in steps for inner in places(item, (*place, step)))]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80, deadline=None)
@given(st.data())
def test_whatever_stands_in_a_file_it_is_read_or_refused_in_words(file: Path, data: st.DataObject) -> None:
    """Anything put anywhere into a valid file gives a campaign or a ConfigError that starts with the file."""
    campaign = {"whole": read_yaml(TEXT).value}
    place = data.draw(st.sampled_from(places(campaign)[1:]))
    block: Any = campaign
    for step in place[:-1]:
        block = block[step]
    key = place[-1]
    if isinstance(block, dict) and place[:-1] and data.draw(st.booleans()):
        key = data.draw(st.text(max_size=5))
    block[key] = data.draw(junk)
    text = yaml.safe_dump(campaign["whole"], sort_keys=False)
    message = ""
    try:
        parse_campaign(text, file)
    except ConfigError as error:
        message = str(error)
    assert all(line.startswith(str(file)) for line in message.splitlines())
