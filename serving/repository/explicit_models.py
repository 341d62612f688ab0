"""Models that are loaded by name, by a setting at the start or by calls (`--model_control_mode`).

Such a model keeps the versions that its policy selects at that moment: a version that appears in
its folder later is served only after another load.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from serving.errors import ConfigError, NotFound
from serving.repository.model_config import ModelConfig, Specific, VersionPolicy
from serving.repository.version_folders import VersionFolders

EVERY_MODEL = "*"


def at_start(
    find: Callable[[], Mapping[str, ModelConfig]], names: str, folders: VersionFolders
) -> dict[str, ModelConfig]:
    """Return the models that a server is to start with, by name; blocks.

    Args:
        find: Returns the models that there are, by name.
        names: Names of models, separated by commas, or `*` for all; empty for none.
        folders: Finds their versions.

    Raises:
        ConfigError: a name is that of no model, or the models cannot be listed.
    """
    wanted = [name for part in names.split(",") if (name := part.strip())]
    if not wanted:
        return {}
    try:
        available = find()
        if wanted == [EVERY_MODEL]:
            wanted = list(available)
        missing = [name for name in wanted if name not in available]
        if missing:
            msg = (
                f"--load_models names {', '.join(missing)}, expected names out of "
                f"{', '.join(available) or 'none, as there is no model'}"
            )
            raise ConfigError(msg)
        return {name: pinned(available[name], folders) for name in wanted}
    except OSError as error:
        msg = f"--load_models is {names!r}, but the models cannot be listed: {error}"
        raise ConfigError(msg) from error
    except NotFound as error:
        msg = f"--load_models is {names!r}: {error.message}"
        raise ConfigError(msg) from error


def pinned(
    config: ModelConfig,
    folders: VersionFolders,
    policy: VersionPolicy | None = None,
    batching: Mapping[str, int] | None = None,
) -> ModelConfig:
    """Return a model with the versions that a policy selects from its folder now; blocks.

    Args:
        config: The model.
        folders: Finds its versions.
        policy: The policy; None for the model's own.
        batching: Batching settings of the model; None or empty for those of the server.

    Raises:
        NotFound: the policy selects no version.
        OSError: the folder cannot be read.
    """
    there = folders.list_versions(config.base_path)
    versions = (policy or config.policy).select(there)
    if not versions:
        msg = (
            f"no version of {config.name} to load, expected a folder such as "
            f"{config.base_path / '1'}; there are {', '.join(map(str, there)) or 'none'}"
        )
        raise NotFound(msg)
    return replace(
        config,
        policy=Specific(tuple(versions)),
        complete=True,
        batching=dict(batching or {}),
    )


def changed(
    models: Mapping[str, ModelConfig], changes: Mapping[str, ModelConfig | None]
) -> dict[str, ModelConfig]:
    """Return a set of models after changes.

    Args:
        models: The set by name.
        changes: The models to add or to replace by name; None for a model to take out.
    """
    merged = {**models, **changes}
    return {name: config for name, config in merged.items() if config is not None}
