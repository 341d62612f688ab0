"""The blocks of a report, before it is HTML or Markdown.

Every text is plain: the HTML template and the Markdown renderer escape it for their language.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from training.pages.drawing import Figure


@dataclass(frozen=True)
class Heading:
    """A heading; `level` 2 begins a section, 3 a part of one."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True)
class Notice:
    """Highlighted text: it says what is left out, or what limits a figure."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: Sequence[str]


@dataclass(frozen=True)
class Code:
    """Commands to copy."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        header: Heads of the columns; a table whose heads are all empty is a list of facts.
        rows: Rows with as many cells as `header`.
        text_columns: Numbers of the columns that hold text; the others hold figures and are
            aligned to the right.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: Sequence[int] = (0,)

    @property
    def number_columns(self) -> list[int]:
        """Numbers of the columns that hold figures."""
        return [column for column in range(len(self.header)) if column not in self.text_columns]

    @property
    def style(self) -> str:
        """The table's style in the HTML page: "wide" tables keep their first column in view."""
        if not any(self.header):
            return "facts"
        return "wide" if len(self.header) > 8 else ""


@dataclass(frozen=True)
class Picture:
    """A figure and its file's name.

    Attributes:
        name: Stem of the file beside the Markdown page.
        figure: The figure. Without a drawing, pages show its caption in its place.
    """

    name: str
    figure: Figure


@dataclass(frozen=True)
class Gallery:
    """Pictures, several in a row if the page is wide enough."""

    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Card:
    """A question, its answer, and the reason."""

    title: str
    answer: str
    text: str


@dataclass(frozen=True)
class Cards:
    """Cards, several in a row if the page is wide enough."""

    cards: Sequence[Card]


@dataclass(frozen=True)
class Details:
    """Blocks that are hidden until the reader opens them."""

    summary: str
    blocks: Sequence["Block"]


Block = Heading | Paragraph | Notice | Bullets | Code | Table | Gallery | Cards | Details


@dataclass(frozen=True)
class Page:
    """The whole report."""

    title: str
    lead: str
    blocks: Sequence[Block]
