"""The identity of a caller: its name, its roles and its models."""

from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum

from serving.access.roles import Role
from serving.access.usage import Usage
from serving.errors import PermissionDenied

ANONYMOUS = "anonymous"


class Refusal(StrEnum):
    """Reasons to refuse a call, as the metrics name them."""

    NO_KEY = "no_key"
    WRONG_KEY = "wrong_key"
    EXPIRED_KEY = "expired_key"
    ROLE = "role"
    MODEL = "model"
    LIMIT = "limit"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A caller.

    Attributes:
        name: Name of the key or of the certificate's entry; the subject of a certificate without an
            entry; or `ANONYMOUS`.
        roles: What the caller may do.
        models: Names of the models that it may use; None for all.
        expires: `time.time()` from which on the key is refused; None: never.
        usage: Counts the calls of a caller with limits; None if it has none.
        refusals: Counts the refused calls by reason, over all callers.
    """

    name: str
    roles: frozenset[Role]
    models: frozenset[str] | None = None
    expires: float | None = None
    usage: Usage | None = field(default=None, compare=False)
    refusals: Counter[Refusal] = field(default_factory=Counter, compare=False, repr=False)

    def check_model(self, name: str) -> None:
        """Refuse a model that is not one of the caller's, whether or not the server has it.

        Raises:
            PermissionDenied: the caller may not use the model.
        """
        if self.models is not None and name not in self.models:
            self.refusals[Refusal.MODEL] += 1
            msg = (
                f"{self.name} may not use model {name!r}, expected one of "
                f"{', '.join(sorted(self.models))}; use another key, or ask the server's operator"
            )
            raise PermissionDenied(msg)

    def sees(self, model: str) -> bool:
        """Return whether the caller may learn that a model exists."""
        return Role.METADATA in self.roles and (self.models is None or model in self.models)


# The caller if the server has no keys: everyone may do everything.
EVERYONE = Identity(name=ANONYMOUS, roles=frozenset(Role))
# The caller of the current task's request. A server with keys sets it in every call.
CURRENT: ContextVar[Identity] = ContextVar("caller", default=EVERYONE)
