"""Errors that stop a command of `python -m export`, each with its exit code.

    ExportError        the input or the place to publish to cannot be used: exit code 2
    ├── GateFailed     the converted model's answers differ: nothing is published, exit code 1
    └── OutOfDate      a document differs from what the command would write: exit code 1

A message says what was received, what was expected and the way out.
"""

from typing import ClassVar


class ExportError(Exception):
    """The input, or the place to publish to, cannot be used."""

    exit_code: ClassVar[int] = 2


class GateFailed(ExportError):
    """The converted model's answers differ from the original's; the message lists where."""

    exit_code: ClassVar[int] = 1


class OutOfDate(ExportError):
    """A document that is generated from metrics.json has other content."""

    exit_code: ClassVar[int] = 1
