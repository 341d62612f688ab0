import asyncio
import io

import example_models
import grpc
import numpy as np
import polite_clients
import tiny_models
from example_models import example
from PIL import Image

from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.catalog import Catalog
from serving.engine.runtime import RuntimeConfig
from serving.engine.servable import Servable
from serving.inference.predictor import Predictor
from serving.inference.request import as_it_is
from serving.protos.tensorflow_serving_pb2 import ClassificationRequest

CLASSIFY_PATH = "/tensorflow.serving.PredictionService/Classify"


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_request_that_is_being_parsed_outlives_its_version(tmp_path):
    """Unloading waits for pictures that are still being decoded, and they are answered."""
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


def classify(pictures: list[bytes]) -> bytes:
    request = ClassificationRequest()
    request.model_spec.name = "pictures"
    request.model_spec.signature_name = "classify"
    for picture in pictures:
        text = example(image__encoded=picture)
        request.input.example_list.examples.add().MergeFromString(text)
    return request.SerializeToString()


def test_many_pictures_of_one_caller_hold_up_no_other(tmp_path):
    """Thousands of large pictures take minutes, for which no caller with a single one waits."""
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
