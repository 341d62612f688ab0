"""Refuses requests that another page made a browser send, and pages that would frame the console.

A page of an attacker can point its own name at this server (DNS rebinding). The browser then lets
that page read the answers, because the origin is the same; only `Host` still has the attacker's
name. An IP address cannot be pointed elsewhere. The console therefore answers under IP addresses,
`localhost`, the machine's own name and the names of `--console_hosts`, and no others.

The headers `Origin` and `Sec-Fetch-*` (W3C Fetch Metadata) tell that another page asks. Programs
that are no browsers send neither. The APIs are not guarded: programs call them under any name.
"""

import ipaddress
import socket
from collections.abc import Iterable, Mapping

from serving.errors import PermissionDenied

_ALWAYS = ("localhost",)
_OWN_SITES = (b"same-origin", b"none")  # none: the user typed the address or used a bookmark
_FRAMES = (b"frame", b"iframe", b"embed", b"object", b"fencedframe")

# Headers of every answer of the console.
HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


def host_names(text: str) -> list[str]:
    """Return the names of `--console_hosts`, which commas separate."""
    return [name for part in text.split(",") if (name := part.strip().lower())]


class BrowserGuard:
    """Checks where a request comes from."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Know the names under which browsers may reach the server.

        Args:
            names: Names beside `localhost` and the machine's own name, without a port.
        """
        self._names = frozenset((*_ALWAYS, socket.gethostname().lower(), *names))

    def check(self, headers: Mapping[bytes, bytes], *, is_page: bool = False) -> None:
        """Refuse a request of another page.

        Args:
            headers: The request's headers, with lower-case names.
            is_page: Whether the answer is the page itself, to which other pages may link.

        Raises:
            PermissionDenied: the host is unknown, another page asks, or a frame would show the
                answer.
        """
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._knows(host):
            msg = (
                f"the console does not answer under the host {host[:200]!r}, expected an IP "
                "address, localhost, the machine's name or a name of --console_hosts; use one of "
                "these, or start the server with --console_hosts"
            )
            raise PermissionDenied(msg)
        origin = headers.get(b"origin")
        if (
            origin is not None
            and origin.decode("latin-1").lower().partition("://")[2] != host.lower()
        ):
            msg = (
                f"a page of the origin {origin.decode('latin-1')[:200]!r} asks, expected none but "
                f"that of {host[:200]!r}; open the console itself"
            )
            raise PermissionDenied(msg)
        if headers.get(b"sec-fetch-dest") in _FRAMES:
            msg = (
                "a frame of a page asks for the console, which shows itself in none; open it itself"
            )
            raise PermissionDenied(msg)
        is_link = is_page and headers.get(b"sec-fetch-mode") == b"navigate"
        if headers.get(b"sec-fetch-site", b"none") not in _OWN_SITES and not is_link:
            msg = "a page of another site asks for the console's answers; open the console itself"
            raise PermissionDenied(msg)

    def _knows(self, host: str) -> bool:
        name = _without_port(host).lower().removesuffix(".")
        if name in self._names or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True


def _without_port(host: str) -> str:
    """Return the name or address of a `Host`: `[::1]:8501` is `[::1]`."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
