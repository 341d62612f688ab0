"""Path templates of OpenAPI, such as `/v2/models/{name}/infer`, made from the patterns of routes.

OpenAPI has no optional parts: a pattern with one becomes several templates. The patterns of this
server use few features of regular expressions, and any other feature is an error, so that a new
kind of pattern is not described wrongly.
"""

import re
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

_PARAMETER = re.compile(r"\(\?P<(?P<name>\w+)>(?P<values>[^()]+)\)")
_GROUP = re.compile(r"\(\?i?:")
_SPECIAL = frozenset(".^$*+?{}[]\\|()")


class PathTemplate(NamedTuple):
    """One form of a route's path.

    Attributes:
        path: The path, with parameters in braces.
        parameters: Name and pattern of the values of each parameter, in order.
    """

    path: str
    parameters: tuple[tuple[str, str], ...] = ()


def expand(pattern: re.Pattern[str]) -> list[PathTemplate]:
    """Return the forms of a pattern, the shortest first; an optional slash at the end is left out.

    Args:
        pattern: Literals, named groups, `(?:...)`, `(?i:...)`, `|` and `?`.

    Raises:
        ValueError: the pattern has another feature.
    """
    reader = _PatternReader(pattern.pattern)
    found = list(dict.fromkeys(reader.alternatives()))
    if not reader.at_end:
        raise reader.error()
    paths = {template.path for template in found}
    kept = [
        each
        for each in found
        if each.path == "/" or each.path.rstrip("/") not in paths - {each.path}
    ]
    return sorted(kept, key=lambda template: len(template.parameters))


class _PatternReader:
    """Reads a pattern from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at == len(self._text)

    def error(self) -> ValueError:
        msg = (
            f"route pattern {self._text!r} has at position {self._at} what a path template cannot "
            "express, expected literals, named groups, (?:...), (?i:...), | and ?; mark the route "
            "described=False, or write another pattern"
        )
        return ValueError(msg)

    def alternatives(self) -> Iterator[PathTemplate]:
        """Read up to the end of the pattern or of a group."""
        yield from self._sequence()
        while self._take("|"):
            yield from self._sequence()

    def _sequence(self) -> list[PathTemplate]:
        parts: list[list[PathTemplate]] = []
        while not self.at_end and self._text[self._at] not in "|)":
            part = self._item()
            if self._take("?"):
                part = [PathTemplate(""), *part]
            parts.append(part)
        return [
            PathTemplate(
                "".join(each.path for each in chosen),
                tuple(one for each in chosen for one in each.parameters),
            )
            for chosen in product(*parts)
        ]

    def _item(self) -> list[PathTemplate]:
        if match := _PARAMETER.match(self._text, self._at):
            self._at = match.end()
            return [PathTemplate(f"{{{match['name']}}}", ((match["name"], match["values"]),))]
        if match := _GROUP.match(self._text, self._at):
            self._at = match.end()
            inner = list(self.alternatives())
            if not self._take(")"):
                raise self.error()
            return inner
        if self._take("\\"):
            if self.at_end or self._text[self._at].isalnum():
                raise self.error()
        elif self._text[self._at] in _SPECIAL:
            raise self.error()
        return [PathTemplate(self._next())]

    def _next(self) -> str:
        self._at += 1
        return self._text[self._at - 1]

    def _take(self, text: str) -> bool:
        """Step over a text if it comes next; return whether it did."""
        if self._text.startswith(text, self._at):
            self._at += len(text)
            return True
        return False
