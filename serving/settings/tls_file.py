"""Reads certificates and keys from TensorFlow Serving's `ssl_config_file`, as PEM texts."""

import ssl
from pathlib import Path

from serving.protos.tfs_config_pb2 import SSLConfig
from serving.settings import text_protos
from serving.transport.tls import PortCertificates, TlsConfig, pem_files


def read_both(grpc: Path | None, rest: Path | None) -> PortCertificates:
    """Read the files of the gRPC port and of the REST port; None for a port without TLS.

    Raises:
        ConfigError: see `read`.
    """
    return PortCertificates(
        grpc=None if grpc is None else read(grpc), rest=None if rest is None else read(rest)
    )


def read(path: Path) -> TlsConfig:
    """Read an `ssl_config_file`.

    Raises:
        ConfigError: the file cannot be read, a text is missing or invalid, or certificate and key
            do not match; with file, line and reason.
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
            # Without a password, OpenSSL would ask for one on the terminal if the key is encrypted.
            context.load_cert_chain(files.certificate, files.key, password="")
        except (ssl.SSLError, ValueError) as error:
            reason = (
                f"server_cert and server_key are not a certificate and its unencrypted key in PEM "
                f"({error}); expected -----BEGIN CERTIFICATE----- and the key that it was made for"
            )
            raise file.error(reason, "server_cert") from error
        try:
            if files.client_ca:
                context.load_verify_locations(files.client_ca)
        except ssl.SSLError as error:
            reason = f"custom_ca is not a certificate in PEM ({error})"
            raise file.error(reason, "custom_ca") from error
    return config
