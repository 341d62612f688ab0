"""The catalog: which models and versions are served, who answers for a model, and every state.

Everybody reads it; `manager` alone changes it, and only in the event loop.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from serving.engine.servable import Servable
from serving.errors import InvalidInput, NotFound, ServingError, StatusCode, Unavailable
from serving.repository.model_config import ModelConfig


class State(IntEnum):
    """States of a version; names and numbers as on the wire.

    A version goes START -> LOADING -> AVAILABLE -> UNLOADING -> END. One that cannot be loaded goes
    from LOADING to END, with the reason in its status.
    """

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True, kw_only=True)
class VersionStatus:
    """State of one version.

    Attributes:
        version: Version number.
        state: Where it is in its life.
        error_code: OK, unless it could not be loaded.
        error_message: Why it could not.
    """

    version: int
    state: State
    error_code: StatusCode = StatusCode.OK
    error_message: str = ""


# Unloaded versions stay listed, but a model that is retrained daily must not fill the memory.
MAX_ENDED_STATUSES = 100


@dataclass
class ModelEntry:
    """One model: its settings, its loaded versions, and the state of every version known."""

    config: ModelConfig
    servables: dict[int, Servable] = field(default_factory=dict)
    statuses: dict[int, VersionStatus] = field(default_factory=dict)

    def set_status(self, status: VersionStatus) -> None:
        """Note a state; of the ended versions only the newest stay listed."""
        self.statuses[status.version] = status
        ended = [number for number, known in self.statuses.items() if known.state is State.END]
        for number in sorted(ended)[:-MAX_ENDED_STATUSES]:
            del self.statuses[number]


class Catalog:
    """The models that are served, by name.

    Attributes:
        models: The entries; the manager replaces and changes them.
    """

    models: Mapping[str, ModelEntry]

    def __init__(self) -> None:
        self.models = {}

    @property
    def availability(self) -> dict[str, bool]:
        """Whether any version of a model is available, by model name."""
        return {name: bool(model.servables) for name, model in self.models.items()}

    @property
    def failed(self) -> list[str]:
        """Names of the models that could not be loaded and have no version to answer, sorted."""
        return sorted(
            name
            for name, model in self.models.items()
            if not model.servables
            and any(
                status.state is State.END and status.error_code is not StatusCode.OK
                for status in model.statuses.values()
            )
        )

    def servable(self, name: str, version: int | None = None, label: str | None = None) -> Servable:
        """The servable that answers for a model.

        Args:
            name: Model name.
            version: A version; None for the latest one that is available.
            label: A label instead of a version.

        Raises:
            InvalidInput: the label is unknown.
            NotFound: no such model or version is served.
            Unavailable: it is being loaded.
        """
        model = self.models.get(name)
        if label is not None:
            version = model.config.labels.get(label) if model else None
            if version is None:
                known = ", ".join(model.config.labels) if model else ""
                msg = f"Unrecognized servable version label: {label}"
                raise InvalidInput(msg + (f"; labels of {name}: {known}" if known else ""))
        if model:
            chosen = max(model.servables, default=None) if version is None else version
            servable = model.servables.get(chosen) if chosen is not None else None
            if servable:
                return servable
        raise self._not_served(name, version)

    def _not_served(self, name: str, version: int | None) -> ServingError:
        request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        model = self.models.get(name)
        if model is None:
            models = ", ".join(self.models) or "none"
            return NotFound(f"Servable not found for request: {request}; models here: {models}")
        if any(
            status.state < State.AVAILABLE and version in {None, status.version}
            for status in model.statuses.values()
        ):
            msg = f"Servable is still loading for request: {request}; retry shortly"
            return Unavailable(msg)
        available = ", ".join(str(number) for number in sorted(model.servables))
        hint = (
            f"versions available: {available}"
            if available
            else "no version of it is available, GetModelStatus tells why"
        )
        return NotFound(f"Servable not found for request: {request}; {hint}")

    def statuses(self, name: str, version: int | None = None) -> list[VersionStatus]:
        """The states of a model's versions, newest first.

        Args:
            name: Model name.
            version: One version, or None for all.

        Raises:
            NotFound: no such model or version is known.
        """
        statuses = self.models[name].statuses if name in self.models else {}
        if not statuses:
            msg = f"Could not find any versions of model {name}"
            raise NotFound(msg)
        if version is None:
            return [statuses[number] for number in sorted(statuses, reverse=True)]
        if version not in statuses:
            msg = f"Could not find version {version} of model {name}"
            raise NotFound(msg)
        return [statuses[version]]
