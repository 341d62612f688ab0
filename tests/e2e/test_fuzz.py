"""Random and mutated bytes against a real server: gRPC messages, gRPC framing, HTTP bodies.

Run with `make fuzz`; FUZZ_CASES sets how many cases each test tries.
"""

import json
import os
import re
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from running import servers

from serving.client import PredictClient, predict_request

pytestmark = pytest.mark.slow
CASES = int(os.environ.get("FUZZ_CASES", "4000"))
TIMEOUT_SECONDS = 20.0
ONES = np.ones((2, 3), np.float32)
METHODS = (
    "/tensorflow.serving.PredictionService/Predict",
    "/tensorflow.serving.PredictionService/Classify",
    "/tensorflow.serving.PredictionService/Regress",
    "/tensorflow.serving.PredictionService/MultiInference",
    "/tensorflow.serving.PredictionService/GetModelMetadata",
    "/tensorflow.serving.ModelService/GetModelStatus",
    "/inference.GRPCInferenceService/ModelInfer",
    "/grpc.health.v1.Health/Check",
)
REST_PATHS = (
    "/v1/models/identity:predict",
    "/v1/models/identity/versions/1:predict",
    "/v1/models/add:predict",
    "/v2/models/identity/infer",
)
REST_BODIES = (
    b'{"instances": [[1.0, 2.0, 3.0]]}',
    b'{"inputs": {"x": [[1, 2, 3]]}}',
    b'{"signature_name": "serving_default", "instances": [{"a": 1, "b": 2}]}',
    b'{"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}',
)


@pytest.fixture(scope="module")
def server(models_dir) -> Iterator[tuple[servers.ServerProcess, str]]:
    """A server in its own process, so that a crash is noticed, and its address."""
    with servers.as_process("--models_dir", str(models_dir), "--port", "0") as process:
        address = process.wait_for(r"listening on (\S+),").group(1)
        process.wait_for("ready: ")
        yield process, address
        assert process.process.poll() is None, "".join(process.log)


def mutate(random: np.random.Generator, seed: bytes) -> bytes:
    """Flip, cut, repeat, insert or replace bytes of a valid message, or start from nothing."""
    content = bytearray(seed)
    for _ in range(random.integers(1, 6)):
        at = int(random.integers(0, len(content) + 1))
        match int(random.integers(0, 6)):
            case 0 if content:
                content[min(at, len(content) - 1)] ^= 1 << int(random.integers(0, 8))
            case 1:
                del content[at:]
            case 2:
                content[at:at] = content[: int(random.integers(0, 40))]
            case 3:
                content[at:at] = random.bytes(int(random.integers(1, 20)))
            case 4:
                content[at : at + 8] = random.bytes(8)
            case _:
                del content[at : at + int(random.integers(1, 9))]
    return bytes(content)


def check_still_fine(address: str) -> None:
    with PredictClient(address, timeout=TIMEOUT_SECONDS) as client:
        assert client.predict("identity", {"x": ONES})["y"].tolist() == ONES.tolist()


def logged_errors(process: servers.ServerProcess) -> int:
    return sum(1 for line in process.log if re.search("unexpected error|the model failed", line))


def test_mutated_grpc_messages_are_answered(server):
    """Every mutated message gets a status in time, INTERNAL only with a line in the log."""
    process, address = server
    random = np.random.default_rng(0)
    seeds = [
        predict_request("identity", {"x": ONES}).SerializeToString(),
        predict_request("add", {"a": np.arange(4), "b": np.arange(4)}).SerializeToString(),
        predict_request("lookup", {"index": np.array([2])}, version=1).SerializeToString(),
        b"",
    ]
    codes: Counter[grpc.StatusCode] = Counter()
    with grpc.insecure_channel(address) as channel:
        for case in range(CASES):
            call = channel.unary_unary(METHODS[case % len(METHODS)])
            try:
                call(mutate(random, seeds[case % len(seeds)]), timeout=TIMEOUT_SECONDS)
            except grpc.RpcError as error:
                codes[error.code()] += 1

    check_still_fine(address)
    assert codes[grpc.StatusCode.INVALID_ARGUMENT] > CASES / 4  # enough messages were malformed
    assert not {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE} & set(codes)
    assert codes[grpc.StatusCode.INTERNAL] <= logged_errors(process)


def post(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    """Return the HTTP status and body that answer a POST."""
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - loopback HTTP
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_mutated_json_is_answered(server):
    """Every mutated body gets a JSON answer; 500 only with a line in the log."""
    process, address = server
    random = np.random.default_rng(1)
    statuses: Counter[int] = Counter()
    for case in range(CASES):
        body = mutate(random, REST_BODIES[case % len(REST_BODIES)])
        path = REST_PATHS[int(random.integers(0, len(REST_PATHS)))]
        headers = {"content-type": "application/json"}
        if case % 7 == 0:
            headers["inference-header-content-length"] = str(int(random.integers(-5, 200)))
        status, answer = post(f"http://{address}{path}", body, headers)
        assert status == 200 or "error" in json.loads(answer)
        statuses[status] += 1

    check_still_fine(address)
    assert statuses[400] > CASES / 4  # enough bodies were malformed
    assert statuses[500] <= logged_errors(process)


def test_mutated_grpc_framing_is_answered(server):
    """Malformed prefixes, flags and lengths over HTTP/1.1 are answered; later calls work."""
    process, address = server
    random = np.random.default_rng(2)
    message = predict_request("identity", {"x": ONES}).SerializeToString()
    seed = b"\0" + len(message).to_bytes(4, "big") + message
    before = logged_errors(process)
    refused = 0
    for case in range(CASES // 2):
        request = urllib.request.Request(
            f"http://{address}{METHODS[case % len(METHODS)]}",
            mutate(random, seed),
            {"content-type": "application/grpc", "te": "trailers"},
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
            # An error has its status in the headers, a success in the trailers.
            refused += response.headers.get("grpc-status", "0") != "0"
            response.read()

    check_still_fine(address)
    assert refused > CASES / 8  # enough frames were malformed
    assert logged_errors(process) == before
