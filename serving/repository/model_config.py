"""Settings of the models to serve: folder, version policy and version labels of each."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, get_args

from serving.errors import InvalidInput
from serving.repository.model_folder import list_versions
from serving.repository.storage_uri import StorageUri
from serving.repository.version_folders import BasePath

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Latest:
    """Version policy: the newest versions.

    Attributes:
        num_versions: Number of versions to serve.
    """

    num_versions: int = 1

    def select(self, versions: Sequence[int]) -> list[int]:
        """Return the versions to serve; `versions` are those on disk in ascending order."""
        return list(versions[-self.num_versions :])


@dataclass(frozen=True)
class All:
    """Version policy: all versions."""

    def select(self, versions: Sequence[int]) -> list[int]:
        """Return the versions to serve; `versions` are those on disk in ascending order."""
        return list(versions)


@dataclass(frozen=True)
class Specific:
    """Version policy: the given versions only.

    Attributes:
        versions: Version numbers.
    """

    versions: tuple[int, ...]

    def select(self, versions: Sequence[int]) -> list[int]:
        """Return the versions to serve; `versions` are those on disk in ascending order."""
        return [version for version in versions if version in self.versions]


VersionPolicy = Latest | All | Specific


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One model to serve.

    Attributes:
        name: Name in client requests.
        base_path: Folder that holds the version folders.
        policy: Version policy.
        labels: Version numbers by version label, such as `stable` or `canary`.
        complete: Whether a reload fails unless it loads every version that the policy selects.
        batching: Fields of `BatchingConfig` that replace those of the server's settings.
    """

    name: str
    base_path: BasePath
    policy: VersionPolicy = field(default_factory=Latest)
    labels: Mapping[str, int] = field(default_factory=dict)
    complete: bool = False
    batching: Mapping[str, int] = field(default_factory=dict)


def base_path_of(text: str) -> BasePath:
    """Parse a path in TensorFlow's notation: plain, with the prefix `file://`, or a store's URI.

    Raises:
        InvalidInput: the scheme is unknown, or the URI is incomplete.
    """
    scheme, separator, path = text.partition("://")
    if not separator:
        return Path(text)
    return Path(path) if scheme == "file" else StorageUri.parse(text)


def local_path(text: str) -> Path:
    """Parse a local path in TensorFlow's notation: a plain path, or one with `file://`.

    Raises:
        InvalidInput: the path has another scheme, such as `gs://`.
    """
    scheme, separator, path = text.partition("://")
    if not separator:
        return Path(text)
    if scheme != "file":
        msg = f"{scheme}:// cannot be read here, expected a local file; copy it"
        raise InvalidInput(msg)
    return Path(path)


def by_name(models: Iterable[ModelConfig]) -> dict[str, ModelConfig]:
    """Return models by name.

    Raises:
        InvalidInput: a name is empty or listed twice, or a path is relative.
    """
    result: dict[str, ModelConfig] = {}
    for model in models:
        if not model.name:
            msg = f"a model at {model.base_path} has no name; set `name` in its config"
            raise InvalidInput(msg)
        if model.name in result:
            msg = f"Illegal to list model {model.name} multiple times in config list"
            raise InvalidInput(msg)
        if isinstance(model.base_path, Path) and not model.base_path.is_absolute():
            msg = (
                f"Expected model {model.name} to have an absolute path or URI; "
                f"got base_path()={model.base_path}"
            )
            raise InvalidInput(msg)
        result[model.name] = model
    return result


def to_json(models: Mapping[str, ModelConfig]) -> list[dict[str, Any]]:
    """Convert models to JSON objects, to send them to another process."""
    return [
        asdict(model)
        | {
            "base_path": _base_path_text(model.base_path),
            "policy": [type(model.policy).__name__, asdict(model.policy)],
            "labels": dict(model.labels),
            "batching": dict(model.batching),
        }
        for model in models.values()
    ]


def _base_path_text(base_path: BasePath) -> str:
    return base_path.text if isinstance(base_path, StorageUri) else str(base_path)


def from_json(entries: Any) -> dict[str, ModelConfig]:  # noqa: ANN401 - parsed JSON
    """Convert the result of `to_json` back to models by name."""
    policies = {policy.__name__: policy for policy in get_args(VersionPolicy)}
    models = {}
    for entry in entries:
        policy, fields = entry["policy"]
        changes = {
            "base_path": base_path_of(entry["base_path"]),
            "policy": policies[policy](
                **{
                    name: tuple(value) if isinstance(value, list) else value
                    for name, value in fields.items()
                }
            ),
        }
        models[entry["name"]] = ModelConfig(**(entry | changes))
    return models


def find_models(models_dir: Path) -> dict[str, ModelConfig]:
    """Return the models in a folder by name: its subfolders that hold numbered versions.

    An unreadable subfolder, such as `lost+found` at the root of a volume, is left out. The first
    time, a warning is logged.

    Raises:
        FileNotFoundError: the folder does not exist.
        OSError: the folder cannot be read.
    """
    if not models_dir.is_dir():
        msg = (
            f"models_dir {str(models_dir)!r} is not a folder; expected "
            "<models_dir>/<name>/<version>/model.onnx"
        )
        raise FileNotFoundError(msg)
    return {
        entry.name: ModelConfig(name=entry.name, base_path=entry.absolute())
        for entry in sorted(models_dir.iterdir())
        if _holds_versions(entry)
    }


def _holds_versions(folder: Path) -> bool:
    try:
        return bool(list_versions(folder))
    except OSError as error:
        _warn_of_unreadable(folder, error.strerror)
        return False


@cache
def _warn_of_unreadable(folder: Path, reason: str | None) -> None:
    """Log a warning about a folder only once, because the folder is polled every second."""
    logger.warning("%s is left out: %s; expected a readable model folder", folder, reason)
