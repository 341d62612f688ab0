"""The catalog: the models and versions that are served, and the state of every known version.

The protocols, the metrics and the health checks read the catalog. Only `manager` changes it, and
only in the event loop. `servable` and `statuses` answer requests: they refuse a model that the
current caller may not use, and their messages name only models that it may see.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from serving.access.caller import CURRENT
from serving.access.roles import Role
from serving.engine.servable import Servable
from serving.errors import InvalidInput, NotFound, ServingError, StatusCode, Unavailable
from serving.repository.model_config import ModelConfig


class State(IntEnum):
    """States of a version, with the names and numbers of TensorFlow Serving's `ModelVersionStatus`.

    A version goes START -> LOADING -> AVAILABLE -> UNLOADING -> END. A version that cannot be
    loaded goes from LOADING to END, with the reason in its status.
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
        state: State of the version.
        error_code: OK, unless the version could not be loaded.
        error_message: Why the version could not be loaded; empty if `error_code` is OK.
    """

    version: int
    state: State
    error_code: StatusCode = StatusCode.OK
    error_message: str = ""


# Unloaded versions stay listed. The limit keeps a model that is retrained daily from filling the
# memory.
MAX_ENDED_STATUSES = 100
# Models that a reload removed stay listed too, up to this many.
MAX_FORMER_MODELS = 100


@dataclass
class ModelEntry:
    """One model: its settings, its loaded versions, and the state of every version known.

    Attributes:
        config: Settings of the model.
        servables: The loaded versions that answer requests, by version number.
        statuses: The states, by version number; unloaded versions stay listed for a while.
        wanted: The version numbers that the version policy selects, or the loaded ones if it
            selects none; None until the model's folder has been listed for the first time.
        complaint: If the policy selects no version, the reason, as the log states it; else empty.
    """

    config: ModelConfig
    servables: dict[int, Servable] = field(default_factory=dict)
    statuses: dict[int, VersionStatus] = field(default_factory=dict)
    wanted: list[int] | None = None
    complaint: str = ""

    def set_status(self, status: VersionStatus) -> None:
        """Record the state of a version; of the versions in END only the newest stay listed."""
        self.statuses[status.version] = status
        ended = [number for number, known in self.statuses.items() if known.state is State.END]
        for number in sorted(ended)[:-MAX_ENDED_STATUSES]:
            del self.statuses[number]

    def why_unavailable(self, version: int | None) -> str:
        """Return why a wanted version cannot answer (yet).

        Args:
            version: Version number; None for any wanted version.

        Returns:
            The reason; empty if the version is not wanted. If no version is wanted: `complaint`.
        """
        if self.wanted is None:
            return "its folder has not been looked at yet, retry shortly"
        if not self.wanted:
            return self.complaint
        wanted = (
            self.wanted if version is None else [each for each in self.wanted if each == version]
        )
        return "; ".join(self._why_unavailable(each) for each in sorted(wanted, reverse=True))

    def _why_unavailable(self, version: int) -> str:
        status = self.statuses.get(version)
        if status is None or status.state < State.AVAILABLE:
            state = State.START if status is None else status.state
            return f"version {version} is {state.name}, retry shortly"
        if status.state is State.AVAILABLE:  # in a reload that is still loading other models
            return f"version {version} is loaded and served when the reload ends, retry shortly"
        if status.error_message:
            return f"version {version} is {status.state.name}: {status.error_message}"
        return f"version {version} is {status.state.name}"


class Catalog:
    """The models that are served, by name.

    Attributes:
        models: The entries; the manager replaces and changes them.
        coming: The entries of a reload in progress; empty otherwise.
        former: The last entry of each model that is no longer served, or is now served from
            another folder.
    """

    models: Mapping[str, ModelEntry]
    coming: Mapping[str, ModelEntry]
    former: dict[str, ModelEntry]

    def __init__(self) -> None:
        self.models = {}
        self.coming = {}
        self.former = {}

    @property
    def availability(self) -> dict[str, bool]:
        """Whether any version of a model is available, by model name."""
        return {name: bool(model.servables) for name, model in self.models.items()}

    @property
    def visible(self) -> dict[str, ModelEntry]:
        """The models that the current caller may see, by name."""
        caller = CURRENT.get()
        return {name: model for name, model in self.models.items() if caller.sees(name)}

    @property
    def failed(self) -> list[str]:
        """Names of the visible models that could not be loaded and cannot answer, sorted."""
        return sorted(
            name
            for name, model in self.visible.items()
            if not model.servables
            and any(
                status.state is State.END and status.error_code is not StatusCode.OK
                for status in model.statuses.values()
            )
        )

    def servable(self, name: str, version: int | None = None, label: str | None = None) -> Servable:
        """Return the servable that answers requests to a model.

        Args:
            name: Model name.
            version: Version number; None for the latest available version. 0 means the latest too,
                unless the model has a version 0: OpenVINO Model Server's clients ask for the
                latest version that way.
            label: Version label; takes the place of `version`.

        Raises:
            InvalidInput: the label is unknown.
            NotFound: the model is not configured, or the version is not wanted.
            PermissionDenied: the current caller may not use the model.
            Unavailable: the version is wanted, but is not loaded yet or could not be loaded.
        """
        CURRENT.get().check_model(name)
        model = self.models.get(name)
        if label is not None:
            version = model.config.labels.get(label) if model else None
            if version is None:
                known = ", ".join(model.config.labels) if model else ""
                msg = f"Unrecognized servable version label: {label}"
                raise InvalidInput(msg + (f"; labels of {name}: {known}" if known else ""))
        if version == 0 and not self._has_version_0(name):
            version = None
        if model and model.servables:
            servable = model.servables.get(max(model.servables) if version is None else version)
            if servable:
                return servable
        raise self._not_served(name, version)

    def _has_version_0(self, name: str) -> bool:
        entries = [known[name] for known in (self.models, self.coming) if name in known]
        return any(0 in entry.statuses or 0 in (entry.wanted or ()) for entry in entries)

    def _not_served(self, name: str, version: int | None) -> ServingError:
        request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        entries = [known[name] for known in (self.models, self.coming) if name in known]
        if not entries:
            msg = f"Servable not found for request: {request}"
            if Role.METADATA in CURRENT.get().roles:
                msg += f"; models here: {', '.join(self.visible) or 'none'}"
            return NotFound(msg)
        versions = sorted(self.models[name].servables) if name in self.models else []
        available = ", ".join(map(str, versions)) or "none"
        for entry in entries:
            if reason := entry.why_unavailable(version):
                hint = f"; versions available: {available}" if versions else ""
                msg = f"Servable is not available for request: {request}; {reason}{hint}"
                return Unavailable(msg)
        hint = f"versions available: {available}"
        return NotFound(f"Servable not found for request: {request}; {hint}")

    def statuses(self, name: str, version: int | None = None) -> list[VersionStatus]:
        """Return the states of a model's versions, newest version first.

        Args:
            name: Model name.
            version: Version number, or None for all versions. 0 means all versions, unless the
                model has a version 0.

        Raises:
            NotFound: the model or the version is unknown.
            PermissionDenied: the current caller may not use the model.
        """
        CURRENT.get().check_model(name)
        statuses = self._statuses(name)
        if version == 0 and statuses and 0 not in statuses:
            version = None
        if version is not None:
            if version not in statuses:
                msg = f"Could not find version {version} of model {name}"
                raise NotFound(msg)
            return [statuses[version]]
        if not statuses:
            msg = f"Could not find any versions of model {name}"
            raise NotFound(msg)
        return self.known_statuses(name)

    def known_statuses(self, name: str) -> list[VersionStatus]:
        """Return the states of a model's versions, newest first; empty if no version is known."""
        statuses = self._statuses(name)
        return [statuses[number] for number in sorted(statuses, reverse=True)]

    def _statuses(self, name: str) -> dict[int, VersionStatus]:
        # If a version number occurs in several entries, the state in `models` is returned, or else
        # the state in `coming`.
        places = (self.former, self.coming, self.models)
        known = [entries[name].statuses for entries in places if name in entries]
        return {number: status for each in known for number, status in each.items()}

    def retire(self, models: Mapping[str, ModelEntry]) -> None:
        """Keep the states of models that are no longer served: their versions stay listed as END.

        Args:
            models: The entries by name; their versions may be unloaded before or after this call.
        """
        for name, model in models.items():
            self.former.pop(name, None)  # moves the name to the end, which is dropped last
            self.former[name] = model
        for name in list(self.former)[:-MAX_FORMER_MODELS]:
            del self.former[name]
