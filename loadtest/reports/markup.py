"""HTML and SVG as trees of elements: text cannot become markup, whoever wrote it."""

import re
from collections.abc import Iterable
from xml.etree.ElementTree import Element, tostring

__all__ = ["Child", "Element", "element", "page"]

# What XML forbids even as a reference, and a server's message may hold: it would spoil the page.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

Child = Element | str | None


def element(tag: str, *children: Child | Iterable[Child], **attributes: object) -> Element:
    """An element.

    Args:
        tag: Its name.
        children: Elements and text in order, or iterables of them; None is left out.
        attributes: By name, with `_` for `-` and a trailing `_` dropped (`class_`,
            `stroke_width`); None leaves one out, and numbers are written with two digits.
    """
    made = Element(tag, {_name(key): _text(value) for key, value in _given(attributes)})
    for child in _flat(children):
        if isinstance(child, Element):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + _text(child)
        else:
            made.text = (made.text or "") + _text(child)
    return made


def page(root: Element) -> str:
    """A whole HTML document."""
    return "<!doctype html>\n" + tostring(root, encoding="unicode", method="html") + "\n"


def _given(attributes: dict[str, object]) -> Iterable[tuple[str, object]]:
    return ((key, value) for key, value in attributes.items() if value is not None)


def _flat(children: Iterable[Child | Iterable[Child]]) -> Iterable[Element | str]:
    for child in children:
        if isinstance(child, Element | str):
            yield child
        elif child is not None:
            yield from _flat(child)


def _name(key: str) -> str:
    return key.removesuffix("_").replace("_", "-")


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", str(value))
