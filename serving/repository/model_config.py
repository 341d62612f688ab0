"""Which models are to be served: where each lies, which of its versions count, and their labels."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, get_args

from serving.errors import InvalidInput
from serving.repository.model_folder import list_versions

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Latest:
    """The newest versions.

    Attributes:
        num_versions: How many of them.
    """

    num_versions: int = 1

    def select(self, versions: Sequence[int]) -> list[int]:
        """Those to serve, of the ascending versions on disk."""
        return list(versions[-self.num_versions :])


@dataclass(frozen=True)
class All:
    """Every version."""

    def select(self, versions: Sequence[int]) -> list[int]:
        """Those to serve, of the ascending versions on disk."""
        return list(versions)


@dataclass(frozen=True)
class Specific:
    """The versions named, whichever others there are.

    Attributes:
        versions: Version numbers.
    """

    versions: tuple[int, ...]

    def select(self, versions: Sequence[int]) -> list[int]:
        """Those to serve, of the ascending versions on disk."""
        return [version for version in versions if version in self.versions]


VersionPolicy = Latest | All | Specific


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One model to serve.

    Attributes:
        name: What clients call it.
        base_path: Folder that holds its version folders.
        policy: Which versions to serve.
        labels: Versions by label, for clients that ask for `stable` or `canary`.
    """

    name: str
    base_path: Path
    policy: VersionPolicy = field(default_factory=Latest)
    labels: Mapping[str, int] = field(default_factory=dict)


def local_path(text: str) -> Path:
    """A path as TensorFlow's file systems have it: plain, or with `file://` before it.

    Raises:
        InvalidInput: it lies in a file system that is not mounted here.
    """
    scheme, separator, path = text.partition("://")
    if not separator:
        return Path(text)
    if scheme != "file":
        msg = f"{scheme}:// is not read here, expected a local folder; mount or copy what it holds"
        raise InvalidInput(msg)
    return Path(path)


def by_name(models: Iterable[ModelConfig]) -> dict[str, ModelConfig]:
    """A model list as a mapping.

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
        if not model.base_path.is_absolute():
            msg = (
                f"Expected model {model.name} to have an absolute path or URI; "
                f"got base_path()={model.base_path}"
            )
            raise InvalidInput(msg)
        result[model.name] = model
    return result


def to_json(models: Mapping[str, ModelConfig]) -> list[dict[str, Any]]:
    """Models in a form that JSON can carry to another process."""
    return [
        asdict(model)
        | {
            "base_path": str(model.base_path),
            "policy": [type(model.policy).__name__, asdict(model.policy)],
            "labels": dict(model.labels),
        }
        for model in models.values()
    ]


def from_json(entries: Any) -> dict[str, ModelConfig]:  # noqa: ANN401 - parsed JSON
    """The models that `to_json` was given, by name."""
    policies = {policy.__name__: policy for policy in get_args(VersionPolicy)}
    models = {}
    for entry in entries:
        policy, fields = entry["policy"]
        changes = {
            "base_path": Path(entry["base_path"]),
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
    """The models in a folder: each subfolder that holds numbered versions, by name.

    A subfolder that may not be read is left out, with a warning the first time: the root of a
    volume has one, `lost+found`.

    Raises:
        FileNotFoundError: the folder does not exist.
        OSError: it cannot be read.
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
    except PermissionError as error:
        _warn_of_unreadable(folder, error.strerror)
        return False


@cache
def _warn_of_unreadable(folder: Path, reason: str) -> None:
    """Say it once; the folder is looked at every second."""
    logger.warning("%s is left out: %s; expected a model or nothing there", folder, reason)
