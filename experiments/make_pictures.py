"""Makes the README's pictures from a real run: the terminal in the middle of a campaign, and the report at its end.

    python -m experiments.make_pictures battery.yaml --dir runs/pictures

Needs Chromium on the PATH (`apt-get install chromium`); writes docs/images/terminal.png and docs/images/report.png.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from loop.engine import Campaign
from loop.loading import load_campaign
from loop.progress import Display
from loop.report.projection import Projection

app = typer.Typer(add_completion=False, rich_markup_mode=None)
IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
ROUND_SHOWN = 2
ENDED_SHOWN = 2


class RecordingDisplay(Display):
    """Prints as on a terminal and keeps the picture of one moment, the live lines included."""

    def __init__(self, folder: Path, file: str) -> None:
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123 (a device, not a file)
            console = Console(file=nowhere, record=True, width=112, color_system="truecolor")
        super().__init__(folder, console)
        console.file = open(os.devnull, "w")  # noqa: PTH123, SIM115 (as long as the console lives)
        console.print(f"$ python -m loop.campaign {file}", highlight=False)
        self.picture = ""

    def waiting(self) -> None:
        ended, _ = self._counts
        if self._round == ROUND_SHOWN and ended >= ENDED_SHOWN and not self.picture:
            self.console.print(self._render())
            self.picture = self.console.export_svg(title="matloop", clear=False)


@app.command()
def make(
    file: Annotated[str, typer.Argument()] = "battery.yaml",
    folder: Annotated[Path, typer.Option("--dir")] = Path("runs/pictures"),
) -> None:
    """Runs the campaign and writes both pictures."""
    if shutil.which("chromium") is None:
        raise typer.BadParameter("Chromium is not on the PATH; install it first (apt-get install chromium)")
    display = RecordingDisplay(folder, file)
    with Campaign(load_campaign(file, ["tracking=none"]).config, folder, display) as campaign:
        projection = Projection(campaign.config, display)
        campaign.run(project=projection.update)
        projection.finish(campaign.store, folder)
    IMAGES.mkdir(parents=True, exist_ok=True)
    svg = re.sub(r"@font-face\s*{[^}]*}", "", display.picture)
    height, width = (round(float(v)) for v in re.search(r'viewBox="0 0 (\S+) (\S+)"', svg).groups()[::-1])  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory() as scratch:
        page = Path(scratch) / "terminal.html"
        page.write_text(f'<body style="margin:0">{svg}</body>', encoding="utf-8")
        screenshot(page, IMAGES / "terminal.png", width, height)
    screenshot(folder / "report.html", IMAGES / "report.png", 1240, 1750)
    typer.echo(f"{IMAGES}/terminal.png, {IMAGES}/report.png")


def screenshot(page: Path, target: Path, width: int, height: int) -> None:
    """A picture of the top of an HTML page, in pixels."""
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
             "--disable-background-networking", f"--user-data-dir={profile}", "--virtual-time-budget=10000",
             f"--window-size={width},{height}", f"--screenshot={target}", page.resolve().as_uri()],
            check=True, capture_output=True,
        )  # fmt: skip


if __name__ == "__main__":
    app()
