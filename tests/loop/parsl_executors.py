"""The executor `parsl` on this machine, quick to notice what is lost."""

from importlib.util import find_spec
from typing import Any

import pytest

from loop.executors.parsl import ParslExecutorSettings, WorkersSettings

needs_parsl = pytest.mark.skipif(
    find_spec("parsl") is None, reason="Parsl is not installed (pip install 'matloop[cluster]')"
)


def quick_parsl(
    workers: int = 1, gpu: WorkersSettings | None = None, **changes: Any
) -> ParslExecutorSettings:
    """Real jobs of Parsl's local provider; what is lost is noticed within three seconds."""
    # The machine of a test may have fewer cores than workers.
    cpu = WorkersSettings(workers=workers, cores_per_worker=0.1)
    settings = {"heartbeat_seconds": 1, "lost_after_seconds": 3, "status_seconds": 1, "address": "127.0.0.1"}
    return ParslExecutorSettings.model_validate({"cpu": cpu, "gpu": gpu, **settings, **changes})
