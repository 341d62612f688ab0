import asyncio
import gzip
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from calling import polite_clients
from calling.rest_client import Http

from serving.errors import InvalidInput, ResourceExhausted, Unavailable
from serving.transport.limits.byte_budget import ByteBudget, Hold
from serving.transport.limits.inflate import DEFLATE, GZIP, RAW_DEFLATE, inflate

MEBIBYTE = 1 << 20
TEXT = bytes(range(256)) * 20_000  # several pieces


class WatchedBudget(ByteBudget):
    """Records the most bytes held, and how often that number changed."""

    most = changes = 0

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name == "used":
            self.most = max(self.most, value)
            super().__setattr__("changes", self.changes + 1)


def read(content, window_bits=GZIP, limit=64 * MEBIBYTE, budget=None):
    hold = Hold(budget or ByteBudget(1 << 30))
    return asyncio.run(inflate(content, window_bits, limit=limit, hold=hold, what="body"))


@pytest.mark.parametrize("text", [b"", b"a", bytes(65_536), bytes(65_535), TEXT])
def test_every_length_is_inflated(text):
    """Bodies of any length are inflated, also one that ends with a piece."""
    assert read(gzip.compress(text)) == text
    assert read(zlib.compress(text), DEFLATE) == text
    assert read(zlib.compress(text)[2:-4], RAW_DEFLATE) == text


def test_all_members_are_inflated():
    """All members of a gzip body are inflated, and a member may be empty.

    Parallel compressors and appended files make several members.
    """
    members = [gzip.compress(part) for part in (b"a" * 70_000, b"", TEXT, b"end")]

    assert read(b"".join(members)) == b"a" * 70_000 + TEXT + b"end"


@pytest.mark.parametrize(
    ("content", "window_bits", "message"),
    [
        (gzip.compress(b"a") + b"garbage", GZIP, "body cannot be decompressed in member 2, or"),
        (gzip.compress(b"a") + bytes(8), GZIP, "body cannot be decompressed in member 2, or"),
        (gzip.compress(b"a") + gzip.compress(b"b")[:-1], GZIP, "body is truncated"),
        (zlib.compress(b"a") + b"garbage", DEFLATE, "body has 7 bytes after its end"),
        (zlib.compress(b"a")[2:-4] + b"garbage", RAW_DEFLATE, "body has 7 bytes after its end"),
        (gzip.compress(b"") * 10_001, GZIP, "body has over 10000 gzip members"),
        (gzip.compress(TEXT)[:-9], GZIP, "body is truncated"),
        (b"", GZIP, "body is truncated"),
    ],
)
def test_truncated_bodies_and_trailing_bytes_are_refused(content, window_bits, message):
    """Truncated bodies, and bytes after the end of a body, are refused."""
    with pytest.raises(InvalidInput) as caught:
        read(content, window_bits)

    assert caught.value.message.startswith(message)


@pytest.mark.parametrize("size", [99, 100, 5 * MEBIBYTE])
def test_the_limit_is_exact(size):
    """A body that inflates to exactly the limit is read; one byte more is refused."""
    assert len(read(gzip.compress(bytes(size)), limit=size)) == size
    with pytest.raises(ResourceExhausted, match=f"body inflates to over {size} bytes"):
        read(gzip.compress(bytes(size + 1)), limit=size)


def test_no_more_is_inflated_than_the_budget_has():
    """Each piece is taken from the budget before it is inflated, so a bomb never exceeds it."""
    budget = WatchedBudget(3 * MEBIBYTE)
    other = Hold(budget)
    other.take(MEBIBYTE)
    with pytest.raises(Unavailable, match="requests in flight hold"):
        read(gzip.compress(bytes(50 * MEBIBYTE)), budget=budget)

    assert budget.most <= 3 * MEBIBYTE
    with pytest.raises(InvalidInput, match="--max_buffered_bytes"):
        read(gzip.compress(bytes(50 * MEBIBYTE)), budget=ByteBudget(3 * MEBIBYTE))


@pytest.mark.parametrize("held", [0, 29 * MEBIBYTE])
def test_the_budget_is_used_up_in_few_pieces(held):
    """A body that exceeds the budget takes fewer than 100 pieces, alone or beside other requests.

    Alone, a body may use the last eighth of the budget; beside others, a small part of it.
    """
    budget = WatchedBudget(32 * MEBIBYTE)
    Hold(budget).take(held)
    with pytest.raises((InvalidInput, Unavailable)):
        read(gzip.compress(bytes(50 * MEBIBYTE)), budget=budget)

    assert budget.changes < 100


def test_bombs_starve_nobody(models_dir):
    """100 gzip bombs, 50 at a time, take bounded memory and do not delay other callers."""
    bomb = gzip.compress(b" " * (60 * MEBIBYTE))
    flags = ("--max_buffered_bytes", str(128 * MEBIBYTE))
    with (
        polite_clients.server(models_dir, *flags) as (address, pid),
        polite_clients.beside(address) as polite,
        ThreadPoolExecutor(50) as attackers,
    ):
        before = polite_clients.peak_bytes(pid)
        post = partial(Http(address).post, "/v1/models/identity:predict", content_encoding="gzip")
        answers = list(attackers.map(post, [bomb] * 100))
        grown = polite_clients.peak_bytes(pid) - before

    assert {status for status, _ in answers} <= {400, 503}
    assert not polite.errors
    assert grown < 300 * MEBIBYTE
