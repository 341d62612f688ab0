"""A report as one HTML file without any outside file: style and pictures are in it."""

import base64
import re
from collections.abc import Iterable
from html import escape
from importlib import resources

from training.report.pages import figures
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

# The browser itself refuses whatever is not in the file.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def render(page: Page) -> str:
    """The page as HTML; every text in it is escaped."""
    style = resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    anchors: dict[str, str] = {}
    for block in page.blocks:
        if isinstance(block, Heading) and block.level == 2:
            anchors[block.text] = f"section-{len(anchors) + 1}"
    links = "".join(f'<a href="#{key}">{escape(text)}</a>' for text, key in anchors.items())
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(page.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(page.title)}</h1>\n<p>{escape(page.lead)}</p>\n<nav>{links}</nav>\n"
        f"{_all(page.blocks, anchors)}</main>\n</body>\n</html>\n"
    )


def _all(blocks: Iterable[Block], anchors: dict[str, str]) -> str:
    return "".join(_block(block, anchors) for block in blocks)


def _block(block: Block, anchors: dict[str, str]) -> str:  # noqa: PLR0911  one for each kind
    match block:
        case Heading(text, level):
            key = anchors.get(text) if level == 2 else None
            name = f' id="{key}"' if key else ""
            return f"<h{level}{name}>{escape(text)}</h{level}>\n"
        case Paragraph(text):
            return f"<p>{_text(text)}</p>\n"
        case Notice(text):
            return f'<p class="notice">{_text(text)}</p>\n'
        case Bullets(items):
            return f"<ul>{''.join(f'<li>{_text(item)}</li>' for item in items)}</ul>\n"
        case Code(text):
            return f"<pre><code>{escape(text)}</code></pre>\n"
        case Table():
            return _table(block)
        case Gallery(pictures):
            inner = "".join(f"<figure>{_picture(picture)}</figure>" for picture in pictures)
            return f'<div class="gallery">{inner}</div>\n'
        case Cards(cards):
            inner = "".join(
                f"<article><h3>{escape(card.title)}</h3><p><strong>{escape(card.answer)}</strong>"
                f"</p><p>{_text(card.text)}</p></article>"
                for card in cards
            )
            return f'<div class="cards">{inner}</div>\n'
        case Details(summary, inside):
            return (
                f"<details><summary>{escape(summary)}</summary>\n{_all(inside, anchors)}"
                "</details>\n"
            )


def _text(text: str) -> str:
    """Escaped text in which no line ends between a figure and its per cent sign."""
    return escape(text).replace(" %", "&nbsp;%")


def _table(table: Table) -> str:
    def cells(texts: Iterable[str], tag: str) -> str:
        parts = []
        for column, text in enumerate(texts):
            kind = "" if column in table.text_columns else ' class="figure"'
            # A digest may break anywhere, other text at its spaces.
            shown = re.sub(r"[0-9a-f]{40,}", r"<code>\g<0></code>", escape(text))
            parts.append(f"<{tag}{kind}>{shown}</{tag}>")
        return f"<tr>{''.join(parts)}</tr>"

    head = f"<thead>{cells(table.header, 'th')}</thead>" if any(table.header) else ""
    body = "".join(cells(row, "td") for row in table.rows)
    kind = "table wide" if len(table.header) > 8 else "table"
    return f'<div class="{kind}" tabindex="0"><table>{head}<tbody>{body}</tbody></table></div>\n'


def _picture(picture: Picture) -> str:
    light, dark = (
        base64.b64encode(figures.svg(picture.draw, theme)).decode() for theme in ("light", "dark")
    )
    kind = "data:image/svg+xml;base64,"
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{kind}{dark}">'
        f'<img alt="{escape(picture.alt)}" src="{kind}{light}"></picture>'
    )
