import pytest
from typer.testing import CliRunner

from experiments.benchmarks.executor import app


@pytest.mark.slow
def test_both_do_the_same_work_and_are_compared() -> None:
    result = CliRunner().invoke(app, ["--number", "4", "--atoms", "4", "--steps", "3"])
    assert result.exit_code == 0, result.output
    assert "4 structures" in result.output
    assert "the same in both" in result.output
    assert "ratio" in result.output
