import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

from loadtest.live.link import Link, Unpacker, packed


def received(connection: socket.socket, count: int) -> list:
    """Read from a blocking socket until `count` messages are complete."""
    unpacker, found = Unpacker(), []
    while len(found) < count:
        content = connection.recv(1000)
        if not content:
            break
        found += unpacker.feed(content)
    return found


def test_messages_arrive_whole_in_any_parts():
    """Bytes that come one by one, or two messages at once, give the same messages."""
    messages = [("note", "first"), ("increment", list(range(1000)))]
    content = b"".join(map(packed, messages))
    one_by_one = Unpacker()

    assert Unpacker().feed(content) == messages
    assert [
        message
        for place in range(len(content))
        for message in one_by_one.feed(content[place : place + 1])
    ] == messages


def test_a_view_that_does_not_read_delays_nothing():
    """Far more than a socket holds is sent at once, and arrives when the view reads again."""

    async def send(link_end: socket.socket) -> Link:
        link = Link(link_end, lambda _: None, lambda: None)
        for number in range(50):
            link.send(("note", b"%d" % number + bytes(100_000)))
        return link

    ours, theirs = socket.socketpair()
    with ours, theirs:
        link = asyncio.run(asyncio.wait_for(send(ours), 5))
        with ThreadPoolExecutor() as pool:  # the loop of `send` has ended, as at the end of a run
            reading = pool.submit(received, theirs, 51)
            link.finish(("end", None), 10.0)
            messages = reading.result(10)

    assert [body[:2].rstrip(b"\0") for _, body in messages[:-1]] == [b"%d" % n for n in range(50)]
    assert messages[-1] == ("end", None)


def test_waiting_messages_are_sent_as_the_view_reads():
    """The loop sends the rest by itself."""

    async def both() -> list:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            link = Link(ours, lambda _: None, lambda: None)
            for number in range(30):
                link.send(("note", (number, bytes(100_000))))
            messages = await asyncio.to_thread(received, theirs, 30)
            link.close()
            return messages

    messages = asyncio.run(asyncio.wait_for(both(), 20))

    assert [value[0] for _, value in messages] == list(range(30))


def test_messages_of_the_view_are_handed_on():
    """What the view sends reaches the load generator."""

    async def listen() -> list:
        found: asyncio.Queue = asyncio.Queue()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            link = Link(ours, found.put_nowait, lambda: None)
            theirs.sendall(packed(("ready", None)) + packed(("figures", (1, "text"))))
            messages = [await found.get(), await found.get()]
            link.close()
        return messages

    found = asyncio.run(asyncio.wait_for(listen(), 10))

    assert found == [("ready", None), ("figures", (1, "text"))]


def test_a_view_that_is_gone_is_told_once():
    """Its end is noticed once, and later messages are dropped."""

    async def lose() -> list:
        gone: list = []
        noticed = asyncio.Event()

        def on_gone() -> None:
            gone.append(True)
            noticed.set()

        ours, theirs = socket.socketpair()
        with ours:
            link = Link(ours, lambda _: None, on_gone)
            theirs.close()
            await noticed.wait()
            link.send(("note", "nobody reads this"))
            link.finish(("end", None), 1.0)
            link.close()
        return gone

    assert asyncio.run(asyncio.wait_for(lose(), 10)) == [True]
