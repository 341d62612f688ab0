import asyncio
import gzip
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import polite_clients
import pytest
from rest_client import Http

from serving.errors import InvalidInput, ResourceExhausted, Unavailable
from serving.transport.limits.byte_budget import ByteBudget, Hold
from serving.transport.limits.inflate import DEFLATE, GZIP, RAW_DEFLATE, inflate

MEBIBYTE = 1 << 20
TEXT = bytes(range(256)) * 20_000  # several pieces


class WatchedBudget(ByteBudget):
    """Remembers the most that was held, and how often that changed."""

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
    """Also one that ends with a piece."""
    assert read(gzip.compress(text)) == text
    assert read(zlib.compress(text), DEFLATE) == text
    assert read(zlib.compress(text)[2:-4], RAW_DEFLATE) == text


def test_all_members_are_inflated():
    """Tools that compress in parallel, and appended files, have several; one may be empty."""
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
def test_what_is_more_or_less_than_a_stream_is_refused(content, window_bits, message):
    """Nothing is dropped in silence."""
    with pytest.raises(InvalidInput) as caught:
        read(content, window_bits)

    assert caught.value.message.startswith(message)


@pytest.mark.parametrize("size", [99, 100, 5 * MEBIBYTE])
def test_the_limit_is_exact(size):
    """A body of the limit goes through, one more byte does not."""
    assert len(read(gzip.compress(bytes(size)), limit=size)) == size
    with pytest.raises(ResourceExhausted, match=f"body inflates to over {size} bytes"):
        read(gzip.compress(bytes(size + 1)), limit=size)


def test_no_more_is_inflated_than_the_budget_has():
    """The budget is asked before each piece, so that a bomb never takes more."""
    budget = WatchedBudget(3 * MEBIBYTE)
    other = Hold(budget)
    other.take(MEBIBYTE)
    with pytest.raises(Unavailable, match="requests in flight hold"):
        read(gzip.compress(bytes(50 * MEBIBYTE)), budget=budget)

    assert budget.most <= 3 * MEBIBYTE
    with pytest.raises(InvalidInput, match="--max_buffered_bytes"):
        read(gzip.compress(bytes(50 * MEBIBYTE)), budget=ByteBudget(3 * MEBIBYTE))


@pytest.mark.parametrize("held", [0, 29 * MEBIBYTE])
def test_the_end_of_the_budget_is_met_in_few_pieces(held):
    """Alone, where the last eighth may be used, and beside others, where a small part of it may."""
    budget = WatchedBudget(32 * MEBIBYTE)
    Hold(budget).take(held)
    with pytest.raises((InvalidInput, Unavailable)):
        read(gzip.compress(bytes(50 * MEBIBYTE)), budget=budget)

    assert budget.changes < 100


def test_bombs_starve_nobody(models_dir):
    """Fifty of them at a time take bounded memory, and others are answered meanwhile."""
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
