"""The manager: loads and unloads versions to match the configuration and the model folders.

The manager polls the folders every `poll_seconds`, loads new versions, and unloads versions that
are no longer wanted once a wanted version is available. Its tables change only in the event loop,
between two steps of a request. A request that finds its servable therefore queues its rows before
the servable can be closed, and closing finishes queued rows: no request fails because a version is
loaded or unloaded.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial

from serving.engine.batching import active_runs
from serving.engine.catalog import Catalog, ModelEntry, State, VersionStatus
from serving.engine.loading import folders
from serving.engine.loading.candidates import PreparedModels, candidate, check_available, replaced
from serving.engine.loading.fetches import Fetches
from serving.engine.loading.loads import Loads
from serving.engine.managed_model import Failure, LoadServable, ManagedModel, ManagerConfig
from serving.engine.runtime import DeviceError
from serving.engine.servable import Servable
from serving.engine.unloading import Unloading
from serving.engine.version_labels import check_labels
from serving.errors import StatusCode, Unavailable, UnknownError
from serving.repository import explicit_models
from serving.repository.model_config import ModelConfig
from serving.repository.version_folders import LocalFolders, VersionFolders

logger = logging.getLogger(__name__)


# How long `update` and `abort` wait for unloaded versions to close; closing goes on afterwards.
_UNLOAD_PATIENCE_SECONDS = 5.0
_CLOSE_SECONDS = 25.0
_LEAST_RETRY_SECONDS = 0.5
# Time for terminated runs to end: ONNX Runtime ends a run between two nodes of its graph.
_TERMINATION_SECONDS = 0.5


class Manager:
    """Loads and unloads versions. All methods must be called in the same event loop.

    Attributes:
        catalog: The models that are served now.
        version_folders: Finds the versions of a model, and brings them to local folders.
        on_load: Called with every loaded servable, in the event loop, before it is in the catalog.
        on_change: Called after each poll, retry or reload, which may have made models available or
            unavailable.
    """

    def __init__(
        self,
        find_models: Callable[[], Mapping[str, ModelConfig]],
        load: LoadServable,
        config: ManagerConfig,
        catalog: Catalog,
        version_folders: VersionFolders | None = None,
    ) -> None:
        """Create a manager with nothing loaded.

        Args:
            find_models: Returns the models to serve; called in a thread at every poll. If it raises
                OSError, the models stay as they are.
            load: See `LoadServable`. It is called in a thread, one call at a time,
                because ONNX Runtime sessions must not be created concurrently.
            config: See `ManagerConfig`.
            catalog: The catalog that this manager fills.
            version_folders: Finds the versions of a model; None: in local folders.
        """
        self._find_models = find_models
        self._config = config
        self.version_folders = version_folders or LocalFolders()
        self._fetches = Fetches(self.version_folders)
        self._models: dict[str, ManagedModel] = {}
        self.catalog = catalog
        catalog.models = self._models
        self._changing = asyncio.Lock()
        self._reloads = asyncio.Lock()
        self._polling: asyncio.Task[None] | None = None
        self._complaint = ""
        self._prepared: PreparedModels | None = None
        self._closing = False
        self._unloading = Unloading()
        self._loading = Loads(load, self._fetches, self._unloading.unless_cancelled)
        self.on_load: Callable[[Servable], None] = lambda _servable: None
        self.on_change: Callable[[], None] = lambda: None

    @property
    def loads(self) -> Sequence[str]:
        """Versions that a thread is loading or fetching now, as `name/version`; see `Loads`."""
        return self._loading.names

    def loading(self) -> AbstractAsyncContextManager[None]:
        """Return a context that is entered while a version is loaded; subclasses override it."""
        return nullcontext()

    # Keeping up to date

    async def start(self, *, check_labels: bool = True) -> None:
        """Load the wanted versions, then start to poll the folders.

        Args:
            check_labels: Whether to refuse labels on versions that could not be loaded.

        Raises:
            DeviceError: `--device cuda` was given, and a model cannot run on CUDA.
            FailedPrecondition: a label names a version that is not available.
        """
        await self.update(waits=True)
        if check_labels:
            self._check_labels(self._models)
        self._polling = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        """Poll the folders for ever; if `poll_seconds` is 0, only retry failed versions."""
        looks = self._config.poll_seconds > 0
        seconds = max(self._config.retry_seconds, _LEAST_RETRY_SECONDS)
        while True:
            await asyncio.sleep(self._config.poll_seconds if looks else seconds)
            try:
                await (self.update() if looks else self._retry())
            except Exception:
                logger.exception("looking for new versions failed; the next poll tries again")

    async def _retry(self) -> None:
        """Retry the versions that could not be loaded, without listing the folders."""
        async with self._changing:
            for name, model in self._models.items():
                if model.failures:
                    await self._update_model(name, model, model.wanted or [])
            self.on_change()

    async def update(self, *, waits: bool = False) -> None:
        """Poll the configuration and the folders once; load and unload versions accordingly.

        Args:
            waits: Whether to wait until versions in stores are fetched; otherwise a later poll
                loads them.
        """
        async with self._changing:
            try:
                wanted = await asyncio.to_thread(self._find_models)
            except OSError as error:
                self._complain(f"models stay as they are: {error}")
                return
            if not wanted and any(model.servables for model in self._models.values()):
                # As with the folder of one model, this is more likely a mistake than a decision.
                self._complain("models stay as they are: no model is left in the models folder")
                return
            self._complaint = ""
            for name, config in wanted.items():
                if name in self._models:
                    self._models[name].config = config
                else:
                    self._models[name] = ManagedModel(config)
            gone = [name for name in self._models if name not in wanted]
            gone = [name for name in gone if not await self._is_unreadable(self._models[name])]
            await self._announce()
            for name in wanted:
                model = self._models[name]
                wanted_now = await self._wanted_versions(model)
                await self._update_model(name, model, wanted_now, waits=waits)
            for name in gone:
                model = self._models.pop(name)
                self._unload(model, list(model.servables))
                self.catalog.retire({name: model})
            kept = folders.kept(self._models.values())
            self._fetches.forget_all_but(kept)
            self.version_folders.keep(kept)
            self.on_change()
        await self._unloading.wait(_UNLOAD_PATIENCE_SECONDS)

    async def _is_unreadable(self, model: ManagedModel) -> bool:
        """Return whether the model's folder is unreadable, which `find_models` takes for gone."""
        path = model.config.base_path
        return await asyncio.to_thread(folders.is_unreadable, path, self.version_folders)

    def _complain(self, message: str) -> None:
        if message != self._complaint:
            logger.error(message)
            self._complaint = message

    async def _announce(self) -> None:
        """Give every wanted version the state START, so that callers are told to retry."""
        for model in self._models.values():
            for version in await self._wanted_versions(model):
                if version not in model.statuses:
                    model.set_status(VersionStatus(version=version, state=State.START))
                    self._fetches.begin(model.config.name, model.config.base_path, version)

    async def _wanted_versions(self, model: ManagedModel) -> list[int]:
        found = await asyncio.to_thread(folders.find_wanted, model, self.version_folders)
        model.wanted, model.complaint = found
        return model.wanted

    async def _update_model(
        self, name: str, model: ManagedModel, wanted: list[int], *, waits: bool = False
    ) -> None:
        for version in sorted(wanted, reverse=True):
            if version not in model.servables and await self._is_due(model, version):
                await self._load_version(name, model, version, waits=waits)
        # Old versions stay until a wanted version is available.
        if any(version in model.servables for version in wanted):
            self._unload(model, [v for v in model.servables if v not in wanted])

    async def _is_due(self, model: ManagedModel, version: int) -> bool:
        """Return whether to load a version: it is new, its files changed, or a retry is due."""
        failure = model.failures.get(version)
        if failure is None:
            return True
        if await self._fingerprint(model, version) != failure.files:
            del model.failures[version]
            return True
        return (
            failure.tries <= self._config.max_load_retries and time.monotonic() > failure.again_at
        )

    async def _fingerprint(self, model: ManagedModel, version: int) -> object:
        path = model.config.base_path
        return await asyncio.to_thread(self.version_folders.fingerprint, path, version)

    async def _load_version(
        self, name: str, model: ManagedModel, version: int, *, waits: bool = True
    ) -> None:
        model.set_status(VersionStatus(version=version, state=State.LOADING))
        files = await self._fingerprint(model, version)
        loaded = await self._loading.load(model.config, version, waits=waits, context=self.loading)
        if loaded is None:
            return  # a later poll loads it
        if isinstance(loaded, Servable):
            self.on_load(loaded)
            model.servables[version] = loaded
            model.failures.pop(version, None)
            model.set_status(VersionStatus(version=version, state=State.AVAILABLE))
            return
        if loaded.device is not None and asyncio.current_task() is not self._polling:
            raise loaded.device  # ends a start or a reload
        tries = model.failures[version].tries + 1 if version in model.failures else 1
        if loaded.code == StatusCode.UNAVAILABLE:
            tries = 0  # a store that cannot be reached now is asked again without end
        again_at = time.monotonic() + self._config.retry_seconds
        model.failures[version] = Failure(files, tries, again_at)
        logger.error("%s/%d is not served: %s", name, version, loaded.message)
        model.set_status(loaded.status(version))

    def _unload(self, model: ManagedModel, versions: list[int]) -> None:
        """Take versions out of the catalog, and start to close them in threads."""
        for version in versions:
            servable = model.servables.pop(version)
            model.set_status(VersionStatus(version=version, state=State.UNLOADING))
            ended = VersionStatus(version=version, state=State.END)
            self._unloading.begin(servable, partial(model.set_status, ended))

    # Changing the configuration

    async def reload(self, models: Mapping[str, ModelConfig]) -> None:
        """Serve another set of models. If any of them fails, the old set is served unchanged.

        Args:
            models: The complete new set by name.

        Raises:
            UnknownError: a model did not become available.
            FailedPrecondition: a label names a version that is not available.
        """
        async with self._reloads:
            await self.prepare(models)
            await self.commit()

    async def change(self, changes: Mapping[str, ModelConfig | None]) -> None:
        """Serve a few models more, less or in another way, as by `reload`.

        Args:
            changes: See `explicit_models.changed`, of which the result is served.

        Raises:
            UnknownError, FailedPrecondition: see `reload`.
        """
        async with self._reloads:
            now = {name: model.config for name, model in self._models.items()}
            await self.prepare(explicit_models.changed(now, changes))
            await self.commit()

    async def prepare(self, models: Mapping[str, ModelConfig]) -> None:
        """Load another set of models without serving it.

        After success, call `commit` or `abort`: polls and other reloads wait until then.

        Args:
            models: The complete new set by name.

        Raises:
            Unavailable: this server is about to stop.
            UnknownError, FailedPrecondition: as from `reload`; do not call `abort` then.
        """
        await self._changing.acquire()
        candidates = {
            name: candidate(config, self._models.get(name)) for name, config in models.items()
        }
        self.catalog.coming = candidates
        try:
            await self._load_candidates(candidates)
            self._check_open()
        except BaseException as error:
            self.catalog.coming = {}
            self._unload_all_but(self._models, candidates)
            self._changing.release()
            if isinstance(error, DeviceError):
                raise UnknownError(str(error)) from error
            raise
        self._prepared = PreparedModels(models, candidates)

    def _check_open(self) -> None:
        if self._closing:
            msg = "the server is about to stop"
            raise Unavailable(msg)

    async def commit(self) -> None:
        """Serve the prepared set of models, and unload versions that are not part of the set."""
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            return
        try:
            before, self._models = self._models, prepared.candidates
            self.catalog.models, self.catalog.coming = self._models, {}
            self._find_models = lambda: prepared.configs
            self.on_change()
            self._unload_all_but(self._models, before)
            self.catalog.retire(replaced(before, self._models))
        finally:
            self._changing.release()
        await self.update()

    async def abort(self) -> None:
        """Unload the prepared set of models; without one, do nothing."""
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            return
        try:
            self.catalog.coming = {}
            self._unload_all_but(self._models, prepared.candidates)
        finally:
            self._changing.release()
        await self._unloading.wait(_UNLOAD_PATIENCE_SECONDS)

    async def _load_candidates(self, candidates: Mapping[str, ManagedModel]) -> None:
        for name, model in candidates.items():
            for version in sorted(await self._wanted_versions(model), reverse=True):
                if version not in model.servables:
                    await self._load_version(name, model, version)
        check_available(candidates)
        self._check_labels(candidates)

    def _unload_all_but(
        self, kept: Mapping[str, ManagedModel], models: Mapping[str, ManagedModel]
    ) -> None:
        """Unload the servables of `models` that are not in `kept` too."""
        shared = {id(servable) for model in kept.values() for servable in model.servables.values()}
        for model in models.values():
            self._unload(
                model, [v for v, servable in model.servables.items() if id(servable) not in shared]
            )

    def _check_labels(self, models: Mapping[str, ModelEntry]) -> None:
        check_labels(
            self._models,
            models,
            allow_unavailable=self._config.allow_labels_for_unavailable,
        )

    async def close(self, seconds: float = _CLOSE_SECONDS) -> list[str]:
        """Stop polling and unload all versions; requests in flight finish first.

        Args:
            seconds: Time limit for the requests in flight; their runs are terminated afterwards.

        Returns:
            The versions that could not be unloaded in that time, as `name/version`; versions that
            are still being loaded are not among them.
        """
        ends = time.monotonic() + seconds
        self._closing = True
        await self.abort()
        self._fetches.cancel()
        if self._polling:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._changing:
                for model in self._models.values():
                    self._unload(model, list(model.servables))
        if not await self._unloading.wait(max(0.0, ends - time.monotonic())):
            active_runs.terminate_all(asyncio.get_running_loop())
            await self._unloading.wait(_TERMINATION_SECONDS)
        return self._unloading.names
