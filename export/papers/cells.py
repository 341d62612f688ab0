"""Markdown tables, and figures formatted for their cells."""

from collections.abc import Iterable, Sequence

NONE = "-"  # a figure that is not measured or not known
_COMMIT_DIGITS = 7


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table without a newline at its end."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(share: float | None) -> str:
    """A share as `82.24 %`."""
    return NONE if share is None else f"{100 * share:.2f} %"


def accuracy(share: float | None, interval: Sequence[float] | None, n: int | None = None) -> str:
    """A share with its interval and the number of images: `82.24 % (81.48 to 82.98), n = 10,000`.

    Args:
        share: From 0 to 1; None if it is not known.
        interval: Lower and upper bound, from 0 to 1; None to leave the interval out.
        n: Number of images; None to leave it out.
    """
    if share is None:
        return NONE
    bounds = f" ({' to '.join(f'{100 * bound:.2f}' for bound in interval)})" if interval else ""
    return f"{percent(share)}{bounds}{'' if n is None else f', n = {n:,}'}"


def points(difference: float) -> str:
    """A difference of two shares as `+0.35`, in percentage points."""
    return f"{100 * difference:+.2f}"


def megabytes(size: int | None) -> str:
    """Bytes as `0.49 MB`."""
    return NONE if size is None else f"{size / 1e6:.2f} MB"


def duration(seconds: float | None) -> str:
    """Seconds as `17 min` or `2 h 5 min`."""
    if seconds is None:
        return NONE
    minutes = round(seconds / 60)
    if minutes == 0:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def commit(name: str | None) -> str:
    """The first 7 digits of a commit, with "-dirty" if the name ends with it."""
    if not name:
        return NONE
    digits, _, rest = name.partition("-")
    return digits[:_COMMIT_DIGITS] + (f"-{rest}" if rest else "")
