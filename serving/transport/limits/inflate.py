"""Decompression that an attacker cannot make explode: zlib with a bound."""

import zlib

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


def is_zlib(content: bytes) -> bool:
    """Whether content begins like the zlib format (RFC 1950), or else is raw deflate."""
    head = content[:2]
    return (
        len(head) == 2 and head[0] & 0x0F == _ZLIB_METHOD and int.from_bytes(head, "big") % 31 == 0
    )


def inflate(content: bytes, window_bits: int, *, limit: int, hold: Hold, what: str) -> bytes:
    """Decompress a request.

    Args:
        content: One compressed stream.
        window_bits: `GZIP`, `DEFLATE` or `RAW_DEFLATE`.
        limit: Most bytes that may come out.
        hold: Takes what comes out: a small request can hide a large one.
        what: Names the content in messages.

    Raises:
        InvalidInput: it is not compressed that way, or is cut off.
        ResourceExhausted: more would come out than the limit.
        Unavailable: all large requests together are over their budget.
    """
    inflater = zlib.decompressobj(window_bits)
    try:
        # A little over the limit is enough to know that too much is hidden.
        inflated = inflater.decompress(content, limit + 1)
    except zlib.error as error:
        msg = f"{what} cannot be decompressed: {error}"
        raise InvalidInput(msg) from error
    if len(inflated) > limit:
        msg = (
            f"{what} inflates to over {limit} bytes; send smaller batches or raise the server's "
            "--max_message_bytes"
        )
        raise ResourceExhausted(msg)
    if not inflater.eof:
        msg = f"{what} is truncated"
        raise InvalidInput(msg)
    hold.take(len(inflated))
    return inflated
