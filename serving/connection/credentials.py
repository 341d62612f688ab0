"""What a client shows a server: its certificate, an API key and further metadata."""

import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import grpc


def tls_credentials(
    ca_file: str | PathLike[str] | None = None,
    cert_file: str | PathLike[str] | None = None,
    key_file: str | PathLike[str] | None = None,
) -> grpc.ChannelCredentials:
    """Return TLS credentials from PEM files.

    Args:
        ca_file: Certificates of the authorities to trust; None for gRPC's bundled ones.
        cert_file: The client's certificate, if the server demands one.
        key_file: Its key, not encrypted.

    Raises:
        OSError: a file cannot be read.
        ValueError: only one of certificate and key is given.
    """
    if (cert_file is None) != (key_file is None):
        given, missing = ("key", "certificate") if cert_file is None else ("certificate", "key")
        msg = f"a client's {given} is given without its {missing}; expected both or neither"
        raise ValueError(msg)
    return grpc.ssl_channel_credentials(
        *(
            None if file is None else Path(file).read_bytes()
            for file in (ca_file, key_file, cert_file)
        )
    )


def call_metadata(
    api_key: str | None, metadata: Sequence[tuple[str, str]] = ()
) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a call: an API key as `authorization: Bearer KEY`, then the others.

    Args:
        api_key: The key; None for none.
        metadata: Further names and values; names are sent in lower case.

    Raises:
        ValueError: a name or a value cannot be sent; the message does not contain the value.
    """
    own = [] if api_key is None else [("authorization", f"Bearer {api_key}")]
    pairs = tuple((name.lower(), value) for name, value in (*own, *metadata))
    for name, value in pairs:
        if not re.fullmatch(r"[a-z0-9_.-]+", name):
            msg = f"metadata has the name {name!r}, expected letters, digits, '-', '_' and '.'"
            raise ValueError(msg)
        if not re.fullmatch(r"[ -~]*", value):
            msg = f"the value of the metadata {name!r} has characters other than printable ASCII"
            raise ValueError(msg)
    return pairs
