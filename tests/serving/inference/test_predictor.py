import asyncio

import grpc
import numpy as np
import pytest
from calling import polite_clients
from image_files import png
from sample_models import example_models, tiny_models
from sample_models.example_models import example

from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.catalog import Catalog
from serving.engine.runtime import RuntimeConfig
from serving.engine.servable import Servable
from serving.errors import InvalidInput, Unavailable
from serving.inference.predictor import Predictor
from serving.inference.request import as_it_is
from serving.protos.tensorflow_serving_pb2 import ClassificationRequest

CLASSIFY_PATH = "/tensorflow.serving.PredictionService/Classify"


def test_a_request_that_is_being_parsed_outlives_its_version(tmp_path):
    """`close` waits for a request whose pictures are being decoded; the request is answered."""
    path = example_models.pictures(tmp_path)
    picture = example(image__encoded=png(np.full((1000, 1000, 3), 255, np.uint8)))

    async def unload_meanwhile():
        servable = Servable.load("pictures", 1, path, RuntimeConfig(), BatchingConfig())
        predictor = Predictor(Catalog())
        inputs = {"inputs": np.array([picture] * 8, object)}
        answering = asyncio.create_task(
            predictor.predict_on(servable, "classify", inputs, as_it_is)
        )
        await asyncio.sleep(0)  # parsing has begun in its thread
        await asyncio.to_thread(servable.close)
        return answering.done(), await answering

    done, prediction = asyncio.run(unload_meanwhile())

    assert done
    np.testing.assert_array_equal(prediction.outputs["scores"], [[0, 1]] * 8)


@pytest.fixture
def pictures(tmp_path):
    """A servable whose signature `classify` takes pictures, in at most four rows."""
    servable = Servable.load(
        "pictures",
        1,
        example_models.pictures(tmp_path),
        RuntimeConfig(),
        BatchingConfig(max_enqueued_rows=4),
    )
    yield servable
    servable.close()


def test_examples_that_cannot_be_parsed_leave_room_for_others(pictures, monkeypatch):
    """Examples of failed and cancelled requests no longer count towards MAX_EXAMPLES."""
    monkeypatch.setattr("serving.inference.predictor.MAX_EXAMPLES", 4)
    picture = example(image__encoded=png(np.full((32, 32, 3), 255, np.uint8)))
    bad = {"inputs": np.array([example(image__encoded=b"no picture")] * 3, object)}
    good = {"inputs": np.array([picture] * 4, object)}

    async def ask():
        predictor = Predictor(Catalog(), max_rows=0)
        for _ in range(5):
            with pytest.raises(InvalidInput):
                await predictor.predict_on(pictures, "classify", bad, as_it_is)
        cancelled = asyncio.create_task(predictor.predict_on(pictures, "classify", good, as_it_is))
        await asyncio.sleep(0)
        during = predictor._examples.total()
        cancelled.cancel()
        await asyncio.wait({cancelled})
        left = predictor._examples.total()
        return during, left, await predictor.predict_on(pictures, "classify", good, as_it_is)

    during, left, prediction = asyncio.run(ask())

    assert (during, left) == (4, 0)
    assert len(prediction.outputs["scores"]) == 4


def test_the_limit_of_examples_that_wait_is_exact(pictures, monkeypatch):
    """With MAX_EXAMPLES 4, four examples are parsed and a fifth is UNAVAILABLE at once."""
    monkeypatch.setattr("serving.inference.predictor.MAX_EXAMPLES", 4)
    picture = example(image__encoded=png(np.full((500, 500, 3), 255, np.uint8)))

    async def ask():
        predictor = Predictor(Catalog(), max_rows=0)
        asking = [
            predictor.predict_on(
                pictures, "classify", {"inputs": np.array([picture] * count, object)}, as_it_is
            )
            for count in (3, 1, 1)
        ]
        return await asyncio.gather(*asking, return_exceptions=True)

    *answered, refused = asyncio.run(ask())

    assert [len(prediction.outputs["scores"]) for prediction in answered] == [3, 1]
    assert isinstance(refused, Unavailable)
    assert refused.message.startswith("4 examples of this client wait to be parsed, at most 4 may;")


def classify(pictures: list[bytes]) -> bytes:
    request = ClassificationRequest()
    request.model_spec.name = "pictures"
    request.model_spec.signature_name = "classify"
    for picture in pictures:
        text = example(image__encoded=picture)
        request.input.example_list.examples.add().MergeFromString(text)
    return request.SerializeToString()


def test_many_pictures_of_one_caller_hold_up_no_other(tmp_path):
    """Thousands of large pictures of one caller do not delay callers with one small picture.

    The large pictures take minutes to decode.
    """
    example_models.pictures(tmp_path)
    tiny_models.identity(tmp_path)
    large = classify([png(np.full((4000, 4000, 3), 255, np.uint8))] * 800)
    small = classify([png(np.full((32, 32, 3), 255, np.uint8))])
    options = [("grpc.use_local_subchannel_pool", 1)]
    with (
        polite_clients.server(tmp_path) as (address, _),
        polite_clients.beside(address) as polite,
        grpc.insecure_channel(address, options) as attacker,
        grpc.insecure_channel(address, options) as channel,
    ):
        attacks = [attacker.unary_unary(CLASSIFY_PATH).future(large) for _ in range(4)]
        answers = [
            channel.unary_unary(CLASSIFY_PATH)(small, timeout=polite_clients.PATIENCE_SECONDS)
            for _ in range(10)
        ]
        assert not any(attack.done() for attack in attacks)
        for attack in attacks:
            attack.cancel()

    assert len(set(answers)) == 1
    assert not polite.errors
