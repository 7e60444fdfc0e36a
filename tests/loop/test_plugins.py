"""Kinds from installed distributions: found, refused with a reason, never in the way of others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loop.plugins import ORACLES, Kinds, PluginError
from loop.schema import app as schema

Install = Callable[..., None]

ROBOT = '''
from typing import Literal
from oracles.base import OracleSettings

class RobotSettings(OracleSettings):
    """Asks my robot."""
    kind: Literal["my_robot"] = "my_robot"
    arm: int = 1

    @property
    def measures(self):
        return ("band_gap",)

    @property
    def fidelity(self):
        return "experiment"

class Other(RobotSettings):
    kind: Literal["relax"] = "relax"

class NotSettings:
    pass
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a distribution of one module and some entry points, as pip would lay it out on disk."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(distribution: str, module: str, source: str, *points: str) -> None:
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{distribution}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text("[matloop.oracles]\n" + "\n".join(points) + "\n")

    return add


def test_a_third_partys_robot_needs_no_change_here(install: Install) -> None:
    install("robots", "robots_a", ROBOT, "my_robot = robots_a:RobotSettings")
    assert "my_robot" in ORACLES.names()
    loaded = ORACLES.load("my_robot")
    assert loaded.model_fields["arm"].default == 1
    assert ORACLES.problems() == []


def test_a_typo_lists_the_kinds_and_the_nearest_one(install: Install) -> None:
    install("robots", "robots_b", ROBOT, "my_robot = robots_b:RobotSettings")
    with pytest.raises(PluginError, match=r"did you mean 'my_robot'\? .*relax, hull, bvse, neb.*my_robot"):
        ORACLES.load("my_robott")
    with pytest.raises(PluginError, match="unknown kind 3"):
        ORACLES.load(3)


def test_a_broken_plugin_is_named_and_harms_nobody_else(install: Install) -> None:
    install("broken-robots", "robots_c", "import no_such_library", "their_robot = robots_c:RobotSettings")
    assert ORACLES.load("table").__name__ == "TableSettings"
    with pytest.raises(
        PluginError, match=r"broken-robots 1\.2 .*their_robot = robots_c:RobotSettings.*no_such"
    ):
        ORACLES.load("their_robot")
    assert "their_robot" not in ORACLES.load_all()
    assert [("broken-robots" in problem) for problem in ORACLES.problems()] == [True]
    shown = CliRunner().invoke(schema, [])
    assert shown.exit_code == 0
    assert "warning: kind 'their_robot' comes from broken-robots" in shown.stderr
    assert "their_robot" not in shown.stdout


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("NotSettings", "no subclass of oracles.base:OracleSettings"),
        ("RobotSettings", "must declare"),
        ("Missing", "has no attribute 'Missing'"),
    ],
)
def test_a_plugin_that_breaks_the_contract_is_told_which_part(
    install: Install, target: str, reason: str
) -> None:
    module = f"robots_{target.lower()}"
    install("odd-robots", module, ROBOT, f"other = {module}:{target}")
    with pytest.raises(PluginError, match=reason):
        ORACLES.load("other")


def test_nobody_replaces_a_built_in(install: Install) -> None:
    install("robots", "robots_d", ROBOT, "table = robots_d:Other")
    assert ORACLES.load("table").__module__ == "oracles.table"
    assert "ignored" in ORACLES.problems()[0]


def test_two_owners_of_one_kind_are_both_named(install: Install) -> None:
    install("robots", "robots_e", ROBOT, "my_robot = robots_e:RobotSettings")
    install("rivals", "robots_f", ROBOT, "my_robot = robots_f:RobotSettings")
    with pytest.raises(PluginError, match=r"rivals 1\.2.* and robots 1\.2|robots 1\.2.* and rivals 1\.2"):
        ORACLES.load("my_robot")


def test_kinds_without_a_group_cannot_be_added(install: Install) -> None:
    install("robots", "robots_g", ROBOT, "my_robot = robots_g:RobotSettings")
    closed = Kinds("oracle", ORACLES.base, ORACLES.builtin)
    assert "my_robot" not in closed.names()
