"""The life of a version, as GetModelStatus tells it."""

from dataclasses import dataclass
from enum import IntEnum

from serving.errors import StatusCode


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
