"""TLS from TensorFlow Serving's `ssl_config_file`, which holds PEM texts and no file names."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from serving.errors import ConfigError


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
