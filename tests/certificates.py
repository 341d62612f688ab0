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
    """Signs certificates for 127.0.0.1 and localhost."""

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

    def issue(self, name: str) -> Pair:
        """Issue a certificate for a server or a client."""
        self._run(
            *("req", "-x509", *_KEY, "-subj", f"/CN={name}", "-days", _VALID_DAYS),
            *("-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            name,
        )
        return Pair(
            certificate=(self._folder / f"{name}.pem").read_text(),
            key=(self._folder / f"{name}.key").read_text(),
        )

    def _run(self, *arguments: str) -> None:
        *options, name = arguments
        subprocess.run(
            ["openssl", *options, "-keyout", f"{name}.key", "-out", f"{name}.pem"],
            cwd=self._folder,
            check=True,
            capture_output=True,
        )
