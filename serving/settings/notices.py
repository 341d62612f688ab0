"""Notices: warnings about settings that have less effect here than their author may expect."""

import logging
from functools import cache

logger = logging.getLogger(__name__)


@cache
def warn_once(message: str) -> None:
    """Log a warning once in each process, although settings files are read several times."""
    logger.warning(message)


def mute() -> None:
    """Log no notices in this process, because another worker logs the same ones."""
    logger.disabled = True
