import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import pytest
from onnx import TensorProto, helper
from sample_models import tiny_models

from loadtest.settings.config import ConnectionConfig
from loadtest.transports import kserve_grpc, kserve_rest, tfs_grpc, tfs_rest
from loadtest.transports.api import Api, CallError, ModelInput
from loadtest.transports.catalogue import DISCOVERIES, make_sender
from loadtest.transports.sender import TimedResponse
from serving.protos.kserve_pb2 import ModelInferResponse

TRANSPORTS = sorted(DISCOVERIES)
APIS = {
    "tfs-grpc": tfs_grpc.TfsGrpc,
    "tfs-rest": tfs_rest.TfsRest,
    "kserve-grpc": kserve_grpc.KserveGrpc,
    "kserve-rest": kserve_rest.KserveRest,
    "kserve-rest-binary": kserve_rest.KserveRestBinary,
}


def discover(transport: str, target: str, model: str, version: int | None = None) -> Api:
    question = DISCOVERIES[transport](target, model, version, timeout_seconds=30)
    return asyncio.run(question)


def send(transport: str, target: str, api: Api, body: bytes, *, server_timing: bool = False):
    async def main():
        sender = make_sender(
            transport,
            target,
            api,
            connections=2,
            timeout_seconds=30,
            server_timing=server_timing,
        )
        try:
            return await sender.lane(0)(body)
        except sender.failures as error:
            return sender.explain(error)
        finally:
            await sender.close()

    return asyncio.run(main())


@pytest.fixture(scope="module")
def scores_target(tmp_path_factory, running_server):
    """A server of a float32 model whose scores, called `y`, are its last two pixels."""
    folder = tmp_path_factory.mktemp("scores")
    tiny_models.save(
        folder / "scorer" / "1" / "model.onnx",
        [helper.make_node("ReduceMean", ["pixels"], ["y"], axes=[1, 2], keepdims=0)],
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 32, 32, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
    )
    with running_server(folder) as address:
        yield address


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_real_server_is_asked_and_its_answer_read(transport, image_target, split):
    """Over every API, `echo` answers the number drawn into each image."""
    api = discover(transport, image_target, "echo")
    response = send(transport, image_target, api, api.payload({"images": split.images[[5, 9]]}))

    answer = api.parse(response, 2)

    assert api.inputs == (ModelInput("images", "uint8", (-1, 32, 32, 3)),)
    assert answer.classes.tolist() == split.images[[5, 9], 0, 0, 0].tolist()
    # REST answers name no version; the metadata does.
    assert (answer.version or api.served_version) == 1
    assert answer.version == (None if transport == "tfs-rest" else 1)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_images_travel_in_the_type_that_the_model_names(transport, scores_target):
    """A float32 model without `classes` gets unscaled float pixels, and its scores are read."""
    images = np.zeros((2, 32, 32, 3), np.uint8)
    images[0, :, :, 2] = 255
    images[1, :, :, 1] = 1
    api = discover(transport, scores_target, "scorer")

    answer = api.parse(send(transport, scores_target, api, api.payload({"pixels": images})), 2)

    assert api.inputs == (ModelInput("pixels", "float32", (-1, 32, 32, 3)),)
    assert answer.classes.tolist() == [2, 1]
    assert answer.output in {"y", "predictions"}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_version_is_asked_for(transport, image_target, split):
    """A request for version 1 is answered, a request for version 9 is refused by the server."""
    api = discover(transport, image_target, "echo", 1)

    response = send(transport, image_target, api, api.payload({"images": split.images[:2]}))
    assert api.parse(response, 2).version == 1
    with pytest.raises(CallError) as refused:
        discover(transport, image_target, "echo", 9)

    assert refused.value.kind in {"NOT_FOUND", "HTTP_404"}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_server_is_asked_where_the_time_went(transport, image_target, split):
    """With server timing the answer carries the server's timing text."""
    api = discover(transport, image_target, "echo")

    response = send(
        transport, image_target, api, api.payload({"images": split.images[:2]}), server_timing=True
    )

    assert isinstance(response, TimedResponse)
    assert "queue;dur=" in response.timing
    assert api.parse(response.body, 2).classes.shape == (2,)


@pytest.mark.parametrize(
    ("transport", "kind"),
    [
        ("tfs-grpc", "NOT_FOUND"),
        ("kserve-grpc", "NOT_FOUND"),
        ("tfs-rest", "HTTP_404"),
        ("kserve-rest", "HTTP_404"),
        ("kserve-rest-binary", "HTTP_404"),
    ],
)
def test_a_refused_request_has_a_kind_and_the_servers_words(transport, kind, image_target, split):
    """An unknown model gives gRPC's or HTTP's status as kind and a message with its name."""
    api = discover(transport, image_target, "echo")
    elsewhere = type(api)(model="nobody", version=None, inputs=api.inputs)

    found, message = send(
        transport, image_target, elsewhere, elsewhere.payload({"images": split.images[:2]})
    )

    assert found == kind
    assert "nobody" in message


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_nobody_listening_is_unavailable(transport, split):
    """Without a server, both the discovery and a request fail with UNAVAILABLE."""
    api = APIS[transport]("echo", None)

    kind, _ = send(transport, "127.0.0.1:1", api, api.payload({"images": split.images[:2]}))
    with pytest.raises(CallError) as refused:
        discover(transport, "127.0.0.1:1", "echo")

    assert kind == refused.value.kind == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("api", "response"),
    [
        pytest.param(tfs_grpc.TfsGrpc("m", None), b"\xff\xff", id="no-protobuf"),
        pytest.param(kserve_grpc.KserveGrpc("m", None), b"\xff\xff", id="no-kserve-protobuf"),
        pytest.param(
            kserve_grpc.KserveGrpc("m", None),
            ModelInferResponse(raw_output_contents=[b"1"]).SerializeToString(),
            id="contents-without-an-output",
        ),
        pytest.param(tfs_grpc.TfsGrpc("m", None), b"", id="no-outputs"),
        pytest.param(tfs_rest.TfsRest("m", None), b"<html>", id="no-json"),
        pytest.param(tfs_rest.TfsRest("m", None), b'{"error": "x"}', id="no-predictions"),
        pytest.param(tfs_rest.TfsRest("m", None), b'{"predictions": [[1], [1, 2]]}', id="ragged"),
        pytest.param(kserve_rest.KserveRest("m", None), b"<html>", id="no-kserve-json"),
        pytest.param(kserve_rest.KserveRest("m", None), b'{"outputs": [1]}', id="no-tensor"),
    ],
)
def test_answers_in_another_form_cannot_be_scored(api, response):
    """Malformed answers raise ValueError with a message and no other exception."""
    with pytest.raises(ValueError, match=r"received|read"):
        api.parse(response, 1)


@pytest.fixture
def grpc_listener():
    """Address of a gRPC server that refuses every call, and the metadata that it received."""
    received: list[tuple[str, dict[str, str]]] = []

    class Listen(grpc.GenericRpcHandler):
        def service(self, call: grpc.HandlerCallDetails) -> None:
            received.append((call.method, dict(call.invocation_metadata)))

    with ThreadPoolExecutor() as pool:
        server = grpc.server(pool, handlers=[Listen()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}", received
        server.stop(None).wait()


@pytest.fixture
def http_listener():
    """Address of an HTTP server that refuses every request, and the headers that it received."""
    received: list[tuple[str, dict[str, str]]] = []

    class Listen(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            received.append((self.path, {name.lower(): v for name, v in self.headers.items()}))
            self.send_error(404)

        do_POST = do_GET  # noqa: N815 - the name that the library calls

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Listen) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_port}", received
        server.shutdown()


@pytest.mark.parametrize("server_timing", [False, True])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_headers_go_with_every_request(transport, server_timing, grpc_listener, http_listener):
    """The request for metadata and the timed requests carry the headers of the connection."""
    target, received = http_listener if "rest" in transport else grpc_listener
    sent = ConnectionConfig(headers=(("authorization", "Bearer key"), ("x-team", "blue")))

    async def ask_and_send() -> None:
        with contextlib.suppress(CallError):
            await DISCOVERIES[transport](target, "m", None, timeout_seconds=30, connection=sent)
        api = APIS[transport]("m", None)
        sender = make_sender(
            transport,
            target,
            api,
            connections=1,
            timeout_seconds=30,
            connection=sent,
            server_timing=server_timing,
        )
        with contextlib.suppress(*sender.failures):
            await sender.lane(0)(b"body")
        await sender.close()

    asyncio.run(ask_and_send())

    assert len(received) == 2
    for _, headers in received:
        assert headers["authorization"] == "Bearer key"
        assert headers["x-team"] == "blue"
    assert ("x-server-timing" in received[1][1]) == server_timing
