from importlib.util import find_spec

import pytest
from typer.testing import CliRunner

from experiments.benchmarks.parsl_overhead import app


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("parsl") is None, reason="Parsl is not installed (pip install 'matloop[cluster]')"
)
def test_both_executors_are_timed_and_killed() -> None:
    result = CliRunner().invoke(
        app, ["--number", "10", "--workers", "1", "--repeats", "1", "--heartbeat", "1"]
    )
    assert result.exit_code == 0, result.output
    assert result.output.count("for each of 10 tasks") == 2
    assert result.output.count("its task went on after") == 4
