"""Parsl's interchange, the process between driver and nodes, tied to its driver.

Parsl's own outlives a driver that was killed, and with it jobs would wait for work until their walltime. When this one
is gone the nodes miss it within `lost_after_seconds`, and their jobs end.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path


def command() -> list[str]:
    """How the driver starts it; needs nothing on PATH, and this package need not be installed."""
    root = str(Path(__file__).resolve().parents[2])
    code = f"import sys; sys.path.append({root!r}); from loop.executors.parsl_interchange import main; main()"
    return [sys.executable, "-c", code]


def main() -> None:
    """Runs the interchange until the process that started it is gone. Ctrl-C is the driver's to understand."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True, name="follow the driver").start()
    runpy.run_module("parsl.executors.high_throughput.interchange", run_name="__main__")


def _follow(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(0.5)
    os._exit(1)
