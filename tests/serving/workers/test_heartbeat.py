import asyncio

from serving.workers.heartbeat import Heartbeat


def beats(count: int, ping, *, loading: int = 0) -> list[bool]:
    """Return the results of `count` beats of a process whose pings are answered by `ping`."""

    async def run():
        heartbeat = Heartbeat()
        heartbeat.loading = loading
        said = []
        for _ in range(count):
            said.append(heartbeat.beat(ping))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        heartbeat.stop()
        return said

    return asyncio.run(run())


async def never():
    await asyncio.Event().wait()


async def at_once():
    return None


def test_ten_pings_without_answer_are_a_hang():
    """The process counts as hanging after ten pings without an answer, not after nine."""
    assert beats(11, never) == [False] * 10 + [True]


def test_a_process_that_answers_does_not_hang():
    """A process that answers each ping never counts as hanging."""
    assert not any(beats(50, at_once))


def test_a_late_answer_counts():
    """A late answer, even after nine missed beats, starts the count again."""
    late = iter([*[9] * 5])

    async def slowly():
        for _ in range(2 * next(late, 0)):
            await asyncio.sleep(0)

    assert not any(beats(50, slowly))


def test_loading_is_no_hang():
    """A process that loads a model never counts as hanging."""
    assert not any(beats(50, never, loading=1))


def test_a_process_that_fails_to_answer_is_left_to_its_parent():
    """A process whose ping fails does not count as hanging: its channel is closed, it has ended."""

    async def fail():
        raise ConnectionError

    assert not any(beats(50, fail))
