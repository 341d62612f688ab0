"""The text of --shape: how the rate of an open loop changes over the run."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

ShapeKind = Literal["constant", "ramp", "steps", "bursts", "day"]

_FORMS: dict[ShapeKind, str] = {
    "constant": "constant",
    "ramp": "ramp:FROM..TO",
    "steps": "steps:RATE,RATE,...",
    "bursts": "bursts:BASE,BURST,LENGTH,INTERVAL",
    "day": "day:TROUGH..PEAK",
}
FORMS = ", ".join(_FORMS.values())
# The fewest and the most numbers of each kind.
_COUNTS: dict[ShapeKind, tuple[int, float]] = {
    "constant": (0, 0),
    "ramp": (2, 2),
    "steps": (2, math.inf),
    "bursts": (4, 4),
    "day": (2, 2),
}


@dataclass(frozen=True, kw_only=True)
class ShapeSettings:
    """A shape as the user gave it.

    Attributes:
        text: The text of --shape.
        kind: Its first word.
        numbers: The numbers after it: rates in requests a second; of bursts the base rate, the
            rate of a burst, its length and the interval between two starts, both in seconds.
    """

    text: str
    kind: ShapeKind
    numbers: tuple[float, ...]


def parse(text: str) -> ShapeSettings:
    """Parse the text of --shape.

    Raises:
        ValueError: It has no form of `FORMS`, a rate is below 0, none is above 0, or a burst is not
            shorter than its interval.
    """
    word, colon, rest = text.partition(":")
    kind = next((kind for kind in get_args(ShapeKind) if kind == word), None)
    if kind is None or bool(colon) != (kind != "constant"):
        msg = f"{text!r} received, expected one of {FORMS}"
        raise ValueError(msg)
    numbers = _numbers(rest, ".." if kind in {"ramp", "day"} else ",") if colon else ()
    fewest, most = _COUNTS[kind]
    if not fewest <= len(numbers) <= most:
        msg = f"{text!r} received, expected {_FORMS[kind]} with numbers of 0 or more"
        raise ValueError(msg)
    if kind == "bursts" and not 0 < numbers[2] < numbers[3]:
        msg = (
            f"{text!r} received: bursts of {numbers[2]:g} s every {numbers[3]:g} s, expected a "
            "LENGTH above 0 and below INTERVAL, in seconds"
        )
        raise ValueError(msg)
    rates = numbers[:2] if kind == "bursts" else numbers
    if rates and not max(rates):
        msg = f"{text!r} received, expected a rate above 0"
        raise ValueError(msg)
    if kind == "day" and numbers[0] > numbers[1]:
        msg = f"{text!r} received, expected a TROUGH of at most PEAK"
        raise ValueError(msg)
    return ShapeSettings(text=text, kind=kind, numbers=numbers)


def _numbers(text: str, separator: str) -> tuple[float, ...]:
    """Return the numbers between separators; none if a part is no number of 0 or more."""
    try:
        numbers = tuple(float(part) for part in text.split(separator))
    except ValueError:
        return ()
    return numbers if all(0 <= number < math.inf for number in numbers) else ()
