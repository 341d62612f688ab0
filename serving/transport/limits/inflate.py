"""Decompression that an attacker cannot make explode: zlib with a bound, piece by piece.

Every piece is counted before it exists, and what takes long happens in threads: zlib works without
Python's lock.
"""

import asyncio
import zlib
from concurrent.futures import ThreadPoolExecutor

from serving.errors import InvalidInput, ResourceExhausted
from serving.transport.limits.byte_budget import Hold

# zlib's window bits: 16 + 15 is gzip; 15 alone is the zlib format, "deflate" to HTTP and gRPC.
GZIP = 31
DEFLATE = 15
# Some HTTP clients send what is inside that format alone, and call it "deflate", too.
RAW_DEFLATE = -15
# By the name of the encoding, as gRPC and HTTP have it.
WINDOW_BITS = {b"gzip": GZIP, b"deflate": DEFLATE}
_ZLIB_METHOD = 8

# Up to here, inflating takes less than handing it to a thread and back.
_QUICK_BYTES = 1 << 16
_PIECE_BYTES = 1 << 20
# What zlib is given at a time: it copies what it has not come to yet.
_INPUT_BYTES = 1 << 16
# Parallel compressors write a member for each 64 KiB or more; an empty one takes 20 bytes.
_MAX_MEMBERS = 10_000
_THREADS = ThreadPoolExecutor(2, thread_name_prefix="inflate")


def is_zlib(content: bytes) -> bool:
    """Whether content begins like the zlib format (RFC 1950), or else is raw deflate."""
    head = content[:2]
    return (
        len(head) == 2 and head[0] & 0x0F == _ZLIB_METHOD and int.from_bytes(head, "big") % 31 == 0
    )


async def inflate(content: bytes, window_bits: int, *, limit: int, hold: Hold, what: str) -> bytes:
    """Decompress a request.

    Args:
        content: One compressed stream; gzip may have several members, one after another.
        window_bits: `GZIP`, `DEFLATE` or `RAW_DEFLATE`.
        limit: Most bytes that may come out.
        hold: Takes what comes out: a small request can hide a large one.
        what: Names the content in messages.

    Raises:
        InvalidInput: it is not compressed that way, is cut off, has something else behind it, or
            more than all requests together may hold would come out.
        ResourceExhausted: more would come out than the limit.
        Unavailable: all large requests together are over their budget.
    """
    members = _Members(content, window_bits, what)
    in_threads = asyncio.get_running_loop().run_in_executor
    pieces: list[bytes] = []
    total = 0
    while True:
        quick = not pieces and len(content) <= _QUICK_BYTES
        # A byte over the limit is enough to know that too much is hidden.
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
    hold.take(total)  # for a moment, the pieces and the whole are there
    whole = await in_threads(_THREADS, b"".join, pieces)
    hold.give_back(total)
    return whole


class _Members:
    """What is compressed in some bytes, read piece by piece."""

    def __init__(self, content: bytes, window_bits: int, what: str) -> None:
        self._content = memoryview(content)
        self._window_bits = window_bits
        self._what = what
        self._inflater = zlib.decompressobj(window_bits)
        self._members = 1
        self._position = 0

    def read(self, most: int) -> bytes:
        """The next bytes, fewer than asked for only at the end.

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
            msg = f"{self._what} has {rest} bytes behind its end, expected none"
            raise InvalidInput(msg)
        if self._members == _MAX_MEMBERS:
            msg = f"{self._what} has over {_MAX_MEMBERS} gzip members; compress it as one"
            raise InvalidInput(msg)
        self._members += 1
        self._inflater = zlib.decompressobj(GZIP)

    def _inflate(self, most: int) -> bytes:
        given = self._content[self._position : self._position + _INPUT_BYTES]
        inflater = self._inflater
        try:
            part = inflater.decompress(given, most)
        except zlib.error as error:
            where = f" in member {self._members}, or what stands in its place" * (self._members > 1)
            msg = f"{self._what} cannot be decompressed{where}: {error}"
            raise InvalidInput(msg) from error
        left = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
        used = len(given) - len(left)
        self._position += used
        if not part and not used and not inflater.eof:
            msg = f"{self._what} is truncated"
            raise InvalidInput(msg)
        return part
