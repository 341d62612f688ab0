"""The model source: the models that a server is configured to serve, and the loader of versions."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.catalog import Catalog
from serving.engine.loading import progress
from serving.engine.machine import resident_bytes
from serving.engine.managed_model import LoadServable
from serving.engine.manager import Manager
from serving.engine.runtime import RuntimeConfig
from serving.engine.servable import Servable
from serving.errors import ConfigError, DataLoss
from serving.protocols.tfs import warmup
from serving.repository import explicit_models
from serving.repository.model_config import ModelConfig, find_models
from serving.repository.version_folders import BasePath
from serving.settings.config import DEFAULT_MODELS_DIR, ServerConfig
from serving.settings.models_file import ModelConfigFile
from serving.storage.cache import Cache
from serving.storage.storage_folders import StorageFolders
from serving.workers.worker import Link, WorkerManager


class ModelSource:
    """Gives the models to serve, from a folder, a model config file or the supervisor's list."""

    def __init__(self, config: ServerConfig, link: Link | None) -> None:
        """Read the model config file, if there is one.

        Args:
            config: The settings.
            link: Link to the supervisor; None if this process is the whole server.

        Raises:
            ConfigError: the model config file is invalid, or `--load_models` names no model.
        """
        self._config = config
        self._link = link
        self._file: ModelConfigFile | None = None
        self._given = None if link is None else link.models
        if self._given is None and config.model_config_file is not None:
            retry_seconds = config.manager().retry_seconds
            self._file = ModelConfigFile(config.model_config_file, retry_seconds=retry_seconds)
        self._storage = StorageFolders(
            Cache(config.storage_cache_dir or _default_cache_dir(), config.storage_cache_bytes),
            config.storage_poll_wait_seconds,
            progress.note,
        )
        self._in_folders = _finder(config, self._storage)
        if self._given is None and config.model_control_mode == "explicit":
            self._given = explicit_models.at_start(
                self._in_folders, config.load_models, self._storage
            )

    @property
    def file_failures(self) -> int:
        """Number of polls of the model config file whose model list could not be served."""
        return 0 if self._file is None else self._file.failures

    @property
    def repository(self) -> Callable[[], Mapping[str, ModelConfig]] | None:
        """Lists the models that calls may load, by name; None if calls may load none."""
        return self._in_folders if self._config.model_control_mode == "explicit" else None

    async def settle(self) -> None:
        """If calls load models, let all workers begin with the same versions; see `Link.settle`."""
        if self._link is not None and self.repository is not None and self._given is not None:
            self._given = await self._link.settle(self._given)

    def find(self) -> Mapping[str, ModelConfig]:
        """Return the models to serve now, by name.

        Raises:
            OSError: the models folder cannot be read.
        """
        if self._given is not None:
            return self._given
        return self._in_folders() if self._file is None else self._file.models

    def manager(self, load: LoadServable, catalog: Catalog) -> Manager:
        """Return a manager for these models; nothing is loaded yet."""
        config = self._config.manager()
        if self._link is None:
            return Manager(self.find, load, config, catalog, self._storage)
        return WorkerManager(self.find, load, config, catalog, self._link, self._storage)

    def close(self) -> None:
        """Look into stores no more; fetches end after the part under way."""
        self._storage.stop()

    def watch(self, manager: Manager) -> asyncio.Task[None] | None:
        """Start to poll the model config file and to reload the manager when the file changes.

        Returns:
            The polling task, which the caller cancels; None if there is no file, or polling is off.
        """
        poll_seconds = self._config.model_config_file_poll_wait_seconds
        if self._file is None or not poll_seconds:
            return None
        return asyncio.create_task(self._file.watch(manager.reload, poll_seconds))

    def require_models(self) -> None:
        """Refuse to start if `--models_dir` or `--model_base_path` holds nothing to serve.

        Raises:
            ConfigError: the folder cannot be read, or holds no model or no version.
        """
        if self._given is not None or self._file is not None:
            return  # an empty list may be intended, and its folders may be filled later
        path = self._config.model_base_path
        try:
            models = self.find()
            versions = [] if path is None else self._storage.list_versions(path)
        except PermissionError as error:
            raise ConfigError(_not_readable(error)) from error
        except OSError as error:
            raise ConfigError(str(error)) from error
        if path is not None and not versions:
            msg = (
                f"no version of {self._config.model_name} found in {_absolute(path)}; expected "
                "<version>/model.onnx in it, or another --model_base_path"
            )
            raise ConfigError(msg)
        if not models:
            folder = _absolute(self._config.models_dir or DEFAULT_MODELS_DIR)
            msg = (
                f"no model found in {folder}; expected <name>/<version>/model.onnx in it, or "
                "another --models_dir"
            )
            raise ConfigError(msg)

    def require_loaded(self, catalog: Catalog) -> None:
        """Refuse to start without a model of `--load_models`, as Triton does.

        Raises:
            ConfigError: a model could not be loaded.
        """
        if self._config.model_control_mode != "explicit":
            return
        for name, model in catalog.models.items():
            if not model.servables:
                reason = model.why_unavailable(None)
                msg = f"--load_models names {name}, which cannot be loaded: {reason}"
                raise ConfigError(msg)


def _absolute(path: BasePath) -> BasePath:
    return path.absolute() if isinstance(path, Path) else path


def _default_cache_dir() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else Path.home() / ".cache") / "onnx-serving"


def _finder(
    config: ServerConfig, storage: StorageFolders
) -> Callable[[], Mapping[str, ModelConfig]]:
    """Return a function that lists the current models of `models_dir` or `model_base_path`."""
    if config.model_base_path is not None:
        base_path = _absolute(config.model_base_path)
        models = {config.model_name: ModelConfig(name=config.model_name, base_path=base_path)}
        return lambda: models
    models_dir = config.models_dir or DEFAULT_MODELS_DIR
    if isinstance(models_dir, Path):
        return partial(find_models, models_dir)
    return partial(storage.find_models, models_dir)


def _not_readable(error: PermissionError) -> str:
    """The message for a folder of models that this process may not read."""
    return (
        f"cannot read {error.filename}: {error.strerror}; expected a folder that user "
        f"{os.getuid()} (group {os.getgid()}), as whom this server runs, may list and read; allow "
        f"it with chmod -R a+rX {error.filename}, or run the server as the folder's owner"
    )


def version_loader(
    runtime: RuntimeConfig,
    batching_of: Callable[[str, Path], BatchingConfig],
    *,
    warm_up: int,
) -> LoadServable:
    """Return the function that loads a version's folder into a servable and warms it up.

    Args:
        runtime: See `RuntimeConfig`.
        batching_of: Returns the batching settings for a model name and a version folder.
        warm_up: How often to replay each warm-up request of the version, after runs on made-up
            inputs; 0: no warm-up at all.
    """

    def load(
        name: str, version: int, path: Path, own: Mapping[str, int] = MappingProxyType({})
    ) -> Servable:
        try:
            batching = batching_of(name, path).changed(own)
        except ConfigError as error:
            raise DataLoss(str(error)) from error
        before = resident_bytes()
        servable = Servable.load(name, version, path, runtime, batching, warm_up=bool(warm_up))
        if warm_up:
            progress.note("replaying its warm-up requests")
            started = time.perf_counter()
            try:
                warmup.replay(servable, path, iterations=warm_up)
            except Exception:
                servable.close()
                raise
            servable.warm_up_seconds += time.perf_counter() - started
        servable.load_bytes = max(0, resident_bytes() - before)
        return servable

    return load
