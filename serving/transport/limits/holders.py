"""Who holds a connection: an address, or a network of them that one holder has for itself."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from serving.errors import ConfigError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# An IPv6 host commonly has a /64 to choose its addresses from.
_IPV6_PREFIX = 64
_CACHED = 4096


def networks(text: str, *, flag: str) -> tuple[Network, ...]:
    """Addresses and networks separated by commas: `10.0.0.7, 192.168.0.0/16, fd00::/8`.

    Args:
        text: The list; empty for none.
        flag: The setting that it came from, for the message.

    Raises:
        ConfigError: an entry is neither.
    """
    entries = [entry.strip() for entry in text.split(",")] if text.strip() else []
    try:
        return tuple(ipaddress.ip_network(entry) for entry in entries)
    except ValueError as error:
        msg = f"{flag}: {error}; expected addresses or networks separated by commas"
        raise ConfigError(msg) from error


class Holders:
    """Tells the holders of addresses apart."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        """Prepare.

        Args:
            trusted: Proxies, which may hold any number of connections for others.
        """
        self._trusted = trusted
        self.of = lru_cache(_CACHED)(self._of)

    def _of(self, address: str) -> str | None:
        """The holder of an address as text; None for a trusted proxy."""
        peer = ipaddress.ip_address(address)
        if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
            peer = peer.ipv4_mapped  # an IPv4 client of an IPv6 socket
        if any(peer in network for network in self._trusted):
            return None
        if isinstance(peer, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((peer, _IPV6_PREFIX), strict=False))
        return str(peer)
