"""Learned models in MLflow's model registry, under the aliases `champion` and `challenger`.

A projection of the table of models, as `loop.tracking` is of the rounds: the truth stays in the run folder, MLflow
holds copies. Every step can be repeated: nothing is read back but which versions there are, so a driver that was
killed between any two steps, or a server that was down, is caught up with by the next call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import file_digest, sha256
from pathlib import Path
from typing import TYPE_CHECKING

from loop.database.rows import ModelEntry

if TYPE_CHECKING:
    from mlflow import MlflowClient

ROLES = ("energy_model",)
"""Roles whose models outlive a round. Those of the surrogates do not: each round fits them from nothing."""

Identity = tuple[str, str]
"""A model's version and the sha256 of its file: a campaign begun anew in an old folder may repeat the version alone."""


def kept_models(models: Sequence[ModelEntry]) -> tuple[ModelEntry, ...]:
    """Those that belong in the registry, in their order."""
    return tuple(entry for entry in models if entry.role in ROLES)


def register_models(
    client: MlflowClient,
    campaign: str,
    folder: Path,
    models: Sequence[ModelEntry],
    run_of: Callable[[int | None], str],
) -> list[str]:
    """Brings the registry to what `models` say, and returns why some are not in it, each in words.

    Each role is a registered model named `CAMPAIGN.ROLE`; where another run folder has that name already, the first
    eight digits of the sha256 of this folder's path are added. Each model is a version of it, a copy of its file under
    the run that `run_of(round)` names, with the tags matloop.version, matloop.round, matloop.sha256 and matloop.format.

    Raises MlflowException, or what the connection raises, where MLflow cannot be written.
    """
    remarks: list[str] = []
    for role in dict.fromkeys(entry.role for entry in models):
        mine = [entry for entry in models if entry.role == role]
        name = _registered_name(client, campaign, folder, role)
        versions = _versions(client, name)
        missing = [entry for entry in mine if _identity(entry) not in versions]
        for entry in missing:
            if remark := _unusable(folder, entry):
                remarks.append(remark)
            else:
                _add(client, name, folder, entry, run_of(entry.round))
        versions = _versions(client, name) if missing else versions
        _point(client, name, "champion", next((e for e in reversed(mine) if e.champion), None), versions)
        _point(client, name, "challenger", _challenger(mine), versions)
    return remarks


def _registered_name(client: MlflowClient, campaign: str, folder: Path, role: str) -> str:
    """The name under which this run folder's models of a role stand; made where it is missing."""
    from mlflow.exceptions import MlflowException

    place = str(folder.resolve())
    tags = {"matloop.campaign": campaign, "matloop.run_folder": place, "matloop.role": role}
    plain = f"{campaign}.{role}"
    names = (plain, f"{plain}.{sha256(place.encode()).hexdigest()[:8]}")
    for name in names:
        try:
            client.create_registered_model(name, tags)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            if client.get_registered_model(name).tags.get("matloop.run_folder") != place:
                continue
        return name
    raise MlflowException(f"the registered models {' and '.join(names)} are both somebody else's; rename one")


def _versions(client: MlflowClient, name: str) -> dict[Identity, str]:
    """The versions there are. A twin, left by a request that was sent again because its answer was lost, is removed."""
    found: dict[Identity, str] = {}
    for one in sorted(client.search_model_versions(f"name = '{name}'"), key=lambda one: int(one.version)):
        tags, version = one.tags, str(one.version)
        if "matloop.version" not in tags or "matloop.sha256" not in tags:
            continue  # somebody else's
        if found.setdefault((tags["matloop.version"], tags["matloop.sha256"]), version) != version:
            client.delete_model_version(name, version)
    return found


def _identity(entry: ModelEntry) -> Identity:
    return entry.version, entry.sha256


def _unusable(folder: Path, entry: ModelEntry) -> str | None:
    """Why the file of a model cannot be copied; None where it can."""
    path = folder / entry.path
    try:
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
    except OSError as error:
        fault = f"cannot be read ({error.strerror})"
    else:
        if digest == entry.sha256:
            return None
        fault = f"has changed since it was listed (sha256 {digest[:12]}, was {entry.sha256[:12]})"
    return f"{path} {fault}, so {entry.version} is not in MLflow's model registry; bring that file back"


def _add(client: MlflowClient, name: str, folder: Path, entry: ModelEntry, run_id: str) -> None:
    """Copies the file, then registers it: a version never stands without its file."""
    path = folder / entry.path
    place = f"{entry.role}/{entry.sha256[:12]}"
    client.log_artifact(run_id, str(path), place)
    tags = {
        "matloop.version": entry.version,
        "matloop.round": str(entry.round or 0),
        "matloop.sha256": entry.sha256,
        "matloop.format": path.suffix.removeprefix("."),
    }
    client.create_model_version(name, f"runs:/{run_id}/{place}", run_id, tags)


def _challenger(models: Sequence[ModelEntry]) -> ModelEntry | None:
    """The latest that is not in use."""
    others = [entry for entry in models if not entry.champion]
    return max(others, key=lambda entry: entry.round or 0, default=None)


def _point(
    client: MlflowClient, name: str, alias: str, entry: ModelEntry | None, versions: Mapping[Identity, str]
) -> None:
    version = None if entry is None else versions.get(_identity(entry))
    if version is None:
        client.delete_registered_model_alias(name, alias)
    else:
        client.set_registered_model_alias(name, alias, version)
