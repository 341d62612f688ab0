"""The channel between the supervisor and a worker: JSON messages over a socket pair, one per line.

Both ends work the same way. Each end may `tell` the other one something, or `ask` and wait for the
answer. A `ServingError` that the other end's handler raises is raised by `ask`.
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

# A metrics page has hundreds of kilobytes; a list of models may have any size.
_MAX_LINE_BYTES = 1 << 30
# The question for `metrics` asks with this content for the statistics of versions, and without any
# for the metrics page.
STATISTICS = "statistics"
_ERRORS = {error.code: error for error in ServingError.__subclasses__()}


class Channel:
    """One end of a channel. Use it only in the event loop that opened it.

    Attributes:
        asked: Handlers of the other end's `ask` calls, by name. A handler gets the content and
            returns the answer, both JSON values.
        told: Handlers of the other end's `tell` calls, by name. A handler gets the content, a JSON
            value.
    """

    def __init__(self) -> None:
        self.asked: dict[str, Ask] = {}
        self.told: dict[str, Tell] = {}
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._number = 0
        self._answering: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()

    async def open(self, connection: socket.socket) -> None:
        """Start to receive messages.

        Args:
            connection: One socket of a pair; `close` closes it.
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
                    if line.endswith(b"\n"):  # otherwise the sender ended while it wrote
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
                return  # the caller of `ask` was cancelled
            if "code" in message:
                future.set_exception(
                    _ERRORS.get(message["code"], InternalError)(message["message"])
                )
            else:
                future.set_result(content)

    async def _answer(self, number: int, what: str, content: Any) -> None:  # noqa: ANN401 - any JSON
        answer: dict[str, Any] = {"number": number}
        try:
            if what not in self.asked:
                msg = f"the process that was asked for {what} is being started; retry"
                raise Unavailable(msg)  # noqa: TRY301 - answered like a handler's error
            answer["content"] = await self.asked[what](content)
        except ServingError as error:
            answer |= {"code": error.code, "message": error.message}
        except Exception:
            logger.exception("answering %s for another process failed", what)
            answer |= {"code": InternalError.code, "message": "internal error"}
        self._send(answer)

    def _send(self, message: Mapping[str, Any]) -> None:
        if not self._closed.is_set():
            self._writer.write(encode(message))

    def tell(self, what: str, content: Any = None) -> None:  # noqa: ANN401 - any JSON
        """Send a message without an answer; if the other end is gone, do nothing."""
        self._send({"tell": what, "content": content})

    async def ask(self, what: str, content: Any = None) -> Any:  # noqa: ANN401 - any JSON
        """Send a request and wait for the answer.

        Args:
            what: Name of the other end's handler in `asked`.
            content: Content for the handler.

        Returns:
            The handler's answer.

        Raises:
            Unavailable: the other end is gone, or has no such handler yet.
            ServingError: the handler raised it.
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
        """Return when the other end is gone and all of its messages have been received."""
        await self._closed.wait()

    def close(self) -> None:
        """Close the connection and cancel answers in progress."""
        self._listening.cancel()
        for task in self._answering:
            task.cancel()
        self._writer.close()


def encode(message: Mapping[str, Any]) -> bytes:
    """Encode a message as one line of JSON.

    `report_error` also uses this, because it runs after the event loop has ended.
    """
    return json.dumps(message).encode() + b"\n"


def _gone() -> Unavailable:
    return Unavailable("the process that was asked has ended; retry")
