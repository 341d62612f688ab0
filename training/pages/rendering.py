"""Jinja2 environments for reports, over the kit's own templates.

A report's template extends `kit/base.html` and imports the macros of `kit/macros.html`. Every text
is escaped, and a name that a template does not know is an error.
"""

import re
from collections.abc import Iterator

from jinja2 import (
    ChoiceLoader,
    Environment,
    PackageLoader,
    PrefixLoader,
    StrictUndefined,
)
from markupsafe import Markup

from training.pages.drawing import Figure

# Characters that XML and HTML forbid even as references; a server's error message may have them.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
# A digest or a commit: lines may break inside it.
_DIGEST = re.compile("([0-9a-f]{40,})")


def render(package: str, template: str, **values: object) -> str:
    """Return a page.

    Args:
        package: The package whose folder holds the template.
        template: File name of the template.
        **values: The names that the template uses.
    """
    loaders = {"kit": PackageLoader("training.pages", "templates")}
    environment = Environment(
        loader=ChoiceLoader([PrefixLoader(loaders), PackageLoader(package, "")]),
        autoescape=True,
        finalize=_allowed,
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["digests"] = _digests
    environment.filters["kind"] = lambda value: type(value).__name__
    environment.filters["unbroken"] = _unbroken
    return environment.get_template(template).render(**values)


def standalone_svg(figure: Figure) -> str:
    """Return a figure as an SVG file with title, legend and both colour schemes in it.

    Raises:
        ValueError: The figure has no drawing.
    """
    if figure.drawing is None:
        msg = f"figure {figure.title!r} has no drawing: {figure.caption}"
        raise ValueError(msg)
    return render("training.pages", "templates/figure.svg", figure=figure)


def _allowed(value: object) -> object:
    if isinstance(value, str) and not isinstance(value, Markup):
        return _FORBIDDEN.sub(_replacement, value)
    return value


def _replacement(found: re.Match[str]) -> str:
    """Return the code of a surrogate (a byte of a file name that is not UTF-8), or U+FFFD."""
    character = found.group()
    if "\ud800" <= character <= "\udfff":
        return f"\\u{ord(character):04x}"
    return "\N{REPLACEMENT CHARACTER}"


def _digests(text: str) -> Iterator[tuple[str, bool]]:
    """Split a text into parts; the second value is whether the part is a digest."""
    for number, part in enumerate(_DIGEST.split(text)):
        if part:
            yield part, number % 2 == 1


def _unbroken(text: str) -> str:
    """Return the text without line breaks between a figure and its per cent sign."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")
