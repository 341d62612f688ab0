"""Holders of connections: an IPv4 address, or the IPv6 network that belongs to one host."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from serving.errors import ConfigError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# An IPv6 host can commonly choose its addresses from a whole /64 network.
_IPV6_PREFIX = 64
_CACHED = 4096


def networks(text: str, *, flag: str) -> tuple[Network, ...]:
    """Parse addresses and networks separated by commas: `10.0.0.7, 192.168.0.0/16, fd00::/8`.

    Args:
        text: The list; empty for none.
        flag: Name of the setting that holds the list, for the message.

    Raises:
        ConfigError: an entry is neither an address nor a network.
    """
    entries = [entry.strip() for entry in text.split(",")] if text.strip() else []
    try:
        return tuple(ipaddress.ip_network(entry) for entry in entries)
    except ValueError as error:
        msg = f"{flag}: {error}; expected addresses or networks separated by commas"
        raise ConfigError(msg) from error


class Holders:
    """Maps addresses to holders."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        """Create an empty cache of holders.

        Args:
            trusted: Addresses of proxies, which may hold any number of connections for others.
        """
        self._trusted = trusted
        self.of = lru_cache(_CACHED)(self._of)

    def _of(self, address: str) -> str | None:
        """Return the holder of an address as text; None for a trusted proxy."""
        peer = ipaddress.ip_address(address)
        if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
            peer = peer.ipv4_mapped  # an IPv4 client of an IPv6 socket
        if any(peer in network for network in self._trusted):
            return None
        if isinstance(peer, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((peer, _IPV6_PREFIX), strict=False))
        return str(peer)
