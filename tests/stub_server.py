"""A Predict server with known faults: a constant delay, one pause, mixed-up answers.

Start it with `python tests/stub_server.py --delay-ms 5 --pause-after 300`. It has only Predict and
no metadata. The class of an image is its first red value modulo 10, and `probabilities` contains
that value, so images with different first red values get different answers.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import grpc
import grpc.aio
import numpy as np

from serving.client import PREDICT_PATH
from serving.protocols.tfs import tensor_proto
from serving.protos.tensorflow_serving_pb2 import PredictRequest, PredictResponse

PAUSE_SECONDS = 1.0
_TIMER_SECONDS = 0.0012


def first_red(request: bytes) -> np.ndarray:
    """Return the first red value of each image, int64 (n,)."""
    images = tensor_proto.decode(PredictRequest.FromString(request).inputs["images"])
    return images[:, 0, 0, 0].astype(np.int64)


def answer(request: bytes) -> bytes:
    """Return the right answer to a serialized request, serialized."""
    numbers = first_red(request)
    response = PredictResponse()
    response.model_spec.name = "stub"
    response.model_spec.version.value = 1
    tensor_proto.encode(numbers % 10, response.outputs["classes"])
    scores = np.repeat(numbers[:, None], 10, axis=1).astype(np.float32)
    tensor_proto.encode(scores, response.outputs["probabilities"])
    return response.SerializeToString()


async def sleep_until(due: float) -> None:
    """Return at a time of perf_counter, within some microseconds.

    The event loop's timers are up to a millisecond late, so the last millisecond is a busy wait.
    """
    while (left := due - time.perf_counter()) > 0:  # noqa: ASYNC110 - the loop waits for a time
        await asyncio.sleep(max(0.0, left - _TIMER_SECONDS))


class Stub:
    """Answers with the delays and faults of the command line."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._received = 0
        self._paused_until = 0.0
        self._to_mix = 0
        self._under_way: list[bytes] = []

    async def predict(self, request: bytes, _context: object) -> bytes:
        """Answer a request, possibly late or with the answer to another pending request."""
        received = time.perf_counter()
        self._received += 1
        number = self._received
        self._under_way.append(request)
        if number == self._options.pause_after:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
        mine, response = first_red(request)[0] % 10, answer(request)
        pause_left = max(0.0, self._paused_until - time.monotonic())
        await sleep_until(received + pause_left + self._options.delay_ms / 1000)
        self._under_way.remove(request)
        if self._options.mix_every and number % self._options.mix_every == 0:
            self._to_mix += 1
        if not self._to_mix:
            return response
        # Another image of the same class would not be a wrong answer.
        others = [other for other in self._under_way if first_red(other)[0] % 10 != mine]
        if not others:
            return response
        self._to_mix -= 1
        return answer(others[0])


async def main() -> None:
    """Serve until the process is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--mix-every", type=int, default=0)
    parser.add_argument("--pause-after", type=int, default=0)
    stub = Stub(parser.parse_args())
    service, method = PREDICT_PATH.strip("/").split("/")
    handler = grpc.unary_unary_rpc_method_handler(stub.predict)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, {method: handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)  # noqa: T201 - a program
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
