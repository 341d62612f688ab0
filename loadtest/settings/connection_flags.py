"""The flags for a connection to a server: TLS, an API key, further headers and compression.

An API key comes from a file or a variable, because every user of a machine sees the command lines
of all its processes. Reports contain no header and no key.
"""

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import get_args

from loadtest.report_schema import Compression
from loadtest.settings.config import ConnectionConfig, Header, UsageError

API_KEY_VARIABLE = "LOADTEST_API_KEY"


def add_flags(add: Callable[..., object], **others: object) -> None:
    """Add the flags of a connection to a parser.

    Args:
        add: The parser's `add_argument`.
        others: Further arguments of `add` for each flag.
    """
    add("--tls", action="store_true", help="use TLS; --ca and --cert imply it", **others)
    for flag, text in (
        ("--ca", "trust the authorities in this PEM file (default: the system's)"),
        ("--cert", "client certificate (PEM), for a server that demands one"),
        ("--key", "key of --cert (PEM)"),
        ("--api-key-file", f"file with the API key (default: ${API_KEY_VARIABLE})"),
    ):
        add(flag, type=Path, metavar="FILE", help=text, **others)
    add(
        "--header",
        type=_header,
        action="append",
        metavar="NAME:VALUE",
        help="send this header or gRPC metadata, too; other users of this machine can see it",
        **others,
    )
    add(
        "--compression",
        choices=get_args(Compression),
        help="compress requests, and accept compressed answers (default: neither)",
        **others,
    )


def connection(
    values: argparse.Namespace, environment: Mapping[str, str] = os.environ
) -> ConnectionConfig:
    """Return the connection that the flags describe.

    Raises:
        UsageError: a file cannot be read, --cert or --key is given alone, or the key cannot be
            sent.
    """
    if (values.cert is None) != (values.key is None):
        msg = "--cert and --key need each other: expected both or neither"
        raise UsageError(msg)
    key = _api_key(values.api_key_file, environment)
    own = () if key is None else (("authorization", f"Bearer {key}"),)
    config = ConnectionConfig(
        tls=values.tls or values.ca is not None or values.cert is not None,
        ca=values.ca,
        cert=values.cert,
        key=values.key,
        headers=(*own, *(values.header or ())),
        compression=values.compression,
    )
    config.ssl_context()  # to report a wrong file before anything is sent
    return config


def _api_key(file: Path | None, environment: Mapping[str, str]) -> str | None:
    """Return the API key; None if there is none.

    Raises:
        UsageError: the file cannot be read, or the key cannot be sent in a header.
    """
    source = f"${API_KEY_VARIABLE}" if file is None else str(file)
    try:
        text = environment.get(API_KEY_VARIABLE) if file is None else file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"cannot read an API key from {source}: {error}"
        raise UsageError(msg) from error
    key = (text or "").strip()
    if (file is not None and not key) or not all("!" <= letter <= "~" for letter in key):
        msg = f"{source} holds no API key: expected printable ASCII characters without spaces"
        raise UsageError(msg)
    return key or None


def _header(text: str) -> Header:
    """Parse `NAME:VALUE`, for argparse."""
    name, colon, value = text.partition(":")
    name, value = name.strip().lower(), value.strip()
    named = name and all(letter.isalnum() or letter in "-_." for letter in name)
    if not colon or not named or not f"{name}{value}".isascii() or not value.isprintable():
        msg = f"{name[:40]!r}... received, expected NAME:VALUE in printable ASCII"
        raise argparse.ArgumentTypeError(msg)
    return name, value


def as_flags(values: argparse.Namespace) -> list[str]:
    """Return the flags that give another process of this package the same connection.

    The API key is not among them: the other process reads its file or inherits the variable.
    """
    files = {"ca": values.ca, "cert": values.cert, "key": values.key}
    files["api-key-file"] = values.api_key_file
    flags = [f"--{name}={path}" for name, path in files.items() if path is not None]
    flags += ["--tls"] if values.tls else []
    flags += [f"--compression={values.compression}"] if values.compression else []
    return flags + [f"--header={name}:{value}" for name, value in values.header or ()]
