"""Fixtures of the tests of KServe's API: its two kinds of client."""

from collections.abc import Iterator

import grpc
import pytest
from calling.kserve_connection import Connection
from running.kserve_stub import Stub


@pytest.fixture
def connection(target) -> Iterator[Connection]:
    opened = Connection(target)
    yield opened
    opened.close()


@pytest.fixture
def stub(target) -> Iterator[Stub]:
    with grpc.insecure_channel(target) as channel:
        yield Stub(channel)
