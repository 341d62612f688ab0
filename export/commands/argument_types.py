"""Types of flags on the command line: functions from text to a value, for argparse."""

import argparse

from serving.repository.model_folder import PRECISIONS, Precision

_LARGEST_VERSION = 2**63 - 1  # clients send the version as an int64


def precisions_but_fp32(text: str) -> tuple[Precision, ...]:
    """Parse a list of precisions without fp32."""
    chosen = precisions(text)
    if "fp32" in chosen:
        msg = "fp32 received, expected other precisions; for fp32, export the training again"
        raise argparse.ArgumentTypeError(msg)
    return chosen


def precisions(text: str) -> tuple[Precision, ...]:
    """Parse a list of precisions; the result is in the order of PRECISIONS."""
    named = [name.strip() for name in text.split(",")]
    unknown = [name for name in named if name not in PRECISIONS]
    if unknown:
        received, known = ", ".join(map(repr, unknown)), ", ".join(PRECISIONS)
        msg = f"{received} received, expected a list of {known}"
        raise argparse.ArgumentTypeError(msg)
    return tuple(precision for precision in PRECISIONS if precision in named)


def version_number(text: str) -> int:
    """Parse a version number, from 0 to 2**63 - 1."""
    if not (text.isascii() and text.isdigit()) or int(text) > _LARGEST_VERSION:
        msg = f"{text!r} received, expected a number from 0 to {_LARGEST_VERSION}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def positive(text: str) -> int:
    """Parse an integer of at least 1."""
    number = int(text)
    if number < 1:
        msg = f"{number} received, expected 1 or more"
        raise argparse.ArgumentTypeError(msg)
    return number
