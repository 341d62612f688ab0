"""The bundled model answers the same bits, whichever requests share a batch."""

import asyncio
import json
import urllib.request
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from serving.client import AsyncPredictClient

MODEL = Path(__file__).parents[3] / "models" / "simcnn"
FILES = {"fp32": "model.onnx", "int8": "model.int8.onnx"}
REQUESTS = 1000
REST_EVERY = 5  # JSON costs more than the model, so a fifth of the requests uses it
CALLERS = 24


@pytest.mark.parametrize("precision", FILES)
def test_a_thousand_mixed_requests_equal_single_runs_bit_for_bit(
    running_server, tmp_path, precision
):
    """Requests of random sizes over gRPC and REST get the bits of unbatched runs."""
    random = np.random.default_rng(0)
    requests = [
        random.integers(0, 256, (int(random.integers(1, 9)), 32, 32, 3), np.uint8)
        for _ in range(REQUESTS)
    ]
    answers: list[np.ndarray | None] = [None] * REQUESTS

    def ask_rest(target: str, images: np.ndarray) -> np.ndarray:
        request = urllib.request.Request(
            f"http://{target}/v1/models/simcnn:predict",
            json.dumps({"instances": images.tolist()}).encode(),
        )
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            rows = json.load(response)["predictions"]
        return np.array([row["probabilities"] for row in rows], np.float32)

    async def scenario(target: str) -> None:
        numbers = iter(range(REQUESTS))

        async def call(client: AsyncPredictClient) -> None:
            for number in numbers:
                images = requests[number]
                if number % REST_EVERY == 0:
                    answers[number] = await asyncio.to_thread(ask_rest, target, images)
                else:
                    answer = await client.predict("simcnn", {"images": images})
                    answers[number] = answer["probabilities"]

        async with AsyncPredictClient(target) as client:
            await asyncio.gather(*(call(client) for _ in range(CALLERS)))

    (tmp_path / "simcnn").symlink_to(MODEL)
    with running_server(tmp_path, precision=precision) as target:
        asyncio.run(scenario(target))

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(MODEL / "1" / FILES[precision]), options, providers=["CPUExecutionProvider"]
    )
    for images, answer in zip(requests, answers, strict=True):
        (alone,) = session.run(["probabilities"], {"images": images})
        np.testing.assert_array_equal(answer, alone)
