"""The number of files that this process may hold open, and the connections that fit below it.

A web server whose `accept` finds no descriptor left stops to serve. So the limit is raised as far
as it goes, and connections end well below it.
"""

import resource

# Above this, more descriptors would only cost memory; a container's hard limit may be a billion.
_MOST_FILES = 65_536
# For models, their external data, the JSON process, the supervisor, logs and the health port.
_RESERVED_FILES = 384


def raise_limit() -> int:
    """Raise the soft limit to the hard one, within reason.

    Returns:
        The soft limit afterwards.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return limit()


def limit() -> int:
    """The number of files that this process may hold open now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_FILES if soft == resource.RLIM_INFINITY else soft


def most_connections(wanted: int, *, servers: int = 1) -> int:
    """The connections to accept: those that are wanted, or as many as the limit on files allows.

    Args:
        wanted: Connections at a time.
        servers: Servers that may each accept so many for a moment, until some are ended.
    """
    files = limit()
    return max(1, min(wanted, max(files - _RESERVED_FILES, files // 2) // max(1, servers)))
