import asyncio
import time

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from serving.access.roles import Role
from serving.errors import ConfigError, InvalidInput
from serving.settings.config import ServerConfig
from serving.transport.grpcio_server import GrpcioServer
from serving.transport.limits.byte_budget import ByteBudget
from serving.transport.method_table import StreamMethod, UnaryMethod, method_table

SHOUT = "/s/Shout"
SHOUT_EACH = "/s/ShoutEach"


class Shouter:
    """Handlers of both kinds that record their calls; they answer once `wait` is set."""

    def __init__(self) -> None:
        self.calls = []
        self.wait = None

    async def called(self, times: int) -> None:
        """Return when `times` calls have arrived."""
        while len(self.calls) < times:  # noqa: ASYNC110 - a short delay is enough for a test
            await asyncio.sleep(0.01)

    async def shout(self, request, call):
        """Return upper case; "bug" raises RuntimeError and "bad" raises InvalidInput."""
        self.calls.append(call)
        if self.wait:
            await self.wait.wait()
        if request.value == "bug":
            msg = "secret"
            raise RuntimeError(msg)
        if request.value == "bad":
            msg = "100 % grün\n" + "x" * 2000
            raise InvalidInput(msg)
        return StringValue(value=request.value.upper())

    async def shout_each(self, requests, call):
        """Answer each request of a stream as `shout` does."""
        async for request in requests:
            yield await self.shout(request, call)


@pytest.fixture
def shouter() -> Shouter:
    """The handlers of the server."""
    return Shouter()


@pytest.fixture
def talk(shouter):
    """A function that runs a coroutine function with a channel to a server of the handlers."""
    methods = method_table(
        [
            UnaryMethod(
                path=SHOUT, request_type=StringValue, handler=shouter.shout, role=Role.PREDICT
            ),
            StreamMethod(
                path=SHOUT_EACH,
                request_type=StringValue,
                handler=shouter.shout_each,
                role=Role.PREDICT,
            ),
        ]
    )

    async def run(conversation, **settings):
        config = ServerConfig(host="127.0.0.1", port=0, **settings).network()
        server = GrpcioServer(methods, config, budget=ByteBudget(config.max_buffered_bytes))
        port = await server.start(None)
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                return await conversation(channel)
        finally:
            await server.stop()

    return lambda conversation, **settings: asyncio.run(run(conversation, **settings))


def message(text: str) -> bytes:
    return StringValue(value=text).SerializeToString()


async def stream(channel, texts: list[bytes]) -> list[str]:
    call = channel.stream_stream(SHOUT_EACH)(iter(texts), timeout=10)
    return [StringValue.FromString(answer).value async for answer in call]


def test_unary_calls_are_answered(talk):
    """A unary call is answered."""
    answer = talk(lambda channel: channel.unary_unary(SHOUT)(message("hello"), timeout=10))

    assert StringValue.FromString(answer).value == "HELLO"


def test_streams_answer_request_by_request(talk):
    """A stream gets one answer for each request."""
    texts = [message(text) for text in ("a", "b", "c")]

    assert talk(lambda channel: stream(channel, texts)) == ["A", "B", "C"]


@pytest.mark.parametrize("path", [SHOUT, SHOUT_EACH])
def test_requests_share_a_budget(talk, shouter, path):
    """Requests share the byte budget; an answered or refused call holds none of it."""
    large = message("x" * 600)

    async def ask(channel):
        if path == SHOUT:
            return await channel.unary_unary(SHOUT)(large, timeout=10)
        return await stream(channel, [large])

    async def conversation(channel):
        before = [await ask(channel) for _ in range(3)]
        shouter.wait = asyncio.Event()
        first = asyncio.create_task(ask(channel))
        await asyncio.wait_for(shouter.called(4), 10)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel)
        shouter.wait.set()
        await first
        return [*before, await ask(channel)], caught.value

    answers, error = talk(conversation, max_buffered_bytes=1000)

    assert len(answers) == 4
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert error.details().startswith("requests in flight hold 603 bytes of at most 1000")
    assert len(shouter.calls) == 5


@pytest.mark.parametrize("path", [SHOUT, SHOUT_EACH])
def test_bugs_are_logged_and_not_shown(talk, caplog, path):
    """An unexpected exception is answered INTERNAL without its text, and logged with it."""

    async def conversation(channel):
        if path == SHOUT:
            return await channel.unary_unary(SHOUT)(message("bug"), timeout=10)
        return await stream(channel, [message("bug")])

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        talk(conversation)

    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.INTERNAL,
        "internal error",
    )
    assert f"unexpected error in {path}" in caplog.text
    assert "RuntimeError: secret" in caplog.text


def test_errors_keep_their_code_and_characters(talk):
    """A message may hold any character and is cut as on the asgi front."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        talk(lambda channel: channel.unary_unary(SHOUT)(message("bad"), timeout=10))

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith("100 % grün\nxxx")
    assert caught.value.details().endswith("...TRUNCATED")


def test_errors_in_a_stream_come_after_its_answers(talk):
    """An error ends a stream after the answers before it."""

    async def conversation(channel):
        call = channel.stream_stream(SHOUT_EACH)(iter([message("a"), b"\xff"]), timeout=10)
        answers = [await call.read()]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        return answers, caught.value

    answers, error = talk(conversation)

    assert answers == [message("A")]
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "request of 1 bytes is not a google.protobuf.StringValue message"


def test_the_clients_timeout_becomes_a_deadline(talk, shouter):
    """The client's timeout reaches the handler as a deadline; without one it is None."""
    before = time.monotonic()

    async def conversation(channel):
        await channel.unary_unary(SHOUT)(message("a"), timeout=20)
        await channel.unary_unary(SHOUT)(message("a"))

    talk(conversation)

    limited, unlimited = (call.deadline for call in shouter.calls)
    # grpcio rounds the timeout up.
    assert before + 20 <= limited <= time.monotonic() + 21
    assert unlimited is None


def test_channel_arguments_reach_the_library(talk):
    """A channel argument overrides the server's own limit."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        talk(
            lambda channel: channel.unary_unary(SHOUT)(message("x" * 100), timeout=10),
            grpc_channel_arguments="grpc.max_receive_message_length=50,grpc.keepalive_time_ms=1000",
        )

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "vs. 50" in caught.value.details()


def test_a_channel_argument_needs_a_value():
    """A channel argument without a value is a ConfigError."""
    config = ServerConfig(grpc_channel_arguments="a=1,b", front="grpcio").network()

    with pytest.raises(ConfigError, match="has 'b', expected key=value"):
        GrpcioServer({}, config, budget=ByteBudget(1))
