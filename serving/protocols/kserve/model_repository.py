"""Triton's model repository extension: the index of models, and loading and unloading by name.

Follows Triton's extension_model_repository.md. Calls may load and unload only with
`--model_control_mode=explicit`. As in Triton, a failed load is INTERNAL and begins with `failed to
load`; what was served before is still served.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from google.protobuf import json_format

from serving.access import audit
from serving.access.caller import CURRENT
from serving.engine.catalog import State, VersionStatus
from serving.engine.manager import Manager
from serving.errors import (
    FailedPrecondition,
    InternalError,
    InvalidInput,
    NotFound,
    ServingError,
    Unavailable,
)
from serving.monitoring.counts import Metrics
from serving.monitoring.shared_result import SharedResult
from serving.protos import kserve_config_pb2
from serving.repository import explicit_models
from serving.repository.model_config import All, Latest, ModelConfig, Specific, VersionPolicy
from serving.repository.version_folders import VersionFolders
from serving.uncancelled import uncancelled

FindModels = Callable[[], Mapping[str, ModelConfig]]

CONFIG = "config"
FILE_PREFIX = "file:"
_STATES = {
    State.START: "LOADING",
    State.LOADING: "LOADING",
    State.AVAILABLE: "READY",
    State.UNLOADING: "UNLOADING",
}
# Fields of a config in a load request that change how the model is served.
_SUPPORTED = ("name", "max_batch_size", "dynamic_batching", "version_policy")
_MAX_BATCH_SIZE = 1 << 20
_MAX_DELAY_MICROSECONDS = 60_000_000


class ModelIndex(NamedTuple):
    """An entry of the index.

    Attributes:
        name: Model name.
        version: Version number in decimal; empty, as state and reason, for a model in the
            repository that was never loaded.
        state: `READY`, `LOADING`, `UNLOADING` or `UNAVAILABLE`.
        reason: Why the version is unavailable; else empty.
    """

    name: str
    version: str = ""
    state: str = ""
    reason: str = ""


class ModelRepository:
    """The operations of the extension."""

    def __init__(self, manager: Manager, metrics: Metrics, find: FindModels | None) -> None:
        """Bind the operations.

        Args:
            manager: Loads and unloads; its catalog has the states of the versions.
            metrics: Counts refused loads as refused reloads.
            find: Lists the models that may be loaded by name, and blocks; None: calls may neither
                load nor unload.
        """
        self._manager = manager
        self._metrics = metrics
        self._find = find
        # Listing a large folder takes a thread for a while: a flood of calls shares it.
        self._shared_names = SharedResult(self._list_names)
        self._changing: set[asyncio.Task[None]] = set()

    @property
    def explicit(self) -> bool:
        """Whether calls may load and unload."""
        return self._find is not None

    async def index(self, repository_name: str = "", *, ready: bool = False) -> list[ModelIndex]:
        """Return the models that the caller may see, sorted by name, with their versions.

        Args:
            repository_name: Must be empty.
            ready: Whether to return only versions that can answer.

        Raises:
            InvalidInput: a repository is named.
            Unavailable: the models cannot be listed.
        """
        _check_repository(repository_name)
        catalog = self._manager.catalog
        names = {*catalog.models, *catalog.coming, *catalog.former}
        names |= await self._shared_names.get()
        caller = CURRENT.get()
        found: list[ModelIndex] = []
        for name in sorted(filter(caller.sees, names)):
            entries = [_entry(name, status) for status in catalog.known_statuses(name)]
            found += entries or [ModelIndex(name)]
        return [entry for entry in found if not ready or entry.state == "READY"]

    async def _list_names(self) -> frozenset[str]:
        """Return the names of the models that calls may load."""
        if self._find is None:
            return frozenset()
        try:
            return frozenset(await asyncio.to_thread(self._find))
        except OSError as error:
            msg = f"the models cannot be listed: {error}"
            raise Unavailable(msg) from error

    async def load(
        self, name: str, parameters: Mapping[str, object], *, repository_name: str = "", peer: str
    ) -> None:
        """Load a model, or load the versions anew that its folder has now.

        Args:
            name: Model name.
            parameters: `config` may have a JSON text with `max_batch_size`, the
                `max_queue_delay_microseconds` of `dynamic_batching`, and `version_policy`.
            repository_name: Must be empty.
            peer: Address of the caller, for the audit log.

        Raises:
            FailedPrecondition: calls may not load models.
            InternalError: the model could not be loaded.
            InvalidInput: a repository is named.
            PermissionDenied: the caller may not use the model.
            Unavailable: a worker process is being started.
        """
        find = self._check_call(name, repository_name)
        try:
            model = await _found(find, name, parameters, self._manager.version_folders)
            await self._change({name: model})
        except ServingError as error:
            self._refused(f"load of {name}", error, peer)
            if isinstance(error, Unavailable):
                raise
            msg = f"failed to load '{name}', {error.message}"
            raise InternalError(msg) from error
        self._recorded(f"load of {name}", peer)

    async def unload(self, name: str, *, repository_name: str = "", peer: str) -> None:
        """Unload a model; as in Triton, it is no error if the model is not loaded.

        Requests that the server has accepted are answered first.

        Args:
            name: Model name.
            repository_name: Must be empty.
            peer: Address of the caller, for the audit log.

        Raises:
            FailedPrecondition, InvalidInput, PermissionDenied, Unavailable: see `load`.
            InternalError: the model could not be unloaded.
        """
        self._check_call(name, repository_name)
        try:
            await self._change({name: None})
        except ServingError as error:
            self._refused(f"unload of {name}", error, peer)
            if isinstance(error, Unavailable):
                raise
            msg = f"failed to unload '{name}', {error.message}"
            raise InternalError(msg) from error
        self._recorded(f"unload of {name}", peer)

    def _check_call(self, name: str, repository_name: str) -> FindModels:
        """Check that a call may load and unload this model; return what lists the models."""
        if self._find is None:
            msg = (
                "explicit model load / unload is not allowed if polling is enabled: this server "
                "serves what its folder or config file has; start it with "
                "--model_control_mode=explicit to load and unload models by calls"
            )
            raise FailedPrecondition(msg)
        _check_repository(repository_name)
        CURRENT.get().check_model(name)
        return self._find

    async def _change(self, changes: Mapping[str, ModelConfig | None]) -> None:
        # If the client gives up waiting, the change goes on: it must not be left half done.
        changing = asyncio.create_task(self._manager.change(changes))
        self._changing.add(changing)
        changing.add_done_callback(self._changing.discard)
        await uncancelled(changing)

    def _refused(self, change: str, error: ServingError, peer: str) -> None:
        self._metrics.refused_reloads += 1
        by = CURRENT.get().name
        audit.record_refusal("models", change, error.message, by=by, peer=peer)

    def _recorded(self, change: str, peer: str) -> None:
        audit.record("models", change, by=CURRENT.get().name, peer=peer)


def _check_repository(name: str) -> None:
    if name:
        msg = f"'repository_name' is {name!r}, expected none: this server has one repository"
        raise InvalidInput(msg)


def _entry(name: str, status: VersionStatus) -> ModelIndex:
    state = _STATES.get(status.state, "UNAVAILABLE")
    reason = status.error_message or "unloaded" if state == "UNAVAILABLE" else ""
    return ModelIndex(name, str(status.version), state, reason)


async def _found(
    find: FindModels, name: str, parameters: Mapping[str, object], folders: VersionFolders
) -> ModelConfig:
    """Return the settings of a model to load.

    Raises:
        InvalidInput: a parameter is unknown, or cannot be read.
        NotFound: there is no such model, or none of its versions is asked for.
        Unavailable: the models cannot be listed.
    """
    policy: VersionPolicy | None = None
    batching: dict[str, int] = {}
    for parameter, value in parameters.items():
        if parameter.startswith(FILE_PREFIX):
            msg = (
                "failed to poll from model repository: files in a load request are not supported; "
                "put the version into the server's folder of models"
            )
            raise InvalidInput(msg)
        if parameter != CONFIG or not isinstance(value, str):
            msg = f"parameter {parameter} is {value!r}, expected only {CONFIG}, a JSON text"
            raise InvalidInput(msg)
        policy, batching = _read_config(name, value)
    try:
        models = await asyncio.to_thread(find)
        if name not in models:
            msg = (
                "failed to poll from model repository: the server's folder of models has no folder "
                f"{name!r} with a version in it"
            )
            raise NotFound(msg)
        pinned = partial(explicit_models.pinned, models[name], folders, policy, batching)
        return await asyncio.to_thread(pinned)
    except OSError as error:
        msg = f"failed to poll from model repository: {error}"
        raise Unavailable(msg) from error


def _read_config(name: str, text: str) -> tuple[VersionPolicy | None, dict[str, int]]:
    """Return the version policy and the batching settings of a config in a load request.

    Raises:
        InvalidInput: the text is not the JSON form of a ModelConfig, or has other fields.
    """
    try:
        config = json_format.Parse(text, kserve_config_pb2.ModelConfig())
    except json_format.ParseError as error:
        msg = f"its config cannot be read, expected a ModelConfig as JSON: {error}"
        raise InvalidInput(msg) from error
    given = [field.name for field, _ in config.ListFields()]
    others = [field for field in given if field not in _SUPPORTED]
    if config.dynamic_batching.preferred_batch_size:
        others.append("preferred_batch_size")
    if others or config.name not in {"", name}:
        wrong = ", ".join(others) or f"the name {config.name!r}"
        msg = (
            f"its config has {wrong}, expected only {', '.join(_SUPPORTED[1:])}, and in "
            "dynamic_batching only max_queue_delay_microseconds"
        )
        raise InvalidInput(msg)
    batching: dict[str, int] = {}
    if "max_batch_size" in given:
        batching["max_batch_size"] = config.max_batch_size
    if "dynamic_batching" in given:
        batching["batch_timeout_micros"] = config.dynamic_batching.max_queue_delay_microseconds
    size, delay = batching.get("max_batch_size", 1), batching.get("batch_timeout_micros", 0)
    if not 0 < size <= _MAX_BATCH_SIZE or delay > _MAX_DELAY_MICROSECONDS:
        msg = (
            f"its config has max_batch_size {size} and max_queue_delay_microseconds {delay}, "
            f"expected 1 to {_MAX_BATCH_SIZE} and at most {_MAX_DELAY_MICROSECONDS}"
        )
        raise InvalidInput(msg)
    return _policy(config.version_policy), batching


def _policy(policy: kserve_config_pb2.ModelVersionPolicy) -> VersionPolicy | None:
    choice = policy.WhichOneof("policy_choice")
    if choice == "latest":
        return Latest(max(1, policy.latest.num_versions))
    if choice == "specific":
        return Specific(tuple(policy.specific.versions))
    return All() if choice == "all" else None
