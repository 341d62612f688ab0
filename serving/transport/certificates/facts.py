"""What a certificate says about itself: whose it is, and when it expires."""

import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from serving.errors import ConfigError
from serving.transport.tls import TlsConfig, pem_files


@dataclass(frozen=True, kw_only=True)
class CertificateFacts:
    """Facts of a server's certificate.

    Attributes:
        subject: The subject, for example `CN=serving.example.com, O=Example`.
        expires_at: When the certificate expires (seconds since 1970).
        host: A name or address of a host that the certificate is for; None if it has none.
    """

    subject: str
    expires_at: float
    host: str | None = None

    @classmethod
    def of(cls, config: TlsConfig) -> "CertificateFacts":
        """Read the facts of the first certificate, which is the server's own.

        Raises:
            ConfigError: the certificate cannot be decoded, or the system cannot create files in
                memory.
        """
        with pem_files(config) as files:
            # Python decodes certificates for `SSLSocket.getpeercert`, and outside of a connection
            # only in this function, which its own tests use.
            try:
                decoded = ssl._ssl._test_decode_cert(files.certificate)  # type: ignore[attr-defined]  # noqa: SLF001
            except (ssl.SSLError, ValueError) as error:
                msg = f"the certificate's subject and dates cannot be read ({error})"
                raise ConfigError(msg) from error
        names = ((key, value) for relative in decoded["subject"] for key, value in relative)
        return cls(
            subject=", ".join(f"{_SHORT.get(key, key)}={value}" for key, value in names),
            expires_at=float(ssl.cert_time_to_seconds(decoded["notAfter"])),
            host=_host(decoded.get("subjectAltName", ())),
        )

    def __str__(self) -> str:
        expiry = datetime.fromtimestamp(self.expires_at, UTC)
        return f"{self.subject or 'no subject'}, valid until {expiry:%Y-%m-%d %H:%M:%S} UTC"


def _host(names: Iterable[tuple[str, str]]) -> str | None:
    """Return the first name of a host, or else the first address."""
    hosts = [(kind != "DNS", value) for kind, value in names if kind in {"DNS", "IP Address"}]
    if not hosts:
        return None
    # Any first label matches that of a wildcard.
    return min(hosts, key=lambda host: host[0])[1].replace("*", "host")


# Usual abbreviations of the parts of a subject (RFC 4514).
_SHORT = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "countryName": "C",
}
