"""The manager: which versions of which models are loaded, and what state each is in.

States are TensorFlow Serving's (`ModelVersionStatus.State`): a version goes START -> LOADING ->
AVAILABLE -> UNLOADING -> END. One that cannot be loaded ends at once, with the reason in its
status, and the other models go on.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path

from serving.batcher import BatchingConfig
from serving.errors import NotFound, ServingError, StatusCode, Unavailable
from serving.model_folder import list_versions, version_path
from serving.runtime import DeviceError, RuntimeConfig
from serving.servable import Servable

logger = logging.getLogger(__name__)


class State(IntEnum):
    """The life of a version; numbers as on the wire."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True, kw_only=True)
class VersionStatus:
    """What GetModelStatus says of a version."""

    version: int
    state: State
    error_code: StatusCode = StatusCode.OK
    error_message: str = ""


def find_models(models_dir: Path) -> dict[str, Path]:
    """The models in a folder: each subfolder that holds numbered versions, by name.

    Raises:
        FileNotFoundError: the folder does not exist or cannot be listed.
    """
    if not models_dir.is_dir():
        msg = (
            f"models_dir {str(models_dir)!r} is not a folder; expected "
            "<models_dir>/<name>/<version>/model.onnx"
        )
        raise FileNotFoundError(msg)
    return {entry.name: entry for entry in sorted(models_dir.iterdir()) if list_versions(entry)}


class Manager:
    """Loads models and hands out their servables.

    Lookups may come from any thread; loading happens in one thread at a time, because ONNX Runtime
    sessions must not be created concurrently.
    """

    def __init__(
        self, models: Mapping[str, Path], config: RuntimeConfig, batching: BatchingConfig
    ) -> None:
        """Note the newest version of each model as what is to be served; nothing is loaded yet.

        Args:
            models: `<models_dir>/<name>` by model name.
            config: How the graphs are run.
            batching: How requests are gathered.
        """
        self._batching = batching
        self._models = dict(models)
        self._config = config
        self._servables: dict[str, dict[int, Servable]] = {name: {} for name in models}
        self._statuses: dict[str, dict[int, VersionStatus]] = {
            name: {version: VersionStatus(version=version, state=State.START)}
            for name, model_dir in models.items()
            for version in list_versions(model_dir)[-1:]
        }

    @property
    def model_names(self) -> list[str]:
        """Names of all models, whether they could be loaded or not."""
        return list(self._statuses)

    def load(self) -> None:
        """Load and warm up every model; one that fails is recorded and does not stop the others."""
        for name, statuses in self._statuses.items():
            for version in list(statuses):
                self._load_version(name, version)

    def _load_version(self, name: str, version: int) -> None:
        self._set_status(name, VersionStatus(version=version, state=State.LOADING))
        try:
            path = version_path(self._models[name], version)
            servable = Servable.load(name, version, path, self._config, self._batching)
        except DeviceError:
            raise  # a wrong --device concerns every model: the server must not start
        except ServingError as error:
            self._fail(name, version, error.code, error.message)
        except Exception as error:
            logger.exception("loading %s/%d failed", name, version)
            self._fail(name, version, StatusCode.UNKNOWN, str(error))
        else:
            self._servables[name][version] = servable
            self._set_status(name, VersionStatus(version=version, state=State.AVAILABLE))

    def _fail(self, name: str, version: int, code: StatusCode, message: str) -> None:
        logger.error("%s/%d is not served: %s", name, version, message)
        failed = VersionStatus(
            version=version, state=State.END, error_code=code, error_message=message
        )
        self._set_status(name, failed)

    def _set_status(self, name: str, status: VersionStatus) -> None:
        self._statuses[name][status.version] = status

    def servable(self, name: str, version: int | None) -> Servable:
        """The servable that answers for a model.

        Args:
            name: Model name.
            version: A version, or None for the latest one that is available.

        Raises:
            NotFound: no such model or version is served.
            Unavailable: it is being loaded.
        """
        servables = self._servables.get(name, {})
        if version is None:
            if servables:
                return servables[max(servables)]
        elif version in servables:
            return servables[version]
        request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        for status in self._statuses.get(name, {}).values():
            if status.state < State.AVAILABLE and version in (None, status.version):
                msg = f"Servable is still loading for request: {request}; retry shortly"
                raise Unavailable(msg)
        msg = f"Servable not found for request: {request}{self._alternatives(name)}"
        raise NotFound(msg)

    def _alternatives(self, name: str) -> str:
        """What the caller could have meant, as the end of a message."""
        statuses = self._statuses.get(name)
        if statuses is None:
            return f"; models here: {', '.join(self._statuses) or 'none'}"
        available = ", ".join(str(version) for version in self._servables[name])
        if available:
            return f"; versions available: {available}"
        return "; no version of it is available, GetModelStatus tells why"

    def statuses(self, name: str, version: int | None) -> list[VersionStatus]:
        """The states of a model's versions, newest first.

        Args:
            name: Model name.
            version: One version, or None for all.

        Raises:
            NotFound: no such model or version is known.
        """
        statuses = self._statuses.get(name)
        if not statuses:
            msg = f"Could not find any versions of model {name}"
            raise NotFound(msg)
        if version is None:
            return [statuses[number] for number in sorted(statuses, reverse=True)]
        if version not in statuses:
            msg = f"Could not find version {version} of model {name}"
            raise NotFound(msg)
        return [statuses[version]]

    def close(self) -> None:
        """Unload everything; runs in flight finish first."""
        for name, servables in self._servables.items():
            for version, servable in list(servables.items()):
                status = self._statuses[name][version]
                self._set_status(name, replace(status, state=State.UNLOADING))
                del servables[version]
                servable.close()
                self._set_status(name, replace(status, state=State.END))
