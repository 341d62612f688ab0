"""Decompression with bounded output, against decompression bombs: zlib, piece by piece.

Each piece is counted in the byte budget before it is decompressed. Long work is done in threads:
zlib releases Python's global lock.
"""

import asyncio
import zlib
from concurrent.futures import ThreadPoolExecutor

from serving.errors import InvalidInput, ResourceExhausted
from serving.transport.limits.byte_budget import Hold

# zlib's window bits: 16 + 15 is gzip; 15 alone is the zlib format, "deflate" to HTTP and gRPC.
GZIP = 31
DEFLATE = 15
# Some HTTP clients send the compressed data without that format's header, and also call it
# "deflate".
RAW_DEFLATE = -15
# zlib's window bits by the name of the encoding, which gRPC and HTTP share.
WINDOW_BITS = {b"gzip": GZIP, b"deflate": DEFLATE}
_ZLIB_METHOD = 8

# Up to this size, inflating takes less time than a round trip to a thread.
_QUICK_BYTES = 1 << 16
_PIECE_BYTES = 1 << 20
# Input passed to zlib in one call: zlib copies the input that a call has not consumed.
_INPUT_BYTES = 1 << 16
# Parallel compressors write one gzip member for each 64 KiB of input or more. An empty member takes
# only 20 bytes, so an attacker could pack very many into a body.
_MAX_MEMBERS = 10_000
_THREADS = ThreadPoolExecutor(2, thread_name_prefix="inflate")


def is_zlib(content: bytes) -> bool:
    """Return whether content begins with a header of the zlib format (RFC 1950)."""
    head = content[:2]
    return (
        len(head) == 2 and head[0] & 0x0F == _ZLIB_METHOD and int.from_bytes(head, "big") % 31 == 0
    )


async def inflate(content: bytes, window_bits: int, *, limit: int, hold: Hold, what: str) -> bytes:
    """Decompress a request.

    Args:
        content: One compressed stream; gzip may have several members, one after another.
        window_bits: `GZIP`, `DEFLATE` or `RAW_DEFLATE`.
        limit: Most bytes that the content may inflate to.
        hold: Counts the inflated bytes in the byte budget.
        what: Names the content in messages.

    Returns:
        The inflated bytes.

    Raises:
        InvalidInput: the content is not compressed in this format, is cut off, is followed by other
            bytes, or inflates to more than the whole byte budget.
        ResourceExhausted: the content inflates to more than `limit`.
        Unavailable: all requests together exceed the byte budget.
    """
    members = _Members(content, window_bits, what)
    in_threads = asyncio.get_running_loop().run_in_executor
    pieces: list[bytes] = []
    total = 0
    while True:
        quick = not pieces and len(content) <= _QUICK_BYTES
        # One byte over the limit is enough to refuse the content.
        most = min(_QUICK_BYTES if quick else _PIECE_BYTES, limit + 1 - total, hold.room)
        hold.take(most)
        piece = members.read(most) if quick else await in_threads(_THREADS, members.read, most)
        hold.give_back(most - len(piece))
        total += len(piece)
        if total > limit:
            msg = (
                f"{what} inflates to over {limit} bytes; send smaller batches or raise the "
                "server's --max_message_bytes, or --max_buffered_bytes if it is not set"
            )
            raise ResourceExhausted(msg)
        pieces.append(piece)
        if len(piece) < most:
            break
    if len(pieces) == 1:
        return pieces[0]
    hold.take(total)  # during the join, memory holds the pieces and the whole
    whole = await in_threads(_THREADS, b"".join, pieces)
    hold.give_back(total)
    return whole


class _Members:
    """Reads compressed content piece by piece, across all its gzip members."""

    def __init__(self, content: bytes, window_bits: int, what: str) -> None:
        self._content = memoryview(content)
        self._window_bits = window_bits
        self._what = what
        self._inflater = zlib.decompressobj(window_bits)
        self._members = 1
        self._position = 0

    def read(self, most: int) -> bytes:
        """Return the next `most` inflated bytes; fewer only at the end of the content.

        Raises:
            InvalidInput: see `inflate`.
        """
        parts: list[bytes] = []
        size = 0
        while size < most:
            if self._inflater.eof:
                if self._position == len(self._content):
                    break
                self._begin_member()
            part = self._inflate(most - size)
            parts.append(part)
            size += len(part)
        return b"".join(parts)

    def _begin_member(self) -> None:
        rest = len(self._content) - self._position
        if self._window_bits != GZIP:
            msg = f"{self._what} has {rest} bytes after its end, expected none"
            raise InvalidInput(msg)
        if self._members == _MAX_MEMBERS:
            msg = f"{self._what} has over {_MAX_MEMBERS} gzip members; compress it as one member"
            raise InvalidInput(msg)
        self._members += 1
        self._inflater = zlib.decompressobj(GZIP)

    def _inflate(self, most: int) -> bytes:
        given = self._content[self._position : self._position + _INPUT_BYTES]
        inflater = self._inflater
        try:
            part = inflater.decompress(given, most)
        except zlib.error as error:
            # Bytes after a member are read as the next one, which they may not be.
            where = f" in member {self._members}, or in bytes after the last" * (self._members > 1)
            msg = f"{self._what} cannot be decompressed{where}: {error}"
            raise InvalidInput(msg) from error
        left = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
        used = len(given) - len(left)
        self._position += used
        if not part and not used and not inflater.eof:
            msg = f"{self._what} is truncated"
            raise InvalidInput(msg)
        return part
