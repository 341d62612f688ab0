"""Figures that a report lacks: each "n/a" has its reason, and a table's note gives all reasons."""

from collections.abc import Iterable
from typing import Self


class NotAvailable(str):
    """The text "n/a" in a cell, with the reason why there is no figure.

    Attributes:
        why: The reason in words: "p99 needs 662 answers in a run".
    """

    __slots__ = ("why",)
    why: str

    def __new__(cls, why: str) -> Self:
        """Return the text of a figure that is missing for this reason."""
        cell = super().__new__(cls, "n/a")
        cell.why = why
        return cell

    @property
    def in_words(self) -> str:
        """The text with its reason: "n/a (p99 needs 662 answers in a run)"."""
        return f"{self} ({self.why})"


def with_reason(cell: str) -> str:
    """Return a cell as part of a sentence: "n/a" with its reason, another text unchanged."""
    return cell.in_words if isinstance(cell, NotAvailable) else cell


def note(rows: Iterable[Iterable[object]]) -> str:
    """Return why cells of a table have no figure, each reason once.

    Returns:
        For example "n/a: p99 needs 662 answers in a run."; empty if no cell is n/a.
    """
    reasons = dict.fromkeys(
        cell.why for row in rows for cell in row if isinstance(cell, NotAvailable)
    )
    return f"n/a: {'; '.join(reasons)}." if reasons else ""
