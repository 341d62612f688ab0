import asyncio
import socket

from loadtest.generator.event_loop import run_event_loop


def test_a_socket_wakes_the_loop_from_a_long_sleep():
    """An answer on a socket wakes the loop at once, not at the next timer."""

    async def main() -> bytes:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            loop = asyncio.get_running_loop()
            loop.call_later(0.01, theirs.send, b"answer")
            far_away = loop.call_later(3600, theirs.send, b"too late")
            received = await loop.sock_recv(ours, 100)
            far_away.cancel()
            return received

    assert run_event_loop(main()) == b"answer"


def test_timers_run_in_order_and_never_early():
    """Each timer runs at its time or later, in order, also if timers are microseconds apart."""

    async def main() -> list[tuple[float, float]]:
        loop = asyncio.get_running_loop()
        begin, ran = loop.time(), []
        done = asyncio.Event()
        delays = [0.0103, 0.0101, 0.0102, 0.02]
        for delay in delays:
            loop.call_at(begin + delay, lambda due=delay: ran.append((due, loop.time() - begin)))
        loop.call_at(begin + max(delays) + 0.001, done.set)
        await done.wait()
        return ran

    ran = run_event_loop(main())

    assert [due for due, _ in ran] == [0.0101, 0.0102, 0.0103, 0.02]
    assert all(at >= due - 1e-6 for due, at in ran)
