"""The error of a command whose flags or input files are wrong."""


class UsageError(Exception):
    """Wrong flags or input; the message is one line, and the exit code 2."""
