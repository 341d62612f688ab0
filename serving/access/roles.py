"""The roles: what a caller may do, and what every method and route requires."""

from enum import StrEnum

from serving.errors import ConfigError


class Role(StrEnum):
    """A permission. Every row of the tables of methods and routes requires one of them.

    No role includes another one, except that every known caller has `HEALTH`.
    """

    HEALTH = "health"
    METADATA = "metadata"
    METRICS = "metrics"
    PREDICT = "predict"
    ADMIN = "admin"

    # Enum's own hash is a Python function, which would take a tenth of the time of a check.
    __hash__ = str.__hash__


# The roles that a key can have.
GRANTED = (Role.PREDICT, Role.METADATA, Role.METRICS, Role.ADMIN)
# The roles that may need no key.
OPENABLE = (Role.HEALTH, Role.METADATA, Role.METRICS, Role.PREDICT)


def open_roles(text: str) -> frozenset[Role]:
    """Parse the value of `--open_access`.

    Args:
        text: Names of roles, separated by commas; empty for none.

    Raises:
        ConfigError: a name is unknown, or is that of a role which always needs a key.
    """
    names = [name for part in text.split(",") if (name := part.strip())]
    for name in names:
        if name not in OPENABLE:
            msg = f"--open_access has {name!r}, expected names out of {', '.join(OPENABLE)}"
            raise ConfigError(msg)
    return frozenset(map(Role, names))
