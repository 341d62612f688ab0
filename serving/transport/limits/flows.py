"""Finds the flow of each call: its API key, else the client behind a proxy, else its connection."""

from collections.abc import Hashable, Mapping, Sequence

from serving.access import caller, flow
from serving.transport.limits.holders import Holders, Network

_FORWARDED_FOR = b"x-forwarded-for"


class Flows:
    """Finds the flow of each call."""

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        """Trust the `x-forwarded-for` of some proxies.

        Args:
            trusted: Addresses of the proxies. Any other client could write whatever it likes into
                the header.
        """
        self._holders = Holders(trusted) if trusted else None

    def begin(self, connection: Hashable, headers: Mapping[bytes, bytes]) -> Hashable:
        """Set the current task's flow, and return it; call this after `Gate.enter`.

        Args:
            connection: Address and port of the connection's client; None if it has none.
            headers: The call's headers or metadata, with lower-case names.
        """
        found: Hashable = connection
        name = caller.CURRENT.get().name
        if name != caller.ANONYMOUS:
            found = name
        elif self._holders is not None and isinstance(connection, tuple):
            found = self._behind_proxy(str(connection[0]), headers, self._holders) or connection
        flow.CURRENT.set(found)
        return found

    @staticmethod
    def _behind_proxy(
        address: str, headers: Mapping[bytes, bytes], holders: Holders
    ) -> Hashable | None:
        """Return the client for which a trusted proxy sent a call; None if none sent it.

        Each proxy appends the address that it was called from. The last address that is no trusted
        proxy is therefore the client's; those before it are what the client claims.
        """
        if holders.of(address) is not None:
            return None
        for entry in reversed(headers.get(_FORWARDED_FOR, b"").decode("latin-1").split(",")):
            client = entry.strip()
            try:
                holder = holders.of(client)
            except ValueError:  # "unknown", an address with a port, or nothing
                return (client,) if client else None
            if holder is not None:
                return (holder,)
        return None
