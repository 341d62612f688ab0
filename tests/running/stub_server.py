"""A Predict server with known delays and faults, and a stopwatch of its own.

Start it with `python tests/running/stub_server.py --delay-ms 5 --pause-after 300`. It has only
Predict and no metadata. The class of an image is its first red value modulo 10, or the number at
the place of that value in --classes. `probabilities` contains the value, so images with different
first red values get different answers.

Requests are counted as they arrive, from 1, after the first --uncounted ones, which are answered at
once. With --stopwatch, each counted request is a line of that file at its end: see `Timed`.
"""

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

import grpc
import grpc.aio
import numpy as np

from serving.client import PREDICT_PATH
from serving.protocols.tfs import tensor_proto
from serving.protos.tensorflow_serving_pb2 import PredictRequest, PredictResponse

PAUSE_SECONDS = 1.0
# From the first request that is not answered to the end of the process: earlier ones are answered.
CRASH_SECONDS = 0.3
_TIMER_SECONDS = 0.0012
_MOST_DELAYS = 100_000


class Timed(NamedTuple):
    """A request by the stub's own stopwatch; times are those of `time.monotonic_ns`.

    Attributes:
        number: Its number by arrival, from 1.
        image: First red value of its first image.
        arrived_ns: When it arrived.
        planned_ns: The delay that was planned for it, without waiting for other requests.
        ended_ns: When its answer was handed over, or it was given up.
        code: OK, INTERNAL (a planned error), CANCELLED (by the client, as at its deadline) or
            UNANSWERED (when the process ended).
        right: 1 if the answer is the right one, else 0.
    """

    number: int
    image: int
    arrived_ns: int
    planned_ns: int
    ended_ns: int
    code: str
    right: int


def read(file: Path) -> list[Timed]:
    """Return the requests of a stopwatch's file, in order of arrival."""
    rows = [line.split() for line in file.read_text().splitlines()]
    return sorted(Timed(*map(int, row[:5]), row[5], int(row[6])) for row in rows)


def first_red(request: bytes) -> np.ndarray:
    """Return the first red value of each image, int64 (n,)."""
    images = tensor_proto.decode(PredictRequest.FromString(request).inputs["images"])
    return images[:, 0, 0, 0].astype(np.int64)


def answer(numbers: np.ndarray, classes: np.ndarray) -> bytes:
    """Return the answer to images with these first red values and classes, serialized."""
    response = PredictResponse()
    response.model_spec.name = "stub"
    response.model_spec.version.value = 1
    tensor_proto.encode(classes, response.outputs["classes"])
    scores = np.repeat(numbers[:, None], 10, axis=1).astype(np.float32)
    tensor_proto.encode(scores, response.outputs["probabilities"])
    return response.SerializeToString()


async def sleep_until(due: float) -> None:
    """Return at a time of perf_counter, within some microseconds.

    The event loop's timers are up to a millisecond late, so the last millisecond is a busy wait.
    """
    while (left := due - time.perf_counter()) > 0:  # noqa: ASYNC110 - the loop waits for a time
        await asyncio.sleep(max(0.0, left - _TIMER_SECONDS))


def delays_ms(median_ms: float, sigma: float) -> np.ndarray:
    """Return the delays of requests in order of arrival: constant, or lognormal with a sigma."""
    normal = np.random.default_rng(0).standard_normal(_MOST_DELAYS)
    return median_ms * np.exp(sigma * normal)


class Stub:
    """Answers with the delays and faults of the command line."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._received = -options.uncounted
        self._paused_until = 0.0
        self._free_at = 0.0
        self._to_mix = 0
        self._under_way: list[bytes] = []
        self._delays = delays_ms(options.delay_ms, options.sigma)
        self._unanswered: list[Timed] = []
        # Lines are written at once, because the process may end at any time.
        self._stopwatch = options.stopwatch and options.stopwatch.open("a", buffering=1)

    async def predict(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """Answer a request, possibly late, wrongly, or with the answer to another one."""
        received, arrived_ns = time.perf_counter(), time.monotonic_ns()
        self._received += 1
        number, red = self._received, first_red(request)
        if number <= 0:
            return answer(red, self._classes(red))
        planned = self._delays[number - 1] / 1000
        timed = Timed(number, int(red[0]), arrived_ns, int(planned * 1e9), 0, "OK", 1)
        self._under_way.append(request)
        try:
            await self._wait(timed, received, planned)
            if _is_every(number, self._options.fail_every):
                timed = timed._replace(code="INTERNAL", right=0)
                await context.abort(grpc.StatusCode.INTERNAL, "a planned error")
            response, right = self._answer(number, red)
            timed = timed._replace(right=int(right))
        except asyncio.CancelledError:
            timed = timed._replace(code="CANCELLED", right=0)
            raise
        else:
            return response
        finally:
            self._under_way.remove(request)
            self._write(timed)

    async def _wait(self, timed: Timed, received: float, planned: float) -> None:
        """Wait for the planned time, and for a pause; for ever if the process hangs or crashes."""
        options, number = self._options, timed.number
        if options.crash_after and number >= options.crash_after:
            self._unanswered.append(timed._replace(code="UNANSWERED", right=0))
            if number == options.crash_after:
                asyncio.get_running_loop().call_later(CRASH_SECONDS, self._crash)
            await asyncio.Event().wait()
        if options.hang_after and number >= options.hang_after:
            await asyncio.Event().wait()
        if number == options.pause_after:
            self._paused_until = time.perf_counter() + PAUSE_SECONDS
        starts = max(received, self._paused_until)
        if options.serial:
            starts = max(starts, self._free_at)
            self._free_at = starts + planned
        await sleep_until(starts + planned)

    def _answer(self, number: int, red: np.ndarray) -> tuple[bytes, bool]:
        """Return the answer, and whether it is the right one."""
        classes = self._classes(red)
        if _is_every(number, self._options.wrong_every):
            return answer(red, (classes + 1) % 10), False
        self._to_mix += _is_every(number, self._options.mix_every)
        if self._to_mix:
            for other in map(first_red, self._under_way):
                # Another image of the same class would not be a wrong answer.
                if self._classes(other)[0] != classes[0]:
                    self._to_mix -= 1
                    return answer(other, self._classes(other)), False
        return answer(red, classes), True

    def _classes(self, red: np.ndarray) -> np.ndarray:
        """Return the right classes of images with these first red values, int64 (n,)."""
        known = self._options.classes
        return red % 10 if known is None else np.array(known, np.int64)[red]

    def _write(self, timed: Timed) -> None:
        if self._stopwatch:
            ended = timed._replace(ended_ns=time.monotonic_ns())
            self._stopwatch.write(" ".join(map(str, ended)) + "\n")

    def _crash(self) -> None:
        for timed in self._unanswered:
            self._write(timed)
        os._exit(1)


def _is_every(number: int, every: int) -> bool:
    """Return whether a number is a multiple of `every`; 0 has no multiples."""
    return every > 0 and number % every == 0


def _integers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


async def main() -> None:
    """Serve until the process is killed."""
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("--delay-ms", type=float, default=0.0, help="delay of each answer, or its median")
    add("--sigma", type=float, default=0.0, help="sigma of lognormal delays; 0 for constant ones")
    add("--serial", action="store_true", help="work on one request at a time")
    add("--pause-after", type=int, default=0, help="pause once, from this request on")
    add("--mix-every", type=int, default=0, help="answer every nth with another one's answer")
    add("--wrong-every", type=int, default=0, help="answer every nth with a wrong class")
    add("--fail-every", type=int, default=0, help="answer every nth with INTERNAL")
    add("--crash-after", type=int, default=0, help="answer none from this one on, and end")
    add("--hang-after", type=int, default=0, help="answer none from this one on")
    add("--classes", type=_integers, help="class of each first red value, separated by commas")
    add("--uncounted", type=int, default=0, help="number of first requests to leave out")
    add("--stopwatch", type=Path, help="file to write the requests to")
    add("--certificate", type=Path, help="serve with TLS: certificate, PEM")
    add("--key", type=Path, help="its key, PEM")
    options = parser.parse_args()
    service, method = PREDICT_PATH.strip("/").split("/")
    handler = grpc.unary_unary_rpc_method_handler(Stub(options).predict)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, {method: handler})]
    )
    if options.certificate:
        pair = (options.key.read_bytes(), options.certificate.read_bytes())
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)  # noqa: T201 - a program
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
