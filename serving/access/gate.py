"""The gate: finds out who calls, and refuses calls that the caller may not make.

A front end asks the gate before it reads a call's body. This takes one look-up of a header, one
SHA-256 and one look-up of the digest. The key itself is compared with nothing, so that the time of
the answer tells nothing about other keys. The gate remembers the headers of valid keys until the
keys change, because a SHA-256 is a large part of the cost of a small call.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from serving.access import subject
from serving.access.caller import ANONYMOUS, CURRENT, Identity, Refusal
from serving.access.keys_file import CallerEntry
from serving.access.roles import Role
from serving.access.usage import RateLimits, Usage
from serving.errors import ConfigError, PermissionDenied, RateLimited, Unauthenticated

_NO_LIMITS = RateLimits()
# The most headers that are remembered. One key has few forms: `Bearer KEY`, `bearer KEY`.
_MOST_REMEMBERED = 4096
_HOW = "send a key as 'authorization: Bearer KEY' or 'x-api-key: KEY'"


class Gate:
    """Checks calls. Use it only from the event loop.

    Attributes:
        refusals: Number of refused calls, by reason.
        reads_certificates: Whether a port asks for client certificates, so that their subjects are
            to be given to `enter`.
    """

    def __init__(
        self,
        entries: Sequence[CallerEntry] | None,
        open_roles: frozenset[Role],
        *,
        workers: int = 1,
        reads_certificates: bool = True,
    ) -> None:
        """Build a gate.

        Args:
            entries: The entries of the keys file. None: the server has no keys, everyone may do
                everything, and the gate only notes the names of client certificates.
            open_roles: The roles that need no key.
            workers: Number of processes that share the limits of each caller.
            reads_certificates: See the attribute.
        """
        self.refusals: Counter[Refusal] = Counter()
        self.reads_certificates = reads_certificates
        self._has_keys = entries is not None
        self._open_roles = open_roles if self._has_keys else frozenset(Role)
        self._workers = workers
        self._usages: dict[str, Usage] = {}
        self._by_digest: dict[bytes, Identity] = {}
        self._by_subject: dict[subject.Subject, Identity] = {}
        self._by_header: dict[bytes | None, Identity] = {}  # values of `authorization` seen before
        self._anonymous = Identity(name=ANONYMOUS, roles=self._open_roles, refusals=self.refusals)
        self.update(entries or ())

    def update(self, entries: Sequence[CallerEntry]) -> None:
        """Replace the entries; a caller whose limits stay the same keeps its counts."""
        self._usages = {
            entry.name: usage for entry in entries if (usage := self._usage_of(entry)) is not None
        }
        self._by_header = {}
        identities = [(entry, self._identity_of(entry)) for entry in entries]
        self._by_digest = {
            entry.digest: identity for entry, identity in identities if entry.digest is not None
        }
        self._by_subject = {
            entry.subject: identity for entry, identity in identities if entry.subject is not None
        }

    def _usage_of(self, entry: CallerEntry) -> Usage | None:
        if entry.limits == _NO_LIMITS:
            return None
        limits = entry.limits.share(self._workers)
        known = self._usages.get(entry.name)
        return known if known and known.limits == limits else Usage(entry.name, limits)

    def _identity_of(self, entry: CallerEntry) -> Identity:
        return Identity(
            name=entry.name,
            roles=entry.roles | self._open_roles | {Role.HEALTH},
            models=entry.models,
            expires=entry.expires,
            usage=self._usages.get(entry.name),
            refusals=self.refusals,
        )

    def enter(
        self, role: Role, headers: Mapping[bytes, bytes], certificate: str = ""
    ) -> Usage | None:
        """Let a call in, and make its caller the `CURRENT` one.

        Args:
            role: The role that the called method or route requires.
            headers: The call's headers or metadata, with lower-case names.
            certificate: Subject of the client's certificate, by RFC 4514; empty if it has none.

        Returns:
            Counts the caller's calls in flight: call its `leave` when the call has ended. None if
            the caller has no limits.

        Raises:
            Unauthenticated: the key is missing, unknown or expired.
            PermissionDenied: the caller lacks the role.
            RateLimited: the caller has used up its limits.
        """
        given = headers.get(b"authorization")
        identity = self._by_header.get(given) or self._caller(given, headers, certificate)
        if identity.expires is not None and time.time() >= identity.expires:
            raise self._unknown(Refusal.EXPIRED_KEY, f"the key {identity.name} has expired")
        if role not in identity.roles:
            raise self._lacks(identity, role)
        usage = identity.usage
        if usage is not None:
            try:
                usage.enter()
            except RateLimited:
                self.refusals[Refusal.LIMIT] += 1
                raise
        CURRENT.set(identity)
        return usage

    def _caller(
        self, given: bytes | None, headers: Mapping[bytes, bytes], certificate: str
    ) -> Identity:
        """Return the caller with a key or certificate, which may have expired.

        Raises:
            Unauthenticated: the key is unknown.
        """
        if not self._has_keys:
            return self._of_certificate(certificate)
        if given is None:
            key = headers.get(b"x-api-key")
            return self._of_certificate(certificate) if key is None else self._of_key(key)
        if given[:7].lower() != b"bearer ":
            raise self._unknown(Refusal.WRONG_KEY, "the header authorization has no Bearer key")
        identity = self._of_key(given[7:])
        if len(self._by_header) >= _MOST_REMEMBERED:
            self._by_header.clear()
        self._by_header[given] = identity
        return identity

    def _of_key(self, key: bytes) -> Identity:
        identity = self._by_digest.get(hashlib.sha256(key).digest())
        if identity is None:
            raise self._unknown(Refusal.WRONG_KEY, "the key is unknown, or has been revoked")
        return identity

    def _of_certificate(self, certificate: str) -> Identity:
        """Return the caller who sent no key."""
        if not certificate:
            return self._anonymous
        identity = self._by_certificate(certificate)
        if identity is None:
            return Identity(name=certificate, roles=self._open_roles, refusals=self.refusals)
        return identity

    def _by_certificate(self, certificate: str) -> Identity | None:
        try:
            return self._by_subject.get(subject.parse(certificate)) if self._by_subject else None
        except ConfigError:  # a subject that no entry can have
            return None

    def _unknown(self, reason: Refusal, what: str) -> Unauthenticated:
        self.refusals[reason] += 1
        return Unauthenticated(f"{what}; {_HOW}")

    def _lacks(self, identity: Identity, role: Role) -> Unauthenticated | PermissionDenied:
        if identity is self._anonymous:
            return self._unknown(Refusal.NO_KEY, f"this call needs a key with the role {role}")
        self.refusals[Refusal.ROLE] += 1
        roles = ", ".join(sorted(identity.roles)) or "none"
        msg = (
            f"{identity.name} lacks the role {role} that this call needs, and has {roles}; use "
            "another key, or ask the server's operator"
        )
        return PermissionDenied(msg)
