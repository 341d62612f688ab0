r"""The subject of a client certificate, as text that can be compared.

RFC 4514 lets programs write one subject in several ways. h2corn writes `EMAIL=a@b.c,OU=Üb`, and
OpenSSL, for grpcio, `emailAddress=a@b.c,OU=\C3\9Cb`.
"""

import re
from functools import lru_cache

from serving.errors import ConfigError

_PAIR = re.compile(r"\\([0-9A-Fa-f]{2})|\\(.)", re.DOTALL)
_SEPARATOR = re.compile(r"((?:\\.|[^\\,+])*)([,+]|\Z)", re.DOTALL)
# Other names of the same type of attribute.
_SAME = {"E": "EMAILADDRESS", "EMAIL": "EMAILADDRESS", "1.2.840.113549.1.9.1": "EMAILADDRESS"}

# A subject's parts in their order; a part is a set of (type, value), mostly with one element.
Subject = tuple[frozenset[tuple[str, str]], ...]


@lru_cache(maxsize=1024)
def parse(text: str) -> Subject:
    """Parse a subject, such as `CN=trainer,O=Example`, the most specific part first.

    Raises:
        ConfigError: the text is not a subject as RFC 4514 writes it.
    """
    parts: list[frozenset[tuple[str, str]]] = []
    part: set[tuple[str, str]] = set()
    position = 0
    while position <= len(text):
        match = _SEPARATOR.match(text, position)
        if match is None:
            break
        kind, equals, value = match[1].partition("=")
        if not equals or not kind.strip():
            break
        kind = kind.strip().upper()
        part.add((_SAME.get(kind, kind), _unescaped(value.lstrip(" "))))
        if match[2] != "+":
            parts.append(frozenset(part))
            part = set()
        if not match[2]:
            return tuple(parts)
        position = match.end()
    msg = f"subject is {text!r}, expected an RFC 4514 name such as 'CN=trainer,O=Example'"
    raise ConfigError(msg)


def _unescaped(value: str) -> str:
    data = bytearray()
    position = 0
    for match in _PAIR.finditer(value):
        data += value[position : match.start()].encode()
        data += bytes.fromhex(match[1]) if match[1] else match[2].encode()
        position = match.end()
    data += value[position:].encode()
    return data.decode(errors="replace")
