"""The limit on open files of this process, and the number of connections that fits below it.

If `accept` finds no file descriptor left, the web server stops serving. The server therefore raises
the limit as far as possible, and accepts fewer connections than the limit allows.
"""

import resource

# Above this, more descriptors would only cost memory; a container's hard limit may be a billion.
_MOST_FILES = 65_536
# Descriptors kept for models, their external data, JSON processes, the supervisor, logs and the
# health port.
_RESERVED_FILES = 384


def raise_limit() -> int:
    """Raise the soft limit to the hard limit, but not above `_MOST_FILES`.

    Returns:
        The soft limit afterwards.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return limit()


def limit() -> int:
    """Return the number of files that this process may hold open now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_FILES if soft == resource.RLIM_INFINITY else soft


def most_connections(wanted: int, *, servers: int = 1) -> int:
    """Return the number of connections to accept: `wanted`, or fewer if the file limit is low.

    Args:
        wanted: Connections at a time.
        servers: Number of web servers. Each of them may hold the returned number of connections for
            a moment, until the janitor closes some.
    """
    files = limit()
    return max(1, min(wanted, max(files - _RESERVED_FILES, files // 2) // max(1, servers)))
