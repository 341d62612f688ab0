"""Any model of the zoo is answered right with default flags, with independent rows or without."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

import grpc
import numpy as np
import onnxruntime
import pytest
from calling.rest_client import Http
from prometheus_client.parser import text_string_to_metric_families
from sample_saved_models import zoo
from sample_saved_models.zoo import ZOO, Arrays, Entry

from serving.client import PredictClient
from serving.monitoring import shared_result
from serving.protocols.kserve import tensor_bytes
from serving.protos.kserve_pb2 import ModelInferRequest, ModelInferResponse
from serving.tensors.signature import DataType

CALLERS = 48
MOST_ROWS = 9
LARGE_REQUEST_ROWS = 150  # over two full batches
FULL_BATCH_ROWS = 64
MOST_ROUNDS = 5
METRICS_PATH = "/monitoring/prometheus/metrics"
MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
CLIP = next(entry for entry in ZOO if entry.name == "clip")
CLIP_ROWS = {"images": 1, "texts": 5}

every_model = pytest.mark.parametrize("entry", ZOO, ids=[entry.name for entry in ZOO])


class Connections(NamedTuple):
    """Clients of the server under test, safe to share between threads."""

    predict: PredictClient
    channel: grpc.Channel
    http: Http


def predict_over_grpc(server: Connections, entry: Entry, inputs: Arrays, _: Arrays) -> Arrays:
    """Return the answer of TensorFlow Serving's Predict."""
    return server.predict.predict(entry.name, inputs)


def predict_over_rest(server: Connections, entry: Entry, inputs: Arrays, like: Arrays) -> Arrays:
    """Return the answer of `:predict`, in rows if rows are independent, else in columns."""
    path = f"/v1/models/{entry.name}:predict"
    if not entry.rows_independent:
        columns = {name: array.tolist() for name, array in inputs.items()}
        answer = _post(server.http, path, {"inputs": columns})["outputs"]
        return _typed(answer if len(like) > 1 else {next(iter(like)): answer}, like)
    instances = [
        dict(zip(inputs, row, strict=True))
        for row in zip(*(array.tolist() for array in inputs.values()), strict=True)
    ]
    rows = _post(server.http, path, {"instances": instances})["predictions"]
    if len(like) == 1:
        return _typed({next(iter(like)): rows}, like)
    return _typed({name: [row[name] for row in rows] for name in like}, like)


def infer_over_grpc(server: Connections, entry: Entry, inputs: Arrays, _: Arrays) -> Arrays:
    """Return the answer of KServe's ModelInfer."""
    request = ModelInferRequest(model_name=entry.name)
    for name, array in inputs.items():
        request.inputs.add(name=name, datatype=_datatype(array), shape=array.shape)
        request.raw_input_contents.append(tensor_bytes.encode_raw(array))
    call = server.channel.unary_unary(
        MODEL_INFER, ModelInferRequest.SerializeToString, ModelInferResponse.FromString
    )
    response = call(request, timeout=30)
    return {
        output.name: tensor_bytes.decode_raw(output.datatype, output.shape, content)
        for output, content in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def infer_over_rest(server: Connections, entry: Entry, inputs: Arrays, like: Arrays) -> Arrays:
    """Return the answer of KServe's `infer`."""
    tensors = [
        {
            "name": name,
            "datatype": _datatype(array),
            "shape": array.shape,
            "data": array.ravel().tolist(),
        }
        for name, array in inputs.items()
    ]
    answer = _post(server.http, f"/v2/models/{entry.name}/infer", {"inputs": tensors})
    return {
        tensor["name"]: np.array(tensor["data"], like[tensor["name"]].dtype).reshape(
            tensor["shape"]
        )
        for tensor in answer["outputs"]
    }


def _post(http: Http, path: str, document: object) -> dict:
    status, answer = http.post(path, document)
    assert status == 200, answer
    return answer


def _typed(values: dict, like: Arrays) -> Arrays:
    return {name: np.array(value, like[name].dtype) for name, value in values.items()}


def _datatype(array: np.ndarray) -> str:
    return tensor_bytes.datatype_of(DataType.from_numpy(array.dtype))


Ask = Callable[[Connections, Entry, Arrays, Arrays], Arrays]
PROTOCOLS: dict[str, Ask] = {
    "tfs_grpc": predict_over_grpc,
    "tfs_rest": predict_over_rest,
    "kserve_grpc": infer_over_grpc,
    "kserve_rest": infer_over_rest,
}
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)


@pytest.fixture(scope="module")
def zoo_dir(tmp_path_factory) -> Path:
    """A folder with every model of the zoo."""
    folder = tmp_path_factory.mktemp("zoo")
    for entry in ZOO:
        entry.build(folder)
    return folder


@pytest.fixture(scope="module")
def address(zoo_dir, running_server) -> Iterator[str]:
    """Address of a server with the whole zoo."""
    with running_server(zoo_dir) as target:
        yield target


@pytest.fixture(scope="module")
def server(address) -> Iterator[Connections]:
    with PredictClient(address) as client, grpc.insecure_channel(address) as channel:
        yield Connections(client, channel, Http(address))


@pytest.fixture(scope="module")
def alone(zoo_dir) -> Callable[[Entry, Arrays], Arrays]:
    """A function that runs a model in ONNX Runtime on the inputs of one request."""

    @cache
    def session(name: str) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(
            str(zoo_dir / name / "1" / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def run(entry: Entry, inputs: Arrays) -> Arrays:
        loaded = session(entry.name)
        names = [output.name for output in loaded.get_outputs()]
        return dict(zip(names, loaded.run(names, inputs), strict=True))

    return run


@pytest.fixture(scope="module")
def callers() -> Iterator[ThreadPoolExecutor]:
    """A pool of CALLERS threads."""
    with ThreadPoolExecutor(CALLERS) as pool:
        yield pool


def requests(entry: Entry, seed: int) -> list[Arrays]:
    """Return a request of random size for each caller; a quarter has 1,000 times larger values."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(CALLERS):
        inputs = entry.make_inputs(random, int(random.integers(1, MOST_ROWS + 1)))
        if number % 4 == 0:
            inputs = {name: _enlarged(array) for name, array in inputs.items()}
        made.append(inputs)
    return made


def _enlarged(array: np.ndarray) -> np.ndarray:
    return array * array.dtype.type(1000) if array.dtype.kind == "f" else array


def difference(entry: Entry, answer: Arrays, expected: Arrays) -> str:
    """Return what is wrong with an answer; "" if nothing is."""
    if answer.keys() != expected.keys():
        return f"outputs {sorted(answer)}, expected {sorted(expected)}"
    for name, right in expected.items():
        got = answer[name]
        if (got.shape, got.dtype) != (right.shape, right.dtype):
            return f"{name} is {got.dtype} {got.shape}, expected {right.dtype} {right.shape}"
        if not entry.repeatable:
            continue
        if right.dtype.kind != "f":
            if not np.array_equal(got, right):
                return f"{name} has {np.sum(got != right)} wrong of {right.size} values"
            continue
        # In double precision: the largest float16 would overflow.
        error = np.abs(got.astype(np.float64) - right).max()
        allowed = entry.tolerance * max(1e-3, np.abs(right.astype(np.float64)).max())
        if not error <= allowed:
            return f"{name} is wrong by {error:.3g}, expected at most {allowed:.3g}"
    return ""


def all_at_once(
    callers: ThreadPoolExecutor, ask: Callable[[Arrays, Arrays], Arrays], calls: list
) -> list[Arrays]:
    """Return the answers to (inputs, expected) pairs, sent at the same time by one caller each."""
    ready = threading.Barrier(CALLERS)

    def call(pair: tuple[Arrays, Arrays]) -> Arrays:
        ready.wait(timeout=30)
        return ask(*pair)

    return list(callers.map(call, calls, timeout=60))


def full_batch(entry: Entry, seed: int) -> list[Arrays]:
    """Return requests that fill one batch, of those whose inputs have the same number of rows."""
    rows, batch = 0, []
    for inputs in requests(entry, seed):
        sizes = {len(array) for array in inputs.values()}
        if len(sizes) > 1:
            continue
        rows += sizes.pop()
        if rows > FULL_BATCH_ROWS:
            break
        batch.append(inputs)
    return batch


@pytest.mark.parametrize("entry", [e for e in ZOO if e.repeatable], ids=lambda entry: entry.name)
def test_the_zoo_is_labelled_right(entry, alone):
    """Requests joined into full batches get other answers exactly if the rows are dependent."""
    wrong = []
    for seed in range(6):
        batch = full_batch(entry, seed)
        joined = alone(entry, {k: np.concatenate([part[k] for part in batch]) for k in batch[0]})
        start = 0
        for inputs in batch:
            end = start + len(next(iter(inputs.values())))
            answer = {name: array[start:end] for name, array in joined.items()}
            wrong.append(difference(entry, answer, alone(entry, inputs)))
            start = end

    assert any(wrong) != entry.rows_independent, wrong


@every_protocol
@every_model
def test_many_callers_at_once_get_their_own_answers(entry, protocol, server, alone, callers):
    """48 concurrent requests of mixed sizes and values are answered as if each had run alone."""
    seed = 100 + list(PROTOCOLS).index(protocol)
    calls = [(inputs, alone(entry, inputs)) for inputs in requests(entry, seed)]

    answers = all_at_once(
        callers, lambda inputs, like: PROTOCOLS[protocol](server, entry, inputs, like), calls
    )

    wrong = [
        found
        for answer, (_, expected) in zip(answers, calls, strict=True)
        if (found := difference(entry, answer, expected))
    ]
    assert wrong == []


@every_protocol
@every_model
def test_a_request_larger_than_a_batch_is_answered_as_a_whole(entry, protocol, server, alone):
    """A request of 150 rows gets the answer of one run on all rows."""
    inputs = entry.make_inputs(np.random.default_rng(7), LARGE_REQUEST_ROWS)
    expected = alone(entry, inputs)

    answer = PROTOCOLS[protocol](server, entry, inputs, expected)

    assert difference(entry, answer, expected) == ""


@every_protocol
def test_inputs_without_a_common_batch_may_differ_in_size(protocol, server, alone):
    """CLIP answers one image and five texts in one request."""
    inputs = zoo.clip_inputs(np.random.default_rng(5), **CLIP_ROWS)
    expected = alone(CLIP, inputs)

    answer = PROTOCOLS[protocol](server, CLIP, inputs, expected)

    assert answer["logits_per_image"].shape == (1, 5)
    assert difference(CLIP, answer, expected) == ""


def scrape(server: Connections, metric: str, **labels: str) -> list[float]:
    """Return the values of a metric's samples that have these labels among others."""
    _, _, page = server.http.ask("GET", METRICS_PATH)
    lines = [line for line in page.decode().splitlines() if line.startswith(metric)]
    return [
        sample.value
        for family in text_string_to_metric_families("\n".join(lines) + "\n")
        for sample in family.samples
        if sample.name == metric and labels.items() <= sample.labels.items()
    ]


@every_model
def test_requests_share_runs_only_if_rows_are_independent(
    entry, server, alone, callers, monkeypatch
):
    """48 concurrent requests need fewer runs if rows are independent, otherwise one run each."""
    monkeypatch.setattr(shared_result, "RESULT_SECONDS", 1e-6)  # a new page for each look

    def runs() -> float:
        metric = ":tensorflow:serving:batching_session:wrapped_run_count"
        (count,) = scrape(server, metric, model_name=entry.name)
        return count

    made = []
    # Chance decides how many requests share a run, so one round without a shared run proves
    # nothing.
    for _ in range(MOST_ROUNDS if entry.rows_independent else 1):
        before = runs()
        calls = [(inputs, {}) for inputs in requests(entry, 200)]
        all_at_once(
            callers, lambda inputs, like: predict_over_grpc(server, entry, inputs, like), calls
        )
        made.append(runs() - before)
        if made[-1] != CALLERS:
            break

    if entry.rows_independent:
        assert 0 < made[-1] < CALLERS
    else:
        assert made == [CALLERS]


@every_model
def test_the_metrics_tell_whether_a_signature_is_batched(entry, server):
    """A gauge is 1 for a signature whose requests may share runs, else 0."""
    labels = {"model_name": entry.name, "version": "1", "signature_name": "serving_default"}

    batched = scrape(server, "onnx_serving_signature_batched", **labels)

    assert batched == [float(entry.rows_independent)]
