"""Which connections may stay: unused and idle ones end, and one address holds a part of them all.

The web server stops to accept at a number of connections, which alone would let anybody with that
many of them keep all others out. `Janitor` looks at the open connections every second. One looks
after all endpoints of a process, so that the limits are for them together.
"""

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from serving.transport.limits.holders import Holders, Network
from serving.transport.limits.own_sockets import Accepted, OwnSockets
from serving.transport.limits.traffic import Client, TrafficTable

logger = logging.getLogger(__name__)

_SWEEP_SECONDS = 1.0
# A sweep takes at most this part of the event loop, however many connections there are.
_MOST_OF_THE_LOOP = 0.02
_LOG_SECONDS = 10.0
# One in so many connections is kept free for who comes next.
_SPARE = 8
# When none is free, a connection has so long to make its first request.
_HURRIED_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """What connections are measured by.

    Attributes:
        most: Connections at a time.
        share: Of these, as many for one holder.
        first_request_seconds: Time until the first request.
        idle_seconds: Time without a request; 0 for any.
        trusted: Proxies, which may hold more than a share.
    """

    most: int
    share: int
    first_request_seconds: float
    idle_seconds: float
    trusted: tuple[Network, ...] = ()


class _Connection:
    """A connection that was seen at the last sweep.

    Attributes:
        accepted: Its socket.
        holder: See `Holders`.
        number: Larger for younger connections.
        active_at: Last time that it was seen to be in use, or its first (`time.monotonic()`).
        requests: Requests until then.
        is_busy: Whether one is in flight.
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
        """Orders the connections of one holder: the first ones go first, the youngest before."""
        return self.is_busy, self.requests > 0, -self.number


class Janitor:
    """Ends the connections that must go. For the event loop of their requests alone."""

    def __init__(
        self, limits: ConnectionLimits, traffic: TrafficTable, ports: Collection[int]
    ) -> None:
        """Prepare.

        Args:
            limits: What connections are measured by.
            traffic: Knows the requests of each connection.
            ports: The local ports that the connections came to.
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
                logger.exception("connections cannot be looked at: idle ones stay open")
                return
            took = time.monotonic() - began
            await asyncio.sleep(max(_SWEEP_SECONDS, took / _MOST_OF_THE_LOOP))

    def sweep(self, now: float) -> None:
        """Look at all connections once and end those that must go.

        Args:
            now: `time.monotonic()`.
        """
        self._look(now)
        going: dict[_Connection, str] = {}
        for choose in (self._unused, self._surplus, self._unneeded):
            for connection, reason in choose(now, len(going)):
                going.setdefault(connection, reason)
        going |= dict.fromkeys(self._excess(going), "over the limit of all")
        for connection, reason in going.items():
            connection.accepted.shut_down()
            self._closed[reason] += 1
        self._report(now)

    def _unused(self, now: float, _going: int) -> Iterator[tuple[_Connection, str]]:
        """Connections without a request for too long."""
        idle_seconds = self._limits.idle_seconds or float("inf")
        for connection in self._connections.values():
            unused_for = now - connection.active_at
            if not connection.requests and unused_for > self._limits.first_request_seconds:
                yield connection, "without a request"
            elif unused_for > idle_seconds:
                yield connection, "idle"

    def _surplus(self, _now: float, _going: int) -> Iterator[tuple[_Connection, str]]:
        """What any holder has over its share."""
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
        """The longest idle connections, if there is no room for others."""
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
        """What is over the limit of all, in use or not.

        One web server accepts no more than the limit, two endpoints' may together.
        """
        excess = len(self._connections) - len(going) - self._limits.most
        if excess <= 0:
            return []
        staying = [one for one in self._connections.values() if one not in going]
        staying.sort(key=lambda one: one.worth)
        return staying[:excess]

    def _look(self, now: float) -> None:
        """Bring what is known of the connections up to date."""
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
                connection.active_at = now
                connection.requests = traffic.requests
            found[key] = connection
        self._connections = found
        # Nothing was accepted and asked since the look at the sockets: both are in this event loop.
        self._traffic.forget_all_but({client for _, client in found})

    def _report(self, now: float) -> None:
        """Log what was ended, all of a while in one line."""
        if self._closed and now - self._logged_at >= _LOG_SECONDS:
            reasons = ", ".join(f"{n} {reason}" for reason, n in self._closed.most_common(5))
            logger.warning(
                "connections ended: %s (of %d open, at most %d)",
                reasons,
                len(self._connections),
                self._limits.most,
            )
            self._closed.clear()
            self._logged_at = now
