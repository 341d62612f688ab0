"""Why an export stopped, and the exit code that tells it to a script.

    ExportError        what was asked for cannot be exported: exit code 2
    ├── GateFailed     it was exported, but its answers differ: nothing is published, exit code 1
    └── OutOfDate      a document is not as it would be written: exit code 1

Messages are for the person at the keyboard: what was received, what was expected, the way out.
"""

from typing import ClassVar


class ExportError(Exception):
    """The input, or the place to publish to, cannot be used."""

    exit_code: ClassVar[int] = 2


class GateFailed(ExportError):
    """The exported artefact does not answer as the trained model does; the message is a report."""

    exit_code: ClassVar[int] = 1


class OutOfDate(ExportError):
    """A document that is written from metrics.json says something else."""

    exit_code: ClassVar[int] = 1
