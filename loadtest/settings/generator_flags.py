"""The flags for the processes of the load generator: --processes and --realtime."""

import argparse
from collections.abc import Callable
from typing import Any


def add_flags(add: Callable[..., object], positive_int: Callable[[str], int]) -> None:
    """Add the flags; `add` is the parser's `add_argument`, `positive_int` parses a number."""
    add("--processes", type=positive_int, default=1, help="generator processes (default: 1)")
    add(
        "--realtime",
        action="store_true",
        help="give the generator processes real-time priority, so that a server on the same cores "
        "delays no request; needs root or CAP_SYS_NICE, else the report has a warning",
    )


def settings(values: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of LoadTestConfig that the flags set."""
    return {"processes": values.processes, "realtime": values.realtime}
