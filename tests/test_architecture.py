"""The house: imports point one way, and the light modules stay light."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_imports_point_one_way() -> None:
    done = python("from importlinter.cli import lint_imports; raise SystemExit(lint_imports())")
    assert done.returncode == 0, done.stdout + done.stderr


# The model itself, which `materials.potential` imports when it loads one.
OF_TORCH = ("sevennet", "sevennet_convolution")
LIGHT = [
    *(f"materials.{p.stem}" for p in sorted((ROOT / "materials").glob("*.py")) if p.stem not in OF_TORCH),
    *("generators.base", "oracles.base", "surrogates.base", "acquisition.base"),
]
HEAVY = ("torch", "botorch", "gpytorch", "sevenn", "mlflow", "pandas", "sklearn", "pymatgen.analysis")


def test_modules_import_without_the_heavy_libraries() -> None:
    done = python(
        "import importlib, sys\n"
        f"for name in {LIGHT!r}:\n"
        "    importlib.import_module(name)\n"
        f"    found = [heavy for heavy in {HEAVY!r} if heavy in sys.modules]\n"
        "    assert not found, (name, found)\n"
    )
    assert done.returncode == 0, done.stderr
