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
# Likewise the models that a reload took away.
MAX_FORMER_MODELS = 100


@dataclass
class ModelEntry:
    """One model: its settings, its loaded versions, and the state of every version known.

    Attributes:
        config: Its settings.
        servables: What can answer, by version.
        statuses: The states, by version; unloaded versions stay listed for a while.
        wanted: The versions that its policy asks for; None until its folder was looked at.
        complaint: Why that is no version at all, in the words of the log.
    """

    config: ModelConfig
    servables: dict[int, Servable] = field(default_factory=dict)
    statuses: dict[int, VersionStatus] = field(default_factory=dict)
    wanted: list[int] | None = None
    complaint: str = ""

    def set_status(self, status: VersionStatus) -> None:
        """Note a state; of the ended versions only the newest stay listed."""
        self.statuses[status.version] = status
        ended = [number for number, known in self.statuses.items() if known.state is State.END]
        for number in sorted(ended)[:-MAX_ENDED_STATUSES]:
            del self.statuses[number]

    def why_unavailable(self, version: int | None) -> str:
        """Why a version that is to be served cannot answer (yet).

        Args:
            version: Of this model; None for any.

        Returns:
            The reason; empty if there is no such version, and none is to come.
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
        if status.state is State.AVAILABLE:  # in a reload, whose other models are not yet
            return f"version {version} is loaded and served when the reload ends, retry shortly"
        if status.error_message:
            return f"version {version} is {status.state.name}: {status.error_message}"
        return f"version {version} is {status.state.name}"


class Catalog:
    """The models that are served, by name.

    Attributes:
        models: The entries; the manager replaces and changes them.
        coming: The entries of a reload, while its models are loaded.
        former: The last entries of models that are served no more, or from another folder.
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
            version: A version; None for the latest one that is available, and so is 0, unless the
                model has a version 0: OpenVINO Model Server's clients ask for the latest that way.
            label: A label instead of a version.

        Raises:
            InvalidInput: the label is unknown.
            NotFound: no such model is served, or no such version of it is to be.
            Unavailable: it is to be served, and is not loaded yet or could not be.
        """
        model = self.models.get(name)
        if label is not None:
            version = model.config.labels.get(label) if model else None
            if version is None:
                known = ", ".join(model.config.labels) if model else ""
                msg = f"Unrecognized servable version label: {label}"
                raise InvalidInput(msg + (f"; labels of {name}: {known}" if known else ""))
        if version == 0 and not self._has_version_0(name):
            version = None
        if model:
            chosen = max(model.servables, default=None) if version is None else version
            servable = model.servables.get(chosen) if chosen is not None else None
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
            models = ", ".join(self.models) or "none"
            return NotFound(f"Servable not found for request: {request}; models here: {models}")
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
        """The states of a model's versions, newest first.

        Args:
            name: Model name.
            version: One version, or None for all; 0 as in `servable`.

        Raises:
            NotFound: no such model or version is known.
        """
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
        """The states of a model's versions, newest first; empty if no version is known."""
        statuses = self._statuses(name)
        return [statuses[number] for number in sorted(statuses, reverse=True)]

    def _statuses(self, name: str) -> dict[int, VersionStatus]:
        # What is served goes before what a reload loads, or what was, under the same number.
        places = (self.former, self.coming, self.models)
        known = [entries[name].statuses for entries in places if name in entries]
        return {number: status for each in known for number, status in each.items()}

    def retire(self, models: Mapping[str, ModelEntry]) -> None:
        """Keep the states of models that are served no more: their versions stay listed as END.

        Args:
            models: The entries by name, before or after their versions are unloaded.
        """
        for name, model in models.items():
            self.former.pop(name, None)  # the newest entry of a name is the last to be dropped
            self.former[name] = model
        for name in list(self.former)[:-MAX_FORMER_MODELS]:
            del self.former[name]
