"""TLS from TensorFlow Serving's `ssl_config_file`, which holds PEM texts and no file names."""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from serving.errors import ConfigError
from serving.protos.tfs_config_pb2 import SSLConfig
from serving.settings import text_protos


@dataclass(frozen=True, kw_only=True)
class TlsConfig:
    """What the server proves itself with, and whether clients must do so too.

    Attributes:
        certificate: PEM, the server's certificate first, then those that it builds on.
        key: PEM, not encrypted.
        client_ca: PEM of the authority that signs clients' certificates; empty if clients need
            none.
    """

    certificate: bytes
    key: bytes = field(repr=False)
    client_ca: bytes = b""


def read(path: Path) -> TlsConfig:
    """Read an `ssl_config_file`.

    Raises:
        ConfigError: the file cannot be read, lacks a text, or its texts do not go together; with
            file, line and reason.
    """
    file = text_protos.read(path, SSLConfig)
    message = file.message
    needed = ["server_key", "server_cert"] + ["custom_ca"] * message.client_verify
    for name in needed:
        if not getattr(message, name):
            reason = f"{name} is missing; expected it as PEM text, not as the name of a file"
            raise file.error(reason, r"client_verify" if name == "custom_ca" else r"\S")
    config = TlsConfig(
        certificate=message.server_cert.encode(),
        key=message.server_key.encode(),
        client_ca=message.custom_ca.encode() if message.client_verify else b"",
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pem_files(config) as files:
        try:
            # An empty password: OpenSSL would ask for one on the terminal if the key is encrypted.
            context.load_cert_chain(files.certificate, files.key, password="")
        except (ssl.SSLError, ValueError) as error:
            reason = (
                f"server_cert and server_key are no certificate and its unencrypted key in PEM "
                f"({error}); expected -----BEGIN CERTIFICATE----- and the key that it was made for"
            )
            raise file.error(reason, "server_cert") from error
        try:
            if files.client_ca:
                context.load_verify_locations(files.client_ca)
        except ssl.SSLError as error:
            reason = f"custom_ca is no certificate in PEM ({error})"
            raise file.error(reason, "custom_ca") from error
    return config


@dataclass(frozen=True, kw_only=True)
class PemFiles:
    """The same as files, for libraries that want names.

    Attributes:
        certificate: See `TlsConfig`.
        key: Likewise.
        client_ca: None if clients need no certificate.
    """

    certificate: Path
    key: Path
    client_ca: Path | None


@contextmanager
def pem_files(config: TlsConfig) -> Iterator[PemFiles]:
    """The PEM texts as files in this process's memory: no disk ever holds the key.

    Raises:
        ConfigError: the system has no such files.
    """
    descriptors: list[int] = []

    def file(content: bytes) -> Path:
        descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
        descriptors.append(descriptor)
        os.write(descriptor, content)
        return Path(f"/proc/self/fd/{descriptor}")

    try:
        yield PemFiles(
            certificate=file(config.certificate),
            key=file(config.key),
            client_ca=file(config.client_ca) if config.client_ca else None,
        )
    except OSError as error:
        msg = f"the certificates cannot be handed over: {error}; is /proc mounted?"
        raise ConfigError(msg) from error
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
