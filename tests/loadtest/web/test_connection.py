import pytest

from loadtest.transports.api import CallError
from loadtest.transports.tfs_grpc import TfsGrpc
from loadtest.web.connection import PredictionClient


@pytest.fixture
def client(image_target):
    """A connection to the server of `image_models_dir`."""
    connected = PredictionClient(image_target, timeout_seconds=30)
    yield connected
    connected.close()


def test_an_answer_comes_back_as_the_server_sent_it(client, split):
    """The answer's bytes arrive unchanged: `echo` answers the number drawn into the image."""
    api = TfsGrpc("echo", None)

    answer = api.parse(client.send(api.payload({"images": split.images})), len(split))

    assert answer.classes.tolist() == split.images[:, 0, 0, 0].tolist()
    assert answer.version == 1


def test_a_refusal_carries_the_servers_words(client, split):
    """An unknown model raises CallError NOT_FOUND with the model's name."""
    with pytest.raises(CallError) as refused:
        client.send(TfsGrpc("nobody", None).payload({"images": split.images[:1]}))

    assert refused.value.kind == "NOT_FOUND"
    assert "nobody" in refused.value.message
