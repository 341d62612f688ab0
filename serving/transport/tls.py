"""TLS from TensorFlow Serving's `ssl_config_file`, which holds PEM texts and no file names."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from serving.errors import ConfigError

# The ports that may have TLS.
Port = Literal["grpc", "rest"]


@dataclass(frozen=True, kw_only=True)
class TlsConfig:
    """The server's certificate and key, and the authority for client certificates if required.

    Attributes:
        certificate: PEM, the server's certificate first, then the rest of its chain.
        key: PEM, not encrypted.
        client_ca: PEM of the authority that signs the clients' certificates; empty if clients need
            no certificate.
    """

    certificate: bytes
    key: bytes = field(repr=False)
    client_ca: bytes = b""


class PortCertificates(NamedTuple):
    """The TLS settings of the two ports; None for plain text.

    Attributes:
        grpc: TLS of the gRPC port.
        rest: TLS of the REST port.
    """

    grpc: TlsConfig | None
    rest: TlsConfig | None

    def of(self, port: Port) -> TlsConfig | None:
        """Return the TLS settings of a port."""
        return self.grpc if port == "grpc" else self.rest

    @property
    def are_shared(self) -> bool:
        """Whether both ports have the same settings, perhaps none."""
        return self.grpc == self.rest


@dataclass(frozen=True, kw_only=True)
class PemFiles:
    """The PEM texts of a `TlsConfig` as files, for libraries that expect file names.

    Attributes:
        certificate: File of `TlsConfig.certificate`.
        key: File of `TlsConfig.key`.
        client_ca: File of `TlsConfig.client_ca`; None if clients need no certificate.
    """

    certificate: Path
    key: Path
    client_ca: Path | None


@contextmanager
def pem_files(config: TlsConfig) -> Iterator[PemFiles]:
    """Provide the PEM texts as files in memory while the context lasts: no disk holds the key.

    Raises:
        ConfigError: the system cannot create files in memory.
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
        msg = f"cannot create files in memory for the certificates: {error}; is /proc mounted?"
        raise ConfigError(msg) from error
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
