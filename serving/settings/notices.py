"""Notices: what of a command line or a file counts for less here than its author may expect."""

import logging
from functools import cache

logger = logging.getLogger(__name__)


@cache
def warn_once(message: str) -> None:
    """Log a warning, unless this process has logged it before: files are read more than once."""
    logger.warning(message)


def mute() -> None:
    """Log none of them in this process: another worker has the same settings and tells them."""
    logger.disabled = True
