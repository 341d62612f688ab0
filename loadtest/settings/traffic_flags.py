"""The flags for the course of an open loop: --shape, --replay and --speed.

A run that is a stream of a mix has two more, which `python -m loadtest mix` passes.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from loadtest.settings import shape_text
from loadtest.settings.config import SPEEDS
from loadtest.settings.shape_text import ShapeSettings


def add_flags(add: Callable[..., object]) -> None:
    """Add the flags of `run`; `add` is the parser's `add_argument`."""
    add(
        "--shape",
        type=_shape,
        help=f"how the rate changes over --duration: {shape_text.FORMS} (default: constant)",
    )
    add(
        "--replay",
        type=Path,
        metavar="FILE",
        help="send at the times of recorded traffic: .csv, .jsonl, or the samples of an earlier "
        "run (raw.npz, .parquet)",
    )
    add("--speed", type=speed, metavar="X", help="speed of --replay, 0.5 to 4 (default: 1)")
    for name in ("--stream", "--mix"):
        add(name, help=argparse.SUPPRESS)


def refuse_flags(add: Callable[..., object]) -> None:
    """Let `find-capacity` refuse the flags with the reason."""
    for name in ("--shape", "--replay", "--speed"):
        add(name, type=_not_searched, help=argparse.SUPPRESS)


def settings(values: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of LoadTestConfig that the flags set."""
    return {
        "shape": getattr(values, "shape", None),
        "replay": getattr(values, "replay", None),
        "speed": getattr(values, "speed", None),
        "stream": getattr(values, "stream", None),
        "mix": getattr(values, "mix", None),
    }


def name_parts(values: argparse.Namespace) -> list[str]:
    """Return the parts of a run's default name that the flags give: `ramp`, `replay`, `x2`."""
    found = settings(values)
    shape, factor = found["shape"], found["speed"]
    parts = [] if shape is None else [shape.kind]
    parts += [] if found["replay"] is None else ["replay"]
    return parts + ([] if factor is None else [f"x{factor:g}"])


def speed(text: str) -> float:
    """Parse the speed of a replay, for argparse."""
    slowest, fastest = SPEEDS
    try:
        factor = float(text)
    except ValueError:
        factor = math.nan
    if not slowest <= factor <= fastest:
        msg = f"{text!r} received, expected a speed of {slowest:g} to {fastest:g}"
        raise argparse.ArgumentTypeError(msg)
    return factor


def _shape(text: str) -> ShapeSettings | None:
    try:
        shape = shape_text.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return None if shape.kind == "constant" else shape


def _not_searched(text: str) -> NoReturn:
    msg = (
        f"{text!r} received, but a search has steps of constant rates; expected no --shape and no "
        "--replay, use `python -m loadtest run`"
    )
    raise argparse.ArgumentTypeError(msg)
