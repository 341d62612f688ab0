"""Two processes that ask each other things: JSON over a socket pair, a line a message.

The supervisor and its workers talk this way. Both ends are alike. Each may `tell` the other
something, or `ask` and wait for the answer; an error that the other end raises is raised here.
"""

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from serving.errors import InternalError, ServingError, Unavailable

logger = logging.getLogger(__name__)

Tell = Callable[[Any], None]
Ask = Callable[[Any], Awaitable[Any]]

# A page of metrics takes hundreds of kilobytes, a list of models as much as its author likes.
_MAX_LINE_BYTES = 1 << 30
_ERRORS = {error.code: error for error in ServingError.__subclasses__()}


class Channel:
    """One end. To be used in the event loop that opened it.

    Attributes:
        asked: Who answers what; contents and answers are anything that JSON has.
        told: Who is told what.
    """

    def __init__(self) -> None:
        self.asked: dict[str, Ask] = {}
        self.told: dict[str, Tell] = {}
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._number = 0
        self._answering: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()

    async def open(self, connection: socket.socket) -> None:
        """Begin to listen.

        Args:
            connection: One of a pair; closed with this channel.
        """
        connection.setblocking(False)
        reader, self._writer = await asyncio.open_unix_connection(
            sock=connection, limit=_MAX_LINE_BYTES
        )
        self._listening = asyncio.create_task(self._listen(reader))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                while line := await reader.readline():
                    if line.endswith(b"\n"):  # its sender may have died in the middle
                        self._received(json.loads(line))
        finally:
            self._closed.set()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(_gone())
            self._waiting.clear()

    def _received(self, message: Mapping[str, Any]) -> None:
        content = message.get("content")
        if "tell" in message:
            self.told[message["tell"]](content)
        elif "ask" in message:
            task = asyncio.create_task(self._answer(message["number"], message["ask"], content))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        else:
            future = self._waiting.pop(message["number"], None)
            if future is None or future.done():
                return  # nobody waits any more
            if "code" in message:
                future.set_exception(
                    _ERRORS.get(message["code"], InternalError)(message["message"])
                )
            else:
                future.set_result(content)

    async def _answer(self, number: int, what: str, content: Any) -> None:  # noqa: ANN401 - any JSON
        answer: dict[str, Any] = {"number": number}
        try:
            answer["content"] = await self.asked[what](content)
        except ServingError as error:
            answer |= {"code": error.code, "message": error.message}
        except Exception:
            logger.exception("another process asked for %s, which failed", what)
            answer |= {"code": InternalError.code, "message": "internal error"}
        self._send(answer)

    def _send(self, message: Mapping[str, Any]) -> None:
        if not self._closed.is_set():
            self._writer.write(encode(message))

    def tell(self, what: str, content: Any = None) -> None:  # noqa: ANN401 - any JSON
        """Say something; if nobody is left to hear it, that is no error."""
        self._send({"tell": what, "content": content})

    async def ask(self, what: str, content: Any = None) -> Any:  # noqa: ANN401 - any JSON
        """Ask for something.

        Raises:
            Unavailable: the other end is gone.
            ServingError: what the other end says.
        """
        if self._closed.is_set():
            raise _gone()
        self._number += 1
        number = self._number
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._send({"ask": what, "number": number, "content": content})
        try:
            return await future
        finally:
            self._waiting.pop(number, None)

    async def wait_closed(self) -> None:
        """Return when the other end is gone and all that it said was heard."""
        await self._closed.wait()

    def close(self) -> None:
        """Hang up."""
        self._listening.cancel()
        for task in self._answering:
            task.cancel()
        self._writer.close()


def encode(message: Mapping[str, Any]) -> bytes:
    """A message as it goes over the wire, also for those that have no event loop to use it in."""
    return json.dumps(message).encode() + b"\n"


def _gone() -> Unavailable:
    return Unavailable("the process that was asked has ended; retry")
