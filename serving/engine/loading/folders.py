"""Looks for the wanted versions in the folders of models."""

import logging
from collections.abc import Iterable

from serving.engine.managed_model import ManagedModel
from serving.repository.version_folders import BasePath, VersionFolders

logger = logging.getLogger(__name__)


def find_wanted(model: ManagedModel, folders: VersionFolders) -> tuple[list[int], str]:
    """Return the versions that the model's policy selects from its folder; blocks.

    If it selects none, or the folder cannot be read, these are the loaded versions: an emptied or
    unmounted folder is more likely a mistake than a decision to stop serving. The reason is
    logged, unless it is the model's `complaint` already.

    Returns:
        What the model's `wanted` and `complaint` become. The caller sets both in the event loop:
        requests that are answered while this function runs in its thread see both as they were.
    """
    base_path, name = model.config.base_path, model.config.name
    complaint = f"No versions of servable {name} found under base path {base_path}"
    versions: list[int] = []
    try:
        versions = folders.list_versions(base_path)
    except OSError as error:
        complaint = f"base path {base_path} of {name} cannot be read ({error.strerror})"
    else:
        if versions:
            complaint += f" by its version policy; there are {', '.join(map(str, versions))}"
    wanted = model.config.policy.select(versions)
    complaint = "" if wanted else complaint
    if complaint and complaint != model.complaint:
        logger.error(
            "%s; expected folders named by version number (such as %s)%s",
            complaint,
            base_path / "1",
            "; what is loaded stays" if model.servables else "",
        )
    return wanted or list(model.servables), complaint


def kept(models: Iterable[ManagedModel]) -> frozenset[tuple[BasePath, int]]:
    """Return the versions that are served or wanted, with the folders of their models."""
    return frozenset(
        (model.config.base_path, version)
        for model in models
        for version in (*model.servables, *(model.wanted or []))
    )


def is_unreadable(base_path: BasePath, folders: VersionFolders) -> bool:
    """Return whether a model's folder is there and cannot be read; blocks."""
    try:
        folders.list_versions(base_path)
    except OSError:
        return True
    return False
