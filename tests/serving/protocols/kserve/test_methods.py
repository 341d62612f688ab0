import asyncio
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import pytest
from running.kserve_stub import (
    ELEMENTS,
    EXTENSIONS,
    Stub,
    X,
    infer_request,
    raw_answers,
    typed_answers,
)
from sample_models import arithmetic_models, tiny_models

from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.catalog import Catalog
from serving.engine.managed_model import ManagerConfig
from serving.engine.manager import Manager
from serving.engine.runtime import RuntimeConfig
from serving.engine.servable import Servable
from serving.errors import DeadlineExceeded
from serving.inference.predictor import Predictor
from serving.protocols.kserve import tensor_bytes
from serving.protocols.kserve.methods import KServeMethods
from serving.protocols.kserve.operations import KServeOperations
from serving.protos import kserve_pb2
from serving.repository.model_config import ModelConfig
from serving.transport.method_table import Call


@pytest.fixture(scope="module")
def own_target(tmp_path_factory, running_server) -> Iterator[str]:
    """A server with an echo model for each datatype and a calculator of two versions."""
    folder = tmp_path_factory.mktemp("kserve_models")
    for datatype in tiny_models.ECHO_TYPES:
        tiny_models.echo(folder, datatype)
    for _ in range(2):
        arithmetic_models.calculator(folder)
    with running_server(folder) as address:
        yield address


@pytest.fixture
def own_stub(own_target) -> Iterator[Stub]:
    with grpc.insecure_channel(own_target) as channel:
        yield Stub(channel)


def test_live_and_ready(stub):
    """A started server is alive and ready."""
    assert stub.call("ServerLive").live
    assert stub.call("ServerReady").ready


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [("identity", "", True), ("identity", "1", True), ("identity", "2", False), ("no", "", False)],
)
def test_a_model_is_ready_if_it_can_answer(stub, name, version, ready):
    """A model that is not served is not ready; that is no error, as with Triton."""
    assert stub.call("ModelReady", name=name, version=version).ready is ready


def test_server_metadata(stub):
    """Server metadata has the name, the release and the extensions that work."""
    response = stub.call("ServerMetadata")

    assert response.name == "onnx-serving"
    assert response.version.split(".")[0].isdigit()
    assert set(response.extensions) == EXTENSIONS


def test_model_metadata(stub):
    """Model metadata has names, datatypes and shapes of serving_default; -1 is the batch."""
    response = stub.call("ModelMetadata", name="brightness")

    described = [
        (tensor.name, tensor.datatype, list(tensor.shape))
        for tensor in (*response.inputs, *response.outputs)
    ]
    assert (response.name, response.versions) == ("brightness", ["1"])
    assert response.platform == "onnxruntime_onnx"
    assert {name: value.string_param for name, value in response.parameters.items()} == {
        "execution_provider": "CPUExecutionProvider",
        "precision": "fp32",
        "batched": "true",
        "row_independence": "rows answer the same together, permuted, split and alone, in 45 "
        "made-up batches of 1, 2, 3, 7 and 64 rows",
    }
    assert described == [
        ("images", "UINT8", [-1, 32, 32, 3]),
        ("probabilities", "FP32", [-1, 2]),
        ("classes", "INT64", [-1]),
    ]


@pytest.mark.parametrize(
    ("datatype", "raw"),
    [
        (datatype, raw)
        for datatype in ELEMENTS
        for raw in (True, False)
        if raw or datatype != "FP16"  # FP16 has no typed form
    ],
)
def test_every_datatype_is_answered_as_it_was_asked(own_stub, datatype, raw):
    """Raw requests get raw answers, typed ones typed answers; values come back exactly."""
    dtype = tensor_bytes.to_data_type(datatype).numpy
    array = np.array([ELEMENTS[datatype], ELEMENTS[datatype][::-1]], dtype)

    response = own_stub.send("ModelInfer", infer_request(f"echo_{datatype}", array, raw=raw))

    answer = (raw_answers if raw else typed_answers)(response)["y"]
    assert response.outputs[0].datatype == datatype
    assert answer.dtype == dtype
    assert answer.tolist() == array.tolist()


def test_strings_that_are_no_text_are_refused(own_stub):
    """A string that is not UTF-8 is INVALID_ARGUMENT, because ONNX strings are UTF-8."""
    array = np.array([[b"\xff", b""]], dtype=object)

    code, message = own_stub.refusal("ModelInfer", infer_request("echo_BYTES", array))

    assert code == "INVALID_ARGUMENT"
    assert message.startswith('input "x" has a string that is not UTF-8, as ONNX strings are')
    assert "send text in UTF-8" in message


def test_real_images_in_both_forms_get_predicts_answer(stub, client, sample_images):
    """Raw and typed requests with real images get the bits of PredictClient."""
    expected = client.predict("brightness", {"images": sample_images})
    answers = []
    for raw, read in ((True, raw_answers), (False, typed_answers)):
        request = infer_request("brightness", sample_images, names=["images"], raw=raw)

        answers.append(read(stub.send("ModelInfer", request)))

    for answer in answers:
        assert answer.keys() == expected.keys()
        for name, array in expected.items():
            assert answer[name].dtype == array.dtype
            np.testing.assert_array_equal(answer[name], array)


def test_the_response_says_who_answered(own_stub):
    """The response has the request's id, and the version that answered."""
    request = infer_request("calculator", np.array([5]), id="request 7")

    response = own_stub.send("ModelInfer", request)

    assert response.id == "request 7"
    assert (response.model_name, response.model_version) == ("calculator", "2")


def test_the_parameter_signature_name_picks_a_signature(own_stub):
    """The parameter signature_name chooses the signature; the default is serving_default."""
    request = infer_request("calculator", np.array([5]))
    doubled = raw_answers(own_stub.send("ModelInfer", request))
    request.parameters["signature_name"].string_param = "square"

    squared = raw_answers(own_stub.send("ModelInfer", request))

    assert (doubled["y"].tolist(), squared["y"].tolist()) == ([10], [25])


def test_outputs_asked_for_come_in_that_order(stub):
    """The request's outputs filter and order the answer's outputs."""
    request = infer_request("add", np.array([5]), np.array([3]), names="ab")
    for name in ("difference", "sum"):
        request.outputs.add(name=name)
    both = raw_answers(stub.send("ModelInfer", request))
    del request.outputs[1]

    one = raw_answers(stub.send("ModelInfer", request))

    assert list(both) == ["difference", "sum"]
    assert list(one) == ["difference"]
    assert (both["difference"].tolist(), both["sum"].tolist()) == ([2], [8])


def test_an_fp16_answer_is_raw_whatever_the_request(tmp_path, running_server):
    """An answer with an FP16 output is raw, also to a typed request: FP16 has no typed form."""
    tiny_models.cast(tmp_path)
    request = infer_request("cast", np.array([1.5, -2.0], np.float32), raw=False)
    with running_server(tmp_path) as address, grpc.insecure_channel(address) as channel:
        response = Stub(channel).send("ModelInfer", request)

    answer = raw_answers(response)
    assert answer["half"].dtype == np.float16
    assert answer["half"].tolist() == answer["same"].tolist() == [1.5, -2.0]


@asynccontextmanager
async def handlers_on(folder: Path, model: str, *, ready: bool = True):
    """Yield the handlers of a server with one model, without a transport, and their manager."""
    models = {model: ModelConfig(name=model, base_path=folder / model)}
    load = partial(Servable.load, config=RuntimeConfig(), batching=BatchingConfig())
    manager = Manager(lambda: models, load, ManagerConfig(poll_seconds=0), Catalog())
    await manager.start()
    service = KServeOperations(Predictor(manager.catalog), manager.catalog, is_ready=lambda: ready)
    try:
        yield KServeMethods(service), manager
    finally:
        await manager.close()


async def ask_before_ready(folder: Path) -> list[bool]:
    async with handlers_on(folder, "identity", ready=False) as (handlers, _):
        live = await handlers.server_live(kserve_pb2.ServerLiveRequest(), Call())
        server = await handlers.server_ready(kserve_pb2.ServerReadyRequest(), Call())
        model = await handlers.model_ready(kserve_pb2.ModelReadyRequest(name="identity"), Call())
        return [live.live, server.ready, model.ready]


def test_nothing_is_ready_before_the_server_is(tmp_path):
    """While other models load or the server stops, it is live; neither it nor a model is ready."""
    tiny_models.identity(tmp_path)

    assert asyncio.run(ask_before_ready(tmp_path)) == [True, False, False]


async def list_versions_after_an_update(folder: Path) -> list[str]:
    async with handlers_on(folder, "calculator") as (handlers, manager):
        arithmetic_models.calculator(folder)
        await manager.update()
        assert [status.version for status in manager.catalog.statuses("calculator")] == [2, 1]
        request = kserve_pb2.ModelMetadataRequest(name="calculator")
        return list((await handlers.model_metadata(request, Call())).versions)


def test_metadata_lists_the_versions_that_can_be_asked_for(tmp_path):
    """Metadata lists versions that can answer, not an unloaded one."""
    arithmetic_models.calculator(tmp_path)

    assert asyncio.run(list_versions_after_an_update(tmp_path)) == ["2"]


async def infer_too_late(folder: Path) -> None:
    async with handlers_on(folder, "identity") as (handlers, _):
        late = Call(deadline=time.monotonic() - 1)
        await handlers.model_infer(infer_request("identity", X), late)


def test_a_deadline_reaches_the_queue(tmp_path):
    """A request whose deadline has passed is dropped before the model runs, as with Predict."""
    tiny_models.identity(tmp_path)

    with pytest.raises(DeadlineExceeded):
        asyncio.run(infer_too_late(tmp_path))
