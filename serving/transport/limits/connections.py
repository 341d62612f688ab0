"""Limits on connections: unused and idle ones are closed, and one address gets a limited share.

The web server stops accepting at a maximum number of connections. That limit alone would let one
client with so many connections lock out all others. Every second, `Janitor` therefore checks the
open connections, and closes those over a limit. One janitor checks all endpoints of a process, so
the limits apply to the endpoints together.
"""

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from serving.transport.limits import tls_hellos
from serving.transport.limits.holders import Holders, Network
from serving.transport.limits.own_sockets import Accepted, OwnSockets
from serving.transport.limits.traffic import Client, TrafficTable

logger = logging.getLogger(__name__)

_SWEEP_SECONDS = 1.0
# Sweeps take at most this part of the event loop's time, however many connections there are.
_MOST_OF_THE_LOOP = 0.02
_LOG_SECONDS = 10.0
# One in eight of the maximum number of connections is kept free for new connections.
_SPARE = 8
# When fewer are free, connections that have been idle for longer than this may be closed.
_HURRIED_SECONDS = 2.0
# A client that speaks TLS sends its first message within this time.
_HELLO_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """The limits that the janitor enforces.

    Attributes:
        most: Most connections at a time.
        share: Most connections of one holder.
        first_request_seconds: Longest time from the connection to its first request.
        idle_seconds: Longest time without a request; 0: no limit.
        trusted: Addresses of proxies, which may hold more than a share.
    """

    most: int
    share: int
    first_request_seconds: float
    idle_seconds: float
    trusted: tuple[Network, ...] = ()


class _Connection:
    """A connection that was open at the last sweep.

    Attributes:
        accepted: Its socket.
        holder: The client that it counts for, see `Holders`; None for a trusted proxy.
        number: Serial number: larger for younger connections.
        active_at: Time of the last sweep that found it in use, or else of the first sweep that
            found it (`time.monotonic()`).
        requests: Number of its requests at that time.
        is_busy: Whether a request is in flight.
    """

    __slots__ = ("accepted", "active_at", "holder", "is_busy", "number", "requests")

    def __init__(self, accepted: Accepted, holder: str | None, number: int, now: float) -> None:
        self.accepted = accepted
        self.holder = holder
        self.number = number
        self.active_at = now
        self.requests = 0
        self.is_busy = False

    @property
    def worth(self) -> tuple[bool, bool, int]:
        """Sort key: connections with smaller keys are closed first.

        Connections without a request in flight come first, among these the ones that never had a
        request, and among equals the youngest.
        """
        return self.is_busy, self.requests > 0, -self.number


class Janitor:
    """Closes connections over the limits. Runs in the event loop that answers their requests."""

    def __init__(
        self, limits: ConnectionLimits, traffic: TrafficTable, ports: Collection[int]
    ) -> None:
        """Create a janitor; `run` starts it.

        Args:
            limits: The limits to enforce.
            traffic: The requests of each connection.
            ports: The local ports whose connections the janitor checks.
        """
        self._limits = limits
        self._traffic = traffic
        self._ports = frozenset(ports)
        self._sockets = OwnSockets()
        self._holders = Holders(limits.trusted)
        self._connections: dict[tuple[int, Client], _Connection] = {}
        self._count = 0
        self._closed: Counter[str] = Counter()
        self._logged_at = -_LOG_SECONDS

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            began = time.monotonic()
            try:
                self.sweep(began)
            except OSError:
                logger.exception("cannot list the open connections: idle ones are no longer closed")
                return
            took = time.monotonic() - began
            await asyncio.sleep(max(_SWEEP_SECONDS, took / _MOST_OF_THE_LOOP))

    def sweep(self, now: float) -> None:
        """Check all connections once and close those over a limit.

        Args:
            now: `time.monotonic()`.
        """
        self._look(now)
        going: dict[_Connection, str] = {}
        for choose in (self._encrypted, self._unused, self._surplus, self._unneeded):
            for connection, reason in choose(now, len(going)):
                going.setdefault(connection, reason)
        going |= dict.fromkeys(self._excess(going), "over the limit of all")
        for connection, reason in going.items():
            connection.accepted.shut_down()
            self._closed[reason] += 1
        self._report(now)

    def _encrypted(self, now: float, _going: int) -> Iterator[tuple[_Connection, str]]:
        """Yield the connections of clients that speak TLS to a port of plain text.

        Only young ones are asked, because a client with TLS begins at once and each question takes
        several system calls.
        """
        for connection in self._connections.values():
            if (
                not connection.requests
                and now - connection.active_at < _HELLO_SECONDS
                and tls_hellos.was_dropped(connection.accepted.descriptor)
            ):
                yield connection, "because their clients spoke TLS to a port of plain text"

    def _unused(self, now: float, _going: int) -> Iterator[tuple[_Connection, str]]:
        """Yield the connections that have had no request for too long."""
        idle_seconds = self._limits.idle_seconds or float("inf")
        for connection in self._connections.values():
            unused_for = now - connection.active_at
            if not connection.requests and unused_for > self._limits.first_request_seconds:
                yield connection, "without a request"
            elif unused_for > idle_seconds:
                yield connection, "idle"

    def _surplus(self, _now: float, _going: int) -> Iterator[tuple[_Connection, str]]:
        """Yield the connections that a holder has beyond its share."""
        share = self._limits.share
        by_holder = defaultdict(list)
        for connection in self._connections.values():
            if connection.holder is not None:
                by_holder[connection.holder].append(connection)
        for holder, held in by_holder.items():
            if len(held) > share:
                held.sort(key=lambda one: one.worth)
                for connection in held[: len(held) - share]:
                    yield connection, f"over the share of {holder}"

    def _unneeded(self, now: float, going: int) -> Iterator[tuple[_Connection, str]]:
        """Yield connections that have been idle for longest, if too few connections are free."""
        spare = max(1, self._limits.most // _SPARE)
        free = self._limits.most - len(self._connections) + going
        if free >= spare:
            return
        idle = [
            connection
            for connection in self._connections.values()
            if not connection.is_busy and now - connection.active_at > _HURRIED_SECONDS
        ]
        idle.sort(key=lambda one: (one.requests > 0, one.active_at))
        for connection in idle[: spare - free]:
            yield connection, "to make room"

    def _excess(self, going: Collection[_Connection]) -> list[_Connection]:
        """Return the connections beyond the limit on all of them, in use or not.

        The web server of one endpoint accepts no more than the limit, but those of two endpoints
        may together.
        """
        excess = len(self._connections) - len(going) - self._limits.most
        if excess <= 0:
            return []
        staying = [one for one in self._connections.values() if one not in going]
        staying.sort(key=lambda one: one.worth)
        return staying[:excess]

    def _look(self, now: float) -> None:
        """Update `_connections` from the open sockets and the traffic table."""
        found: dict[tuple[int, Client], _Connection] = {}
        for accepted in self._sockets.accepted(self._ports):
            key = accepted.inode, accepted.client
            connection = self._connections.get(key)
            if connection is None:
                self._count += 1
                holder = self._holders.of(accepted.client[0])
                connection = _Connection(accepted, holder, self._count, now)
            traffic = self._traffic.get(accepted.client)
            connection.is_busy = traffic is not None and traffic.in_flight > 0
            if traffic is not None and (
                connection.is_busy or traffic.requests != connection.requests
            ):
                if not connection.requests:
                    tls_hellos.let_through(accepted.descriptor)
                connection.active_at = now
                connection.requests = traffic.requests
            found[key] = connection
        self._connections = found
        # No new client can be in the table since the sockets were listed: requests are counted in
        # this event loop, which ran nothing else meanwhile.
        self._traffic.forget_all_but({client for _, client in found})

    def _report(self, now: float) -> None:
        """Log the connections that were closed, in one line every ten seconds at most."""
        if self._closed and now - self._logged_at >= _LOG_SECONDS:
            reasons = ", ".join(f"{n} {reason}" for reason, n in self._closed.most_common(5))
            logger.warning(
                "connections closed: %s (of %d open, at most %d)",
                reasons,
                len(self._connections),
                self._limits.most,
            )
            self._closed.clear()
            self._logged_at = now
