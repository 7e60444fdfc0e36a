"""What a round learned: its files in `models/<round>/`, and their place in the database."""

from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path

from loop.champion import ROLE, Contest, was_won
from loop.database.store import Store
from loop.decision import Decider


def save_models(folder: Path, number: int, decider: Decider, held: Contest | None) -> None:
    """Writes the surrogate's models and the energy model's challenger, over what a killed driver left."""
    models = _models(folder, number)
    shutil.rmtree(models, ignore_errors=True)
    decider.save_models(models)
    if held is not None:
        held.save(models)


def list_models(store: Store, folder: Path, number: int) -> None:
    """Lists the files of the open round `number` in the database; again changes nothing.

    The surrogate's models are all in use; the energy model only where its round says that it won.
    """
    open_round = store.open_round()
    for path in sorted(_models(folder, number).glob("*.safetensors")):
        in_use = path.stem != ROLE or (open_round is not None and was_won(open_round.notes))
        digest = sha256(path.read_bytes()).hexdigest()
        version, relative = f"{path.stem}@{number}", str(path.relative_to(folder))
        store.add_model(path.stem, version, relative, digest, champion=in_use, round=number)


def _models(folder: Path, number: int) -> Path:
    return folder / "models" / str(number)
