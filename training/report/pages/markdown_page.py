"""A report as Markdown, with its pictures as SVG files beside it."""

import re
from collections.abc import Iterable, Iterator, Sequence

from training.pages.rendering import standalone_svg
from training.report.pages.blocks import (
    Block,
    Bullets,
    Cards,
    Code,
    Details,
    Gallery,
    Heading,
    Notice,
    Page,
    Paragraph,
    Picture,
    Table,
)

_FOLDER = "pictures"
# Punctuation with a meaning inside a line of Markdown, or of HTML in it.
_SPECIAL = re.compile(r"([\\`*_\[\]<>&|~#$])")


def render(page: Page) -> str:
    """Return the page as GitHub's Markdown; every text in it is escaped."""
    parts = [f"# {_escape(page.title)}", _escape(page.lead), *map(_block, page.blocks)]
    return "\n\n".join(parts) + "\n"


def pictures(page: Page) -> dict[str, str]:
    """Return the SVG files that the Markdown page shows, by path relative to the page."""
    return {
        f"{_FOLDER}/{picture.name}.svg": standalone_svg(picture.figure)
        for picture in _pictures(page.blocks)
        if picture.figure.drawing is not None
    }


def _pictures(blocks: Iterable[Block]) -> Iterator[Picture]:
    for block in blocks:
        if isinstance(block, Gallery):
            yield from block.pictures
        elif isinstance(block, Details):
            yield from _pictures(block.blocks)


def _block(block: Block) -> str:  # noqa: PLR0911  one for each kind
    match block:
        case Heading(text, level):
            return f"{'#' * level} {_escape(text)}"
        case Paragraph(text):
            return _escape(text)
        case Notice(text):
            return f"> **Note:** {_escape(text)}"
        case Bullets(items):
            return "\n".join(f"- {_escape(item)}" for item in items)
        case Code(text):
            longest = max(map(len, re.findall("`+", text)), default=0)
            fence = "`" * max(3, longest + 1)
            return f"{fence}text\n{text}\n{fence}"
        case Table(header, rows, text_columns):
            return _table(header, rows, text_columns)
        case Gallery(pictures):
            return "\n".join(map(_picture, pictures))
        case Cards(cards):
            return "\n".join(
                f"- {_escape(card.title)}: **{_escape(card.answer)}**. {_escape(card.text)}"
                for card in cards
            )
        case Details(summary, inside):
            return "\n\n".join([f"**{_escape(summary)}**", *map(_block, inside)])


def _table(
    header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: Sequence[int]
) -> str:
    rule = ["---" if column in text_columns else "---:" for column in range(len(header))]
    lines = [map(_escape, header), rule, *(map(_escape, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _picture(picture: Picture) -> str:
    drawing = picture.figure.drawing
    if drawing is None:
        return _escape(picture.figure.caption)
    return f"![{_escape(drawing.name)}]({_FOLDER}/{picture.name}.svg)"


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text).replace("\n", " ")
