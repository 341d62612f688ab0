"""Tests of channels over an address list, which send the whole list as `:authority`."""

import contextlib

import numpy as np
import pytest

from serving.client import PredictClient, PredictError

ONES = np.ones((1, 3), np.float32)


@pytest.fixture
def address_list(models_dir, running_server):
    """A function that starts two servers with a front and returns them as one target."""
    with contextlib.ExitStack() as stack:

        def start(front: str) -> str:
            servers = [
                stack.enter_context(running_server(models_dir, front=front)) for _ in range(2)
            ]
            return f"ipv4:{','.join(servers)}"

        yield start


def predict(target: str, options: list[tuple[str, str]]) -> list:
    with PredictClient(target, timeout=10, options=options) as client:
        return client.predict("identity", {"x": ONES})["y"].tolist()


def test_an_address_list_needs_an_authority(address_list):
    """The asgi front refuses a list in `:authority`; grpc.default_authority solves this."""
    target = address_list("asgi")

    with pytest.raises(PredictError, match="RST_STREAM"):
        predict(target, [])
    assert predict(target, [("grpc.default_authority", "localhost")]) == ONES.tolist()
    assert (
        predict(
            target,
            [("grpc.default_authority", "localhost"), ("grpc.lb_policy_name", "round_robin")],
        )
        == ONES.tolist()
    )


def test_grpcio_takes_an_address_list(address_list):
    """The grpcio front accepts a list in `:authority`, as TensorFlow Serving does.

    Neither reads the header.
    """
    assert predict(address_list("grpcio"), []) == ONES.tolist()
