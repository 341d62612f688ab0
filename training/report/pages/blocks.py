"""What a report is made of, before it is HTML or Markdown.

Every text is plain: the two renderers escape it for their language.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure


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
    """Text that the reader must not miss: something is left out, or a figure has a catch."""

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
        header: Text of the column heads; empty ones are fine.
        rows: As many cells each as `header`.
        text_columns: Numbers of the columns that hold text; the others hold figures and are
            aligned to the right.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: Sequence[int] = (0,)


@dataclass(frozen=True)
class Picture:
    """A picture drawn when it is needed, once for each theme.

    Attributes:
        name: Stem of its file beside the Markdown page.
        alt: What it shows, for those who can't see it.
        draw: Draws it under the Matplotlib settings in force.
    """

    name: str
    alt: str
    draw: Callable[[], Figure]


@dataclass(frozen=True)
class Gallery:
    """One picture, or several beside each other where the page is wide enough."""

    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Card:
    """One answer at a glance: the question, the answer, why."""

    title: str
    answer: str
    text: str


@dataclass(frozen=True)
class Cards:
    """Cards beside each other where the page is wide enough."""

    cards: Sequence[Card]


@dataclass(frozen=True)
class Details:
    """Blocks that are folded away until the reader asks for them."""

    summary: str
    blocks: Sequence["Block"]


Block = Heading | Paragraph | Notice | Bullets | Code | Table | Gallery | Cards | Details


@dataclass(frozen=True)
class Page:
    """The whole report."""

    title: str
    lead: str
    blocks: Sequence[Block]
