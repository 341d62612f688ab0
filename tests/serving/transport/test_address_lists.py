"""Channels over a list of addresses, which put the whole list into the header `:authority`."""

import contextlib

import numpy as np
import pytest

from serving.client import PredictClient, PredictError

ONES = np.ones((1, 3), np.float32)


@pytest.fixture
def address_list(models_dir, running_server):
    """Starts two servers with a front; gives them as one target."""
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
    """The web server refuses a list as the name of a host; a name given by the client helps."""
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
    """As TensorFlow Serving does: it never reads the header."""
    assert predict(address_list("grpcio"), []) == ONES.tolist()
