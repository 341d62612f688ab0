"""The change from one h2corn server to another on the same sockets, without a failed call.

h2corn reads its certificate only when it starts, and when it retires, it closes idle connections
and those whose TLS handshake is not finished. The new server therefore starts first. Then the old
one says goodbye to its HTTP/1.1 clients, accepts nothing more while its last handshakes end, and
retires: HTTP/2 clients get GOAWAY, and calls in flight are answered.
"""

import asyncio
import socket
from collections.abc import Sequence

from serving.transport.limits.own_sockets import OwnSockets
from serving.transport.limits.traffic import Client, TrafficTable
from serving.transport.web import held_handshakes
from serving.transport.web.h2corn_server import H2cornServer

# HTTP/1.1 clients that send a request within this time learn that their connection ends.
_FAREWELL_SECONDS = 1.0
# New connections are held back for at most a second, until handshakes that have begun have ended.
_LOOKS = 100
_LOOK_SECONDS = 0.01
# h2corn's thread stops accepting a moment after it is told to.
_STOP_ACCEPTING_SECONDS = 0.1


async def retire(
    old: H2cornServer, listeners: Sequence[socket.socket], traffic: TrafficTable
) -> None:
    """Make a server leave its sockets to another one that already accepts on them.

    Returns when the old server accepts no more connections; its calls in flight may last longer.

    Args:
        old: The server that leaves.
        listeners: The sockets.
        traffic: The requests of the connections of both servers.
    """
    newcomers = _Newcomers(listeners, traffic)
    old.close_after_answers()
    await asyncio.sleep(_FAREWELL_SECONDS)
    with held_handshakes.hold(listeners):
        await newcomers.settle()
        old.retire()
        await asyncio.sleep(_STOP_ACCEPTING_SECONDS)


class _Newcomers:
    """The connections that were accepted since this object was made, on some sockets."""

    def __init__(self, listeners: Sequence[socket.socket], traffic: TrafficTable) -> None:
        self._ports = {listener.getsockname()[1] for listener in listeners}
        self._traffic = traffic
        self._sockets = OwnSockets()
        self._known = self._without_request()

    def _without_request(self) -> set[Client]:
        """Return the clients whose connections have had no request yet."""
        accepted = self._sockets.accepted(self._ports)
        return {one.client for one in accepted if self._traffic.get(one.client) is None}

    async def settle(self) -> None:
        """Return when each newcomer has sent a request, but not later than after a moment."""
        for _ in range(_LOOKS):
            if not self._without_request() - self._known:
                return
            await asyncio.sleep(_LOOK_SECONDS)
