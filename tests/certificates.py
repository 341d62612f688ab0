"""Certificates for tests, made with the `openssl` command (3.0 or newer)."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

_VALID_DAYS = "2"
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, both PEM."""

    certificate: str
    key: str


class Authority:
    """Signs certificates, by default for localhost and 127.0.0.1."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        """Make the authority's own certificate in a folder."""
        self._folder = folder
        folder.mkdir()
        self._run(
            *("req", "-x509", *_KEY, "-subj", f"/CN={name}", "-days", _VALID_DAYS),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),  # required by Python 3.13
            "ca",
        )
        self.certificate = (folder / "ca.pem").read_text()

    def issue(self, name: str, host: str = "localhost,IP:127.0.0.1", days: int = 2) -> Pair:
        """Issue a certificate for a server or a client, for this host if it is a server's."""
        self._run(
            *("req", "-x509", *_KEY, "-subj", f"/CN={name}", "-days", str(days)),
            *("-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-addext", f"subjectAltName=DNS:{host}"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            name,
        )
        return Pair(
            certificate=(self._folder / f"{name}.pem").read_text(),
            key=(self._folder / f"{name}.key").read_text(),
        )

    def issue_expired(self, name: str) -> Pair:
        """Issue a certificate whose last day was yesterday."""
        pair = self.issue(name)
        old = self._folder / f"{name}-expired.pem"
        subprocess.run(
            [
                *("openssl", "x509", "-in", f"{name}.pem", "-signkey", f"{name}.key"),
                *("-x509toreq", "-out", f"{name}.csr"),
            ],
            cwd=self._folder,
            check=True,
            capture_output=True,
        )
        subprocess.run(
            [
                *("openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem"),
                *("-CAkey", "ca.key", "-days", "-1", "-out", old.name),
            ],
            cwd=self._folder,
            check=True,
            capture_output=True,
        )
        return Pair(certificate=old.read_text(), key=pair.key)

    def _run(self, *arguments: str) -> None:
        *options, name = arguments
        subprocess.run(
            ["openssl", *options, "-keyout", f"{name}.key", "-out", f"{name}.pem"],
            cwd=self._folder,
            check=True,
            capture_output=True,
        )
