"""The error of a command whose flags or input files are wrong."""

from typing import Self


class UsageError(Exception):
    """Wrong flags or input; the message is one line, and the exit code 2."""

    @classmethod
    def of(cls, error: Exception) -> Self:
        """Return the error of a file that cannot be read or written, or of a wrong value."""
        if isinstance(error, OSError) and error.filename is not None:
            return cls(f"{error.filename}: {error.strerror}")
        return cls(str(error))
