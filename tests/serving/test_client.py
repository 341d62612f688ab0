"""Tests of the two clients on each front."""

import asyncio
import inspect
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from image_files import png

from serving.client import AsyncPredictClient, PredictClient, PredictError
from training.data.cifar10 import CLASS_NAMES

ROOT = Path(__file__).parents[2]
BUNDLED = ROOT / "models"
SAMPLE = ROOT / "tests" / "data" / "cifar10_sample.npz"
ONES = np.ones((1, 3), np.float32)


@pytest.fixture(scope="module")
def target(models_dir, server_on_front):
    """Address of a server that serves every tiny model on one of the fronts."""
    with server_on_front(models_dir) as address:
        yield address


async def ask_asynchronously(target: str) -> tuple:
    async with AsyncPredictClient(target) as client:
        answer = await client.predict("identity", {"x": ONES})
        with pytest.raises(PredictError) as caught:
            await client.predict("nope", {"x": ONES})
        signatures = await client.signatures("identity")
        statuses = await client.statuses("identity")
        return answer, caught.value.code, signatures, statuses, await client.is_serving()


def test_the_asyncio_client_does_the_same(target):
    """AsyncPredictClient returns the same answers, errors and statuses as PredictClient."""
    answer, code, signatures, statuses, serving = asyncio.run(ask_asynchronously(target))

    assert answer["y"].tolist() == [[1, 1, 1]]
    assert code is grpc.StatusCode.NOT_FOUND
    assert list(signatures.signature_def) == ["serving_default"]
    assert [status.version for status in statuses] == [1]
    assert serving


def test_the_client_refuses_what_cannot_be_sent(client):
    """Wrong dtypes, a version with a label and a bare array are errors before the call."""
    with pytest.raises(ValueError, match='input "x": dtype datetime64'):
        client.predict("identity", {"x": np.array(["2026"], "datetime64[Y]")})
    with pytest.raises(ValueError, match="expected one of them"):
        client.predict("identity", {"x": ONES}, version=1, version_label="stable")
    with pytest.raises(ValueError, match="expected one of them"):
        client.signatures("identity", version=1, version_label="stable")
    with pytest.raises(TypeError, match="inputs are of type ndarray, expected a mapping of input"):
        client.predict("identity", ONES)


def test_the_client_says_when_nobody_answers():
    """A call to an address without a server fails with UNAVAILABLE or DEADLINE_EXCEEDED."""
    with PredictClient("127.0.0.1:1", timeout=2) as client, pytest.raises(PredictError) as caught:
        client.predict("identity", {"x": ONES})

    assert caught.value.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


@pytest.fixture(scope="module")
def classifier(running_server):
    """Address of a server with the bundled SimCNN."""
    with running_server(None, model_base_path=BUNDLED / "simcnn", model_name="simcnn") as address:
        yield address


async def classify_asynchronously(target: str, images: list[bytes]) -> list:
    async with AsyncPredictClient(target) as client:
        return await client.classify("simcnn", images, version=1)


def test_classify_names_the_classes_of_image_files(classifier):
    """All classes come with Predict's probabilities, the most probable first, for each image."""
    pixels = np.load(SAMPLE)["images"][:3]
    images = [png(image) for image in pixels]
    with PredictClient(classifier) as client:
        ranked = client.classify("simcnn", images)
        probabilities = client.predict("simcnn", {"images": pixels})["probabilities"]
        with pytest.raises(PredictError) as caught:
            client.classify("simcnn", [b"no image"])
        with pytest.raises(PredictError) as of_pixels:
            client.classify("simcnn", images, signature_name="serving_default")

    assert [classes[0][0] for classes in ranked] == ["cat", "ship", "ship"]
    for classes, expected in zip(ranked, probabilities, strict=True):
        assert [score for _, score in classes] == sorted(expected, reverse=True)
        assert {name for name, _ in classes} == set(CLASS_NAMES)
    assert asyncio.run(classify_asynchronously(classifier, images)) == ranked
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert of_pixels.value.message.endswith('call Predict, or set signature_name to "classify"')


@pytest.fixture
def listening():
    """A gRPC server that answers every call with NOT_FOUND, and the metadata of its calls."""
    received: list[list[tuple[str, str]]] = []

    class Listen(grpc.GenericRpcHandler):
        def service(self, call: grpc.HandlerCallDetails) -> None:
            received.append(list(call.invocation_metadata))

    with ThreadPoolExecutor() as pool:
        server = grpc.server(pool, handlers=[Listen()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}", received
        server.stop(None).wait()


@pytest.mark.parametrize("kind", [PredictClient, AsyncPredictClient])
def test_the_api_key_is_sent_with_every_call(listening, kind):
    """Every method of both clients sends the key and the metadata that the client was given."""
    address, received = listening

    async def settle(value):
        return await value if inspect.isawaitable(value) else value

    async def call_all() -> None:
        client = kind(address, api_key="secret", metadata=[("x-team", "blue")], timeout=10)
        for call in (
            lambda: client.predict("m", {"x": ONES}),
            lambda: client.classify("m", [b"png"]),
            lambda: client.signatures("m"),
            lambda: client.statuses("m"),
            client.is_serving,
        ):
            with pytest.raises(PredictError):
                await settle(call())
        await settle(client.close())

    asyncio.run(call_all())

    assert len(received) == 5
    for metadata in received:
        assert ("authorization", "Bearer secret") in metadata
        assert ("x-team", "blue") in metadata
