"""What the manager keeps of a model beside the catalog: its settings and failures."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from serving.engine.catalog import ModelEntry
from serving.engine.servable import Servable

LoadServable = Callable[[str, int, Path], Servable]


@dataclass(frozen=True, kw_only=True)
class ManagerConfig:
    """How versions are kept up to date.

    Attributes:
        poll_seconds: Seconds between two looks at the folders; 0 looks once, at the start.
        max_load_retries: Times that a version which could not be loaded is tried again, unless its
            files change, which starts the count anew.
        retry_seconds: Seconds between two tries.
        allow_labels_for_unavailable: Accept a new label on a version that is not loaded; one that
            is in use moves to loaded versions alone.
    """

    poll_seconds: float = 1.0
    max_load_retries: int = 5
    retry_seconds: float = 60.0
    allow_labels_for_unavailable: bool = False


@dataclass
class Failure:
    """A version that could not be loaded, and when to try again."""

    files: object
    tries: int
    again_at: float


@dataclass
class ManagedModel(ModelEntry):
    """A model with what only the manager needs to know of it."""

    failures: dict[int, Failure] = field(default_factory=dict)
