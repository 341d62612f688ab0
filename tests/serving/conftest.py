"""Fixtures of the server's tests: a server on each of its fronts."""

import functools

import grpc
import pytest


@pytest.fixture(scope="module", params=["asgi", "grpcio"])
def front(request) -> str:
    """Each of the two fronts; tests that use this fixture run once on each."""
    return request.param


@pytest.fixture(scope="module")
def server_on_front(running_server, front):
    """The shared context manager `running_server`, on one of the fronts."""
    return functools.partial(running_server, front=front)


@pytest.fixture
def channel(target):
    """A raw channel to the module's `target`, for requests that the client refuses to send."""
    with grpc.insecure_channel(target) as opened:
        yield opened
