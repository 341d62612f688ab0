import asyncio
import io

import example_models
import numpy as np
from example_models import example
from PIL import Image

from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.catalog import Catalog
from serving.engine.runtime import RuntimeConfig
from serving.engine.servable import Servable
from serving.inference.predictor import Predictor
from serving.inference.request import as_it_is


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
