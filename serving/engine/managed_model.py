"""The manager's own records: its settings, and each model's failed loads."""

from collections.abc import Callable
from dataclasses import dataclass, field

from serving.engine.catalog import ModelEntry
from serving.engine.servable import Servable

# Loads a version from its folder into a servable and blocks. Arguments: the name of the model, the
# version number, the folder and, if it is not empty, `ModelConfig.batching`.
LoadServable = Callable[..., Servable]


@dataclass(frozen=True, kw_only=True)
class ManagerConfig:
    """Settings of the manager.

    Attributes:
        poll_seconds: Seconds between two polls of the model folders; 0: list them only at the
            start.
        max_load_retries: How often loading a failed version is retried. The count starts again
            when the version's files change.
        retry_seconds: Seconds between two attempts to load a failed version.
        allow_labels_for_unavailable: Accept a new label on a version that is not loaded. A label
            that is in use can move only to a loaded version.
    """

    poll_seconds: float = 1.0
    max_load_retries: int = 5
    retry_seconds: float = 60.0
    allow_labels_for_unavailable: bool = False


@dataclass
class Failure:
    """A version that could not be loaded.

    Attributes:
        files: `model_folder.fingerprint` of the version when loading began.
        tries: Number of failed attempts.
        again_at: `time.monotonic()` from which the next attempt may be made.
    """

    files: object
    tries: int
    again_at: float


@dataclass
class ManagedModel(ModelEntry):
    """A catalog entry with the failed loads of its versions, which only the manager reads."""

    failures: dict[int, Failure] = field(default_factory=dict)
