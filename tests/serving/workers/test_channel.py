import asyncio
import socket

import pytest

from serving.errors import FailedPrecondition, InternalError, Unavailable
from serving.workers.channel import Channel


def connected(scenario):
    """Run a coroutine function on the two ends of a channel."""

    async def run():
        ends = Channel(), Channel()
        for end, connection in zip(ends, socket.socketpair(), strict=True):
            await end.open(connection)
        try:
            return await scenario(*ends)
        finally:
            for end in ends:
                end.close()

    return asyncio.run(run())


def test_both_ends_ask_at_the_same_time():
    """Both ends may ask at the same time; answers match their questions in any order."""

    async def scenario(one, other):
        async def double(number):
            await asyncio.sleep(0.01 / number)
            return 2 * number

        one.asked["double"] = other.asked["double"] = double
        return await asyncio.gather(
            *(end.ask("double", number) for number in (1, 2, 3) for end in (one, other))
        )

    assert connected(scenario) == [2, 2, 4, 4, 6, 6]


def test_a_question_without_a_handler_is_to_be_asked_again(caplog):
    """A worker that is asked for its metrics while it starts answers UNAVAILABLE, no traceback."""

    async def scenario(one, _other):
        with pytest.raises(Unavailable, match="is being started; retry"):
            await one.ask("metrics")

    connected(scenario)

    assert caplog.text == ""


def test_errors_come_back_as_what_they_are():
    """A ServingError keeps its class and message; any other error is "internal error"."""

    async def scenario(one, other):
        async def refuse(content):
            raise FailedPrecondition(content)

        async def fail(_content):
            return 1 / 0

        other.asked |= {"refuse": refuse, "fail": fail}
        with pytest.raises(FailedPrecondition, match="no such label"):
            await one.ask("refuse", "no such label")
        with pytest.raises(InternalError, match=r"^internal error$"):
            await one.ask("fail")

    connected(scenario)


def test_a_question_to_a_closed_end_is_unavailable():
    """If the other end closes, pending and later questions raise Unavailable."""

    async def scenario(one, other):
        async def hang(_content):
            other.close()

        other.asked["hang"] = hang
        for _ in range(2):
            with pytest.raises(Unavailable, match="has ended; retry"):
                await asyncio.wait_for(one.ask("hang"), 10)
        one.tell("anything")
        await asyncio.wait_for(one.wait_closed(), 10)

    connected(scenario)


def test_long_messages_arrive_whole():
    """A message larger than a socket's buffer, such as a page of metrics, arrives whole."""
    text = "x" * 5_000_000

    async def scenario(one, other):
        async def echo(content):
            return content

        other.asked["echo"] = echo
        return await one.ask("echo", text)

    assert connected(scenario) == text


def test_a_message_told_before_the_end_arrives():
    """A message told just before the end closes arrives, such as the error of a failed start."""

    async def scenario(one, other):
        heard = []
        other.told["error"] = heard.append
        one.tell("error", "no model")
        one.close()
        await asyncio.wait_for(other.wait_closed(), 10)
        return heard

    assert connected(scenario) == ["no model"]
