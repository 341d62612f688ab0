"""Reads the TLS files again when they change, and has the ports show the new certificates."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import get_args

from serving.errors import ConfigError
from serving.transport.certificates.facts import CertificateFacts
from serving.transport.tls import Port, PortCertificates, TlsConfig

logger = logging.getLogger(__name__)

_POLL_SECONDS = 1.0

Change = Callable[[PortCertificates], Awaitable[None]]


class CertificateWatch:
    """Polls the TLS files by content, which also notices files that are replaced by links.

    Attributes:
        failures: Number of checks that found files which cannot be used.
    """

    def __init__(
        self,
        files: Sequence[Path],
        read: Callable[[], PortCertificates],
        *,
        may_differ: bool,
    ) -> None:
        """Read the certificates to start with.

        Args:
            files: The files.
            read: Reads the files; raises a `ConfigError` if they cannot be used.
            may_differ: Whether two ports with the same TLS settings may get different ones. Not if
                they are one endpoint, on which each port answers for the other.

        Raises:
            ConfigError: the files cannot be used.
        """
        self._files = files
        self._read = read
        self.certificates = read()
        self._facts = _facts(self.certificates)
        self._may_differ = may_differ or not self.certificates.are_shared
        self._contents: list[bytes | None] = []
        self._complaint = ""
        self._is_logged = False
        self.failures = 0
        for port, facts in self._facts.items():
            _warn_if_expired(port, facts)

    @property
    def expires_at(self) -> dict[Port, float]:
        """When the certificate of each port with TLS expires (seconds since 1970)."""
        return {port: facts.expires_at for port, facts in self._facts.items()}

    async def watch(self, changes: Sequence[Change]) -> None:
        """Check the files every second until cancelled.

        Args:
            changes: Functions that make new connections see other certificates, or raise a
                `ConfigError`.
        """
        while self._files:
            await asyncio.sleep(_POLL_SECONDS)
            try:
                await self.look(changes)
            except Exception:
                logger.exception("cannot check the TLS files for changes; trying again")

    async def look(self, changes: Sequence[Change]) -> None:
        """Check the files once; call `changes` if their certificates are others than before."""
        contents = await asyncio.to_thread(_contents, self._files)
        if contents == self._contents:
            self._complaint = ""
            return
        try:
            fresh = await asyncio.to_thread(self._read)
            if fresh != self.certificates:
                self._check(fresh)
                for change in changes:
                    await change(fresh)
        except ConfigError as error:
            self._complain(str(error))
            return
        self._contents = contents
        self._complaint = ""
        before, self.certificates = self.certificates, fresh
        self._facts = _facts(fresh)
        for port, facts in self._facts.items():
            if before.of(port) != fresh.of(port):
                logger.info("new certificate of the %s port: %s", _NAMES[port], facts)
                _warn_if_expired(port, facts)

    def _check(self, fresh: PortCertificates) -> None:
        """Check that a change can be made while the server runs.

        Raises:
            ConfigError: it needs a restart.
        """
        for port, before, after in _pairs(self.certificates, fresh):
            if bool(before.client_ca) != bool(after.client_ca):
                msg = (
                    f"client_verify of the {_NAMES[port]} port has changed to "
                    f"{str(bool(after.client_ca)).lower()}; whether clients need certificates is "
                    "decided at the start: restart the server to change it"
                )
                raise ConfigError(msg)
        if not self._may_differ and not fresh.are_shared:
            msg = (
                f"{' and '.join(map(str, self._files))} differ now; at the start they were equal, "
                "and since then both ports answer gRPC and REST with the same TLS settings: make "
                "them equal again, or restart the server"
            )
            raise ConfigError(msg)

    def _complain(self, message: str) -> None:
        """Count a failed check; log its message once, when the next check fails in the same way.

        A file that is being written, or of which a second copy follows, is usable a moment later.
        """
        self.failures += 1
        if message != self._complaint:
            self._complaint, self._is_logged = message, False
        elif not self._is_logged:
            self._is_logged = True
            logger.error("%s; the certificates read before stay in use", message)


_NAMES: dict[Port, str] = {"grpc": "gRPC", "rest": "REST"}


def _contents(files: Sequence[Path]) -> list[bytes | None]:
    """Return the contents of the files; None for one that cannot be read."""
    contents: list[bytes | None] = []
    for file in files:
        try:
            contents.append(file.read_bytes())
        except OSError:
            contents.append(None)
    return contents


def _pairs(
    before: PortCertificates, after: PortCertificates
) -> Iterator[tuple[Port, TlsConfig, TlsConfig]]:
    """Yield the ports with TLS, with their settings before and after a change."""
    for port in get_args(Port):
        old, new = before.of(port), after.of(port)
        if old is not None and new is not None:
            yield port, old, new


def _facts(certificates: PortCertificates) -> dict[Port, CertificateFacts]:
    return {
        port: CertificateFacts.of(config)
        for port in get_args(Port)
        if (config := certificates.of(port)) is not None
    }


def _warn_if_expired(port: Port, facts: CertificateFacts) -> None:
    if facts.expires_at < time.time():
        logger.warning(
            "the certificate of the %s port has expired, so that clients refuse it: %s",
            _NAMES[port],
            facts,
        )
