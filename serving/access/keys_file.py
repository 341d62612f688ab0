"""Reads the keys file (`--api_keys_file`), and watches it for changes.

The file is JSON. It has no keys, only their SHA-256, so that a copy of it lets nobody in::

    {"callers": [
      {"name": "shop", "sha256": "9f86d0...", "roles": ["predict"], "models": ["simcnn"],
       "requests_per_second": 50, "burst": 100, "in_flight": 8, "expires": "2027-01-31"},
      {"name": "prometheus", "subject": "CN=prometheus,O=Example", "roles": ["metrics"]}
    ]}

An entry has either the digest of a key or the subject of a client certificate. Only `name`, one of
these two and `roles` are required. Beside "callers" the file may have a `schema_version`, which
`serving.schemas` explains.
"""

import asyncio
import json
import logging
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serving import schemas
from serving.access import audit, subject
from serving.access.caller import ANONYMOUS
from serving.access.roles import GRANTED, Role
from serving.access.usage import RateLimits
from serving.errors import ConfigError
from serving.schemas import SchemaError

logger = logging.getLogger(__name__)

CALLERS = "callers"
_FIELDS = (
    *("name", "sha256", "subject", "roles", "models"),
    *("requests_per_second", "burst", "in_flight", "expires"),
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")

# Takes the text of a changed file.
Apply = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class CallerEntry:
    """One entry of the file.

    Attributes:
        name: Name of the caller, for the log and the messages.
        digest: SHA-256 of its key; None if it has a certificate.
        subject: Subject of its certificate; None if it has a key.
        roles: What it may do.
        models: Names of the models that it may use; None for all.
        limits: Its rate and its calls in flight, over all worker processes.
        expires: `time.time()` from which on the entry has no effect; None: never.
    """

    name: str
    digest: bytes | None
    subject: subject.Subject | None
    roles: frozenset[Role]
    models: frozenset[str] | None
    limits: RateLimits
    expires: float | None


def parse(text: str, source: str = "the keys file") -> list[CallerEntry]:
    """Parse the text of a keys file.

    Args:
        text: The text.
        source: Name of the file, for the messages.

    Raises:
        ConfigError: the text is not a keys file; with the entry and the reason.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        msg = f"{source} is not JSON: {error}"
        raise ConfigError(msg) from error
    try:
        document = schemas.KEYS.body(document, source)
    except SchemaError as error:
        raise ConfigError(str(error)) from error
    if not isinstance(document, dict) or document.keys() != {CALLERS}:
        msg = f'{source} has another form, expected {{"{CALLERS}": [...]}}'
        raise ConfigError(msg)
    if not isinstance(document[CALLERS], list):
        msg = f'{source} has "{CALLERS}" of another kind, expected a list of entries'
        raise ConfigError(msg)
    entries: list[CallerEntry] = []
    taken: dict[object, str] = {}
    for number, fields in enumerate(document[CALLERS], 1):
        name = fields.get("name") if isinstance(fields, dict) else None
        where = f"{source}, entry {number} ({name!r})"
        try:
            entries.append(_entry(fields))
        except ConfigError as error:
            msg = f"{where}: {error}"
            raise ConfigError(msg) from error
        _check_unique(entries[-1], taken, where)
    return entries


def _check_unique(entry: CallerEntry, taken: dict[object, str], where: str) -> None:
    """Note name, key and certificate of an entry, with the entry's name.

    Raises:
        ConfigError: an earlier entry has one of them.
    """
    known = {"name": entry.name, "sha256": entry.digest, "subject": entry.subject}
    for field, value in known.items():
        if value is not None and value in taken:
            msg = f"{where}: {field} is also that of entry {taken[value]!r}, expected another one"
            raise ConfigError(msg)
        taken[value] = entry.name


def _entry(fields: Any) -> CallerEntry:  # noqa: ANN401 - any JSON
    """Check one entry.

    Raises:
        ConfigError: a field is unknown, missing or of another kind.
    """
    if not isinstance(fields, dict):
        msg = f"it is {fields!r}, expected an object"
        raise ConfigError(msg)
    unknown = [name for name in fields if name not in _FIELDS]
    if unknown:
        msg = f"field {unknown[0]!r} is unknown, expected fields out of {', '.join(_FIELDS)}"
        raise ConfigError(msg)
    digest, name_of_certificate = fields.get("sha256"), fields.get("subject")
    if (digest is None) == (name_of_certificate is None):
        msg = 'expected either "sha256", the digest of a key, or "subject", that of a certificate'
        raise ConfigError(msg)
    if digest is not None and not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        msg = "sha256 is not 64 hexadecimal digits; python -m serving.keys new makes an entry"
        raise ConfigError(msg)
    if "burst" in fields and "requests_per_second" not in fields:
        msg = "burst is given without requests_per_second, expected both"
        raise ConfigError(msg)
    models = _names(fields, "models") if "models" in fields else None
    return CallerEntry(
        name=check_name(fields.get("name")),
        digest=None if digest is None else bytes.fromhex(digest),
        subject=None if name_of_certificate is None else subject.parse(str(name_of_certificate)),
        roles=_roles(_names(fields, "roles")),
        models=None if models is None else frozenset(models),
        limits=RateLimits(
            requests_per_second=_number(fields, "requests_per_second"),
            burst=_number(fields, "burst", low=1),
            in_flight=_whole(fields, "in_flight"),
        ),
        expires=None if fields.get("expires") is None else point_in_time(fields["expires"]),
    )


def check_name(name: Any) -> str:  # noqa: ANN401 - any JSON
    """Return the name of a caller, if it can be one.

    Raises:
        ConfigError: it cannot.
    """
    if isinstance(name, str) and _NAME.fullmatch(name) and name != ANONYMOUS:
        return name
    msg = (
        f"name is {name!r}, expected 1 to 64 letters, digits and . _ @ -, the first one a letter "
        f"or digit, and not {ANONYMOUS!r}"
    )
    raise ConfigError(msg)


def _roles(names: Sequence[str]) -> frozenset[Role]:
    for name in names:
        if name not in GRANTED:
            msg = f"role {name!r} is unknown, expected roles out of {', '.join(GRANTED)}"
            raise ConfigError(msg)
    if not names:
        msg = f"roles is empty, expected roles out of {', '.join(GRANTED)}"
        raise ConfigError(msg)
    return frozenset(map(Role, names))


def _names(fields: Mapping[str, Any], key: str) -> list[str]:
    names = fields.get(key)
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        msg = f"{key} is {names!r}, expected a list of names"
        raise ConfigError(msg)
    return names


def _number(fields: Mapping[str, Any], key: str, low: float = 0) -> float | None:
    number = fields.get(key)
    if number is None:
        return None
    if type(number) in {int, float} and low <= number < math.inf and number:
        return float(number)
    msg = f"{key} is {number!r}, expected a number {'of at least 1' if low else 'above 0'}"
    raise ConfigError(msg)


def _whole(fields: Mapping[str, Any], key: str) -> int | None:
    number = _number(fields, key, low=1)
    if number is not None and not number.is_integer():
        msg = f"{key} is {number!r}, expected a whole number"
        raise ConfigError(msg)
    return None if number is None else int(number)


def point_in_time(text: Any) -> float:  # noqa: ANN401 - any JSON
    """Return the `time.time()` of a date or time as ISO 8601 writes it, in UTC without an offset.

    Raises:
        ConfigError: the text is no such date or time.
    """
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        msg = f"expires is {text!r}, expected a date such as 2027-01-31 or 2027-01-31T12:00+01:00"
        raise ConfigError(msg) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def as_text(moment: float) -> str:
    """Return a `time.time()` as ISO 8601, in UTC."""
    return datetime.fromtimestamp(moment, UTC).isoformat()


class KeysFile:
    """A keys file, which is checked for changes while the server runs.

    Attributes:
        text: The text of the file when it was last read without an error.
        failures: Number of checks that found a file which could not be read or parsed.
    """

    def __init__(self, path: Path) -> None:
        """Read the file for the first time.

        Raises:
            ConfigError: the file cannot be read or parsed.
        """
        self._path = path
        self.text = self._read()
        self._entries = parse(self.text, str(path))
        self._complaint = ""
        self.failures = 0

    @property
    def entries(self) -> Sequence[CallerEntry]:
        """The entries of `text`."""
        return self._entries

    def _read(self) -> str:
        try:
            return self._path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            msg = f"cannot read --api_keys_file {self._path}: {reason}; expected a keys file"
            raise ConfigError(msg) from error

    async def watch(self, apply: Apply, poll_seconds: float) -> None:
        """Check the file for changes until cancelled.

        If the file is broken, the error is logged once and the old keys stay valid.

        Args:
            apply: Takes the text of a changed file.
            poll_seconds: Seconds between two checks.
        """
        while True:
            await asyncio.sleep(poll_seconds)
            try:
                await self.look(apply)
            except Exception:
                logger.exception("cannot check %s for changes; trying again", self._path)

    async def look(self, apply: Apply) -> None:
        """Check the file once; call `apply` if its text has changed."""
        try:
            text = await asyncio.to_thread(self._read)
            entries = self._entries
            if text != self.text:
                entries = await asyncio.to_thread(parse, text, str(self._path))
        except ConfigError as error:
            self.failures += 1
            if str(error) != self._complaint:
                logger.error("%s; the keys read before stay valid", error)  # noqa: TRY400 - no bug
                self._complaint = str(error)
            return
        self._complaint = ""
        if text == self.text:
            return
        before, self.text, self._entries = self._entries, text, entries
        await apply(text)
        change = audit.difference(_by_name(before), _by_name(entries))
        audit.record("keys", change, by=f"file {self._path}")


def _by_name(entries: Sequence[CallerEntry]) -> dict[str, CallerEntry]:
    return {entry.name: entry for entry in entries}
