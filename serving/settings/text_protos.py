"""Settings files in protobuf's text format, as TensorFlow Serving has them.

Whatever is wrong with one is told with the file, the line and the reason.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from serving.errors import ConfigError

M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class TextProto(Generic[M]):
    """A file that was understood.

    Attributes:
        path: Where it lies.
        text: What it holds.
        message: What that means.
    """

    path: Path
    text: str
    message: M

    def error(self, reason: str, pattern: str, occurrence: int = 0) -> ConfigError:
        """An error at the place that a pattern finds; line 1 if it finds none.

        Args:
            reason: What was received and expected, and the way out.
            pattern: Regular expression.
            occurrence: Which of its matches, counted from 0.
        """
        matches = [match.start() for match in re.finditer(pattern, self.text)]
        start = matches[occurrence] if occurrence < len(matches) else 0
        line = self.text.count("\n", 0, start) + 1
        return ConfigError(f"{self.path}:{line}: {reason}")


def read(path: Path, message_type: type[M]) -> TextProto[M]:
    """Read a file.

    Args:
        path: The file.
        message_type: The message that it holds.

    Raises:
        ConfigError: the file cannot be read, or does not hold that message.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror or error}; check the path and its rights"
        raise ConfigError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path} is no text in UTF-8: {error}; expected protobuf's text format"
        raise ConfigError(msg) from error
    return parse(path, text, message_type)


def parse(path: Path, text: str, message_type: type[M]) -> TextProto[M]:
    """Understand a file's text; arguments and errors as for `read`."""
    try:
        message = text_format.Parse(text, message_type())
    except text_format.ParseError as error:
        # The library's message begins with "line:column : " and may quote the line, which can hold
        # a private key.
        reason = re.sub(r"^\d+:\d+ : ('.*': )?", "", str(error), flags=re.DOTALL).rstrip(".")
        msg = (
            f"{path}:{error.GetLine() or 1}: {reason}; expected the fields of "
            f"{message_type.DESCRIPTOR.full_name} in text format"
        )
        raise ConfigError(msg) from error
    return TextProto(path, text, message)
