"""The client that the flags of a command line describe."""

import argparse
import ssl
from pathlib import Path

import grpc

from serving.clients.blocking import PredictClient
from serving.clients.commands.usage_error import UsageError
from serving.connection.credentials import tls_credentials
from serving.connection.retries import RetryPolicy

_COMPRESSIONS = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}


def client_of(values: argparse.Namespace) -> PredictClient:
    """Return the client; it is not connected yet.

    Raises:
        UsageError: a file cannot be read, or flags contradict each other.
    """
    codes = [grpc.StatusCode[name] for name in values.retry_code or ("UNAVAILABLE",)]
    if values.retry_code and not values.retries:
        msg = "--retry-code received without --retries, expected both"
        raise UsageError(msg)
    try:
        return PredictClient(
            values.target,
            timeout=values.timeout,
            credentials=_credentials(values),
            api_key=_api_key(values.api_key_file),
            metadata=values.header,
            retries=RetryPolicy(retries=values.retries, codes=codes),
            compression=_COMPRESSIONS.get(values.compression),
            wait_for_ready=values.wait_for_ready,
        )
    except (OSError, ValueError) as error:
        raise UsageError.of(error) from error


def _credentials(values: argparse.Namespace) -> grpc.ChannelCredentials | None:
    """Return TLS credentials; None without a flag for TLS.

    Raises:
        OSError: a file cannot be read.
        ValueError: only one of certificate and key is given, or a file is not PEM.
    """
    if not (values.tls or values.ca or values.cert or values.key):
        return None
    credentials = tls_credentials(values.ca, values.cert, values.key)
    # gRPC does not check the files: its calls would fail, and only its log would say why.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if values.ca is not None:
            context.load_verify_locations(values.ca)
        if values.cert is not None:
            context.load_cert_chain(values.cert, values.key)
    except ssl.SSLError as error:
        files = " ".join(str(file) for file in (values.ca, values.cert, values.key) if file)
        msg = f"{files}: no PEM file, or the key is not that of the certificate: {error.reason}"
        raise ValueError(msg) from error
    return credentials


def _api_key(file: Path | None) -> str | None:
    """Return the API key in a file; None without a file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no text, or none that can be sent.
    """
    if file is None:
        return None
    try:
        key = file.read_text("utf-8").strip()
    except UnicodeDecodeError:
        key = ""
    if not key:
        msg = f"{file} holds no API key: expected one line of printable ASCII characters"
        raise ValueError(msg)
    return key
