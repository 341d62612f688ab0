"""Reads settings files in protobuf's text format, as used by TensorFlow Serving.

Each error or warning names the file, the line and the reason.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Generic, TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from serving.errors import ConfigError
from serving.protos.pool import POOL
from serving.settings.notices import warn_once

M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class TextProto(Generic[M]):
    """A parsed file.

    Attributes:
        path: Path of the file.
        text: Its text.
        message: The parsed message.
    """

    path: Path
    text: str
    message: M

    def place(self, pattern: str, occurrence: int = 0) -> str:
        """Return the place of a pattern's match in the text, as `path:line`; line 1 if none.

        Args:
            pattern: Regular expression.
            occurrence: Index of the match, counted from 0.
        """
        matches = [match.start() for match in re.finditer(pattern, self.text)]
        start = matches[occurrence] if occurrence < len(matches) else 0
        return f"{self.path}:{self.text.count(chr(10), 0, start) + 1}"

    def error(self, reason: str, pattern: str, occurrence: int = 0) -> ConfigError:
        """Return an error with the place of a pattern's match.

        Args:
            reason: What was received and expected, and the way out.
            pattern: See `place`.
            occurrence: See `place`.
        """
        return ConfigError(f"{self.place(pattern, occurrence)}: {reason}")

    def warn(self, reason: str, pattern: str, occurrence: int = 0) -> None:
        """Log a warning with the place of a pattern's match, once; arguments as for `error`."""
        warn_once(f"{self.place(pattern, occurrence)}: {reason}")


def read(path: Path, message_type: type[M], *, known: frozenset[str] | None = None) -> TextProto[M]:
    """Read and parse a file.

    Args:
        path: The file.
        message_type: Type of the message in the file.
        known: Names of the fields that this server knows, at any depth; other fields are ignored
            with a warning. None: a field that is not in `message_type` is an error.

    Raises:
        ConfigError: the file cannot be read, or does not contain such a message.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror or error}; check its path and permissions"
        raise ConfigError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path} is not UTF-8 text: {error}; expected protobuf's text format"
        raise ConfigError(msg) from error
    return parse(path, text, message_type, known=known)


def parse(
    path: Path, text: str, message_type: type[M], *, known: frozenset[str] | None = None
) -> TextProto[M]:
    """Parse a file's text; arguments and errors as for `read`."""
    try:
        message = text_format.Parse(
            text,
            message_type(),
            allow_unknown_field=known is not None,
            descriptor_pool=POOL,
        )
    except text_format.ParseError as error:
        # The library's message begins with "line:column : " and may quote the line. Both are
        # removed: the line may contain a private key.
        reason = re.sub(r"^\d+:\d+ : ('.*': )?", "", str(error), flags=re.DOTALL).rstrip(".")
        line, column = error.GetLine() or 1, error.GetColumn() or 1
        name = message_type.DESCRIPTOR.full_name
        msg = (
            f"{path}:{line}: Error parsing text-format {name}: {line}:{column}: {reason}; expected "
            f"the fields of {name} in text format"
        )
        raise ConfigError(msg) from error
    file = TextProto(path, text, message)
    if known is not None:
        for field in dict.fromkeys(_unknown_fields(text, known)):
            file.warn(f"{field} has no effect here: this server has no such setting", field)
    return file


def field_names(*messages: str) -> frozenset[str]:
    """Return the names of all fields of messages, at any depth.

    Args:
        messages: Full names of the message types.
    """
    names: set[str] = set()
    for message in messages:
        for field in POOL.FindMessageTypeByName(message).fields:
            names.add(field.name)
            if field.message_type is not None:
                names |= field_names(field.message_type.full_name)
    return frozenset(names)


def _unknown_fields(text: str, known: frozenset[str]) -> Iterator[str]:
    """Yield the unknown field names of a parsed text, without those inside unknown fields."""
    tokenizer = text_format.Tokenizer(text.splitlines())
    tokens = []
    while not tokenizer.AtEnd():
        tokens.append(tokenizer.token)
        tokenizer.NextToken()
    opening, closing, colon = {"{", "<"}, {"}", ">"}, {":"}
    follows_unknown, depth = False, 0
    for token, following in pairwise(tokens):
        if depth:
            depth += (token in opening) - (token in closing)
        elif follows_unknown and token not in colon:
            follows_unknown, depth = False, int(token in opening)
        elif token.isidentifier() and following in opening | colon and token not in known:
            follows_unknown = True
            yield token
