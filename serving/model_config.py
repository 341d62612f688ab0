"""Which models are to be served: where each lies, which of its versions count, and their labels."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from serving.errors import InvalidInput
from serving.model_folder import list_versions


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


def find_models(models_dir: Path) -> dict[str, ModelConfig]:
    """The models in a folder: each subfolder that holds numbered versions, by name.

    Raises:
        FileNotFoundError: the folder does not exist.
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
        if list_versions(entry)
    }
