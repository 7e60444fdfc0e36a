"""What the judge of conditioned crystals may learn from."""

from __future__ import annotations

import csv
import lzma
from pathlib import Path

from typer.testing import CliRunner

from experiments.benchmarks import conditioning


def test_the_judge_learns_from_formulas_the_generator_has_not_seen(tmp_path: Path) -> None:
    table, out = tmp_path / "table.csv", tmp_path / "unseen.csv.xz"
    cell = "4 4 4 90 90 90"
    rows = [
        ("seen", "train", "Na 0 0 0;Cl 0.5 0.5 0.5", "5"),
        ("polymorph of a seen one", "val", "Na 0 0 0;Cl 0.5 0.5 0.4", "5"),
        ("supercell of a seen one", "val", "Na 0 0 0 0 0 0.5;Cl 0.5 0.5 0 0.5 0.5 0.5", "5"),
        ("without a gap", "val", "Li 0 0 0;F 0.5 0.5 0.5", ""),
        ("unseen", "test", "K 0 0 0;Cl 0.5 0.5 0.5", "4.5"),
    ]
    with table.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["material_id", "split", "cell", "sites", "band_gap"])
        writer.writerows([name, split, cell, sites, gap] for name, split, sites, gap in rows)
    result = CliRunner().invoke(conditioning.app, ["unseen", str(table), "--out", str(out)])
    assert result.exit_code == 0, result.output
    with lzma.open(out, "rt", newline="") as handle:
        assert [row["material_id"] for row in csv.DictReader(handle)] == ["unseen"]
