"""Numbers as text with their units, and lists as parts of sentences."""

from collections.abc import Iterable


def percent(share: float, digits: int = 2) -> str:
    """Format a share of 1 in per cent: 0.8224 is "82.24 %"."""
    return f"{100 * share:.{digits}f} %"


def interval(bounds: Iterable[float], digits: int = 2) -> str:
    """Format two shares of 1 in per cent: "81.48 to 82.98 %"."""
    low, high = bounds
    return f"{100 * low:.{digits}f} to {100 * high:.{digits}f} %"


def points(difference: float) -> str:
    """Format a difference of two shares in percentage points, with its sign: "+2.21"."""
    return f"{100 * difference:+.2f}"


def nats(loss: float) -> str:
    """Format a cross-entropy: "0.5401", or "1.09e+08" of a training that diverged."""
    return f"{loss:.4f}" if loss < 1000 else f"{loss:.3g}"


def duration(seconds: float) -> str:
    """Format a time in its two largest units: "8.4 s", "16 min 46 s", "1 h 12 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def millions(count: int) -> str:
    """Format a large count: "122,570" below a million, "5.87 million" from there on."""
    if count < 1_000_000:
        return f"{count:,}"
    if count < 1_000_000_000:
        return f"{count / 1e6:.3g} million"
    return f"{count / 1e9:.3g} billion"


def megabytes(count: int) -> str:
    """Format bytes in units of a million: "0.49 MB"."""
    return f"{count / 1e6:.2f} MB" if count < 10_000_000 else f"{count / 1e6:.1f} MB"


def times(ratio: float) -> str:
    """Format a ratio of 1 or more: "1.4 times", "13 times"."""
    return f"{ratio:.1f} times" if ratio < 10 else f"{ratio:.0f} times"


def listing(items: Iterable[str]) -> str:
    """Join items as part of a sentence: "a, b and c"."""
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last
