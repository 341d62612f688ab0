import asyncio

from serving.transport.admission import Admission
from serving.transport.limits import traffic
from serving.transport.limits.traffic import FIRST_REQUESTS, TrafficTable

CLIENT = ("127.0.0.1", 1234)
SCOPE = {"type": "http", "client": CLIENT, "headers": []}


class Server:
    """An admission in front of an application whose answers end when `end` is called."""

    def __init__(self) -> None:
        self.table = TrafficTable()
        self.admission = Admission(self._answer, self.table)
        self.begun = 0
        self._ends: list[asyncio.Future[None]] = []

    async def _answer(self, scope, receive, send) -> None:
        self.begun += 1
        end = asyncio.get_running_loop().create_future()
        self._ends.append(end)
        await end

    def end(self, count: int) -> None:
        """End the `count` oldest answers."""
        for end in self._ends[:count]:
            end.set_result(None)
        del self._ends[:count]

    def ask(self, count: int) -> list[asyncio.Task[None]]:
        """Start `count` requests of one connection at once."""
        return [asyncio.create_task(self.admission(SCOPE, None, None)) for _ in range(count)]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_new_connection_begins_slowly(monkeypatch):
    """A new connection may run FIRST_REQUESTS requests at once; each answer allows two more."""
    monkeypatch.setattr(traffic, "_PATIENCE_SECONDS", 60)

    async def scenario():
        server = Server()
        asked = server.ask(100)
        await settle()
        begun = [server.begun]
        for answers in (1, 10, 200):
            server.end(answers)
            await settle()
            begun.append(server.begun)
        while any(not one.done() for one in asked):
            server.end(200)
            await settle()
        more = server.ask(100)
        await settle()
        begun.append(server.begun)
        server.end(200)
        await asyncio.gather(*more)
        return begun, server.table.get(CLIENT)

    begun, left = asyncio.run(scenario())

    assert begun[0] == FIRST_REQUESTS
    assert begun[1] == begun[0] + 2
    assert begun[2] == begun[0] + 2 + 20
    assert 2 * begun[2] < begun[3] < 100
    assert begun[4] == 200  # the connection is known by now, so all run at once
    assert (left.in_flight, len(left.waiting), left.requests) == (0, 0, 200)


def test_requests_wait_only_briefly_for_streams(monkeypatch):
    """Requests behind streams that stay open begin after _PATIENCE_SECONDS."""
    monkeypatch.setattr(traffic, "_PATIENCE_SECONDS", 0.05)

    async def scenario():
        server = Server()
        asked = server.ask(50)
        await settle()
        at_once = server.begun
        await asyncio.sleep(0.2)
        later = server.begun
        server.end(50)
        await asyncio.gather(*asked)
        return at_once, later

    at_once, later = asyncio.run(scenario())

    assert at_once == FIRST_REQUESTS
    assert later == 50


def test_cancelled_requests_leave_the_table(monkeypatch):
    """A cancelled request, running or waiting, lets the next one begin."""
    monkeypatch.setattr(traffic, "_PATIENCE_SECONDS", 60)

    async def scenario():
        server = Server()
        asked = server.ask(60)
        await settle()
        for one in asked[:50]:
            one.cancel()
        await settle()
        begun = server.begun
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        return begun, server.table.get(CLIENT)

    begun, left = asyncio.run(scenario())

    assert begun > FIRST_REQUESTS
    assert (left.in_flight, len(left.waiting)) == (0, 0)
