"""Tests of predict_batches: order, requests in flight, and errors that name their rows."""

import asyncio
import contextlib
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from running.refusing_server import refusing

from serving.client import AsyncPredictClient, BatchError, PredictClient
from serving.protocols.tfs import tensor_proto
from serving.protos.tensorflow_serving_pb2 import PredictRequest

KINDS = [PredictClient, AsyncPredictClient]


def answers(kind, target: str, model: str, inputs, *, got=None, **settings) -> list:
    """Return the answers of predict_batches; `got` has those before an error."""
    got = [] if got is None else got

    async def run() -> None:
        async with kind(target) as client:
            iterator = client.predict_batches(model, inputs, **settings)
            async with contextlib.aclosing(iterator):
                async for answer in iterator:
                    got.append(answer)

    if kind is AsyncPredictClient:
        asyncio.run(run())
        return got
    with kind(target) as client:
        got.extend(client.predict_batches(model, inputs, **settings))
    return got


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("in_flight", [1, 3, 100])
def test_answers_come_in_the_order_of_the_rows(target, kind, in_flight):
    """70 rows in batches of 16 are five answers; joined, they are the rows again."""
    a = np.arange(70)
    got = answers(kind, target, "add", {"a": a, "b": 2 * a}, batch=16, in_flight=in_flight)

    assert [len(answer["sum"]) for answer in got] == [16, 16, 16, 16, 6]
    assert np.concatenate([answer["sum"] for answer in got]).tolist() == (3 * a).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_an_iterable_is_cut_item_by_item(target, kind):
    """Each mapping is a request, or several if it has more rows; mappings share none."""
    items = ({"a": np.arange(n), "b": np.arange(n)} for n in (1, 5, 0, 2))
    got = answers(kind, target, "add", items, batch=3)

    assert [answer["sum"].tolist() for answer in got] == [[0], [0, 2, 4], [6, 8], [0, 2]]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_names_the_rows_of_its_batch(target, kind):
    """An index outside the table in row 5 fails rows 4 to 7; the answers before it are yielded."""
    index = np.array([0, 1, 2, 0, 1, 99, 0, 1, 2])
    got: list = []
    with pytest.raises(BatchError) as caught:
        answers(kind, target, "lookup", {"index": index}, batch=4, got=got)
    error = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - its own data

    assert [answer["y"].tolist() for answer in got] == [[1, 2, 3, 1]]
    assert caught.value.rows == range(4, 8)
    assert str(caught.value).startswith(f"{caught.value.code.name}: rows 4 to 7: ")
    assert (str(error), error.rows, error.code) == (
        str(caught.value),
        caught.value.rows,
        caught.value.code,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_counted_over_all_items(kind):
    """The second item's only row is row 3; its error says so."""
    with refusing() as server:

        def items():
            yield {"x": np.ones((3, 1))}
            server.refusals += [grpc.StatusCode.UNAVAILABLE]
            yield {"x": np.ones((1, 1))}

        with pytest.raises(BatchError, match="UNAVAILABLE: row 3: not now"):
            answers(kind, server.address, "m", items(), in_flight=1)


class Counting:
    """A server that notes how many calls it has at a time; it answers late, or some calls never."""

    def __init__(self) -> None:
        self.most = self.received = self.cancelled = 0
        self.answers = 1000  # calls for rows from this value on wait until `release`
        self.release = threading.Event()
        self._open = 0
        self._lock = threading.Lock()

    def service(self, _call):
        """Answer every call."""
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        value = tensor_proto.decode(PredictRequest.FromString(body).inputs["x"])[0]
        with self._lock:
            self._open += 1
            self.received += 1
            self.most = max(self.most, self._open)
        waits = value >= self.answers
        ended = threading.Event()
        if not context.add_callback(lambda: self._count_cancelled(ended)):
            self._count_cancelled(ended)  # the call was cancelled before it came here
        self.release.wait(10 if waits else 0.05)
        ended.set()
        with self._lock:
            self._open -= 1
        return b""

    def _count_cancelled(self, ended: threading.Event) -> None:
        with self._lock:
            self.cancelled += not ended.is_set()


@pytest.fixture
def counting():
    handler = Counting()
    with ThreadPoolExecutor(32) as pool:
        server = grpc.server(pool, handlers=[handler])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}", handler
        handler.release.set()
        server.stop(None).wait()


@pytest.mark.parametrize("kind", KINDS)
def test_requests_in_flight_are_limited(counting, kind):
    """Of 40 requests at most four are with the server at a time, and at times all four."""
    address, handler = counting
    got = answers(kind, address, "m", {"x": np.arange(40)}, batch=1, in_flight=4)

    assert len(got) == 40
    assert handler.received == 40
    assert handler.most == 4


@pytest.mark.parametrize("kind", KINDS)
def test_an_iteration_that_ends_early_cancels_the_requests_in_flight(counting, kind):
    """After the second answer no request is sent, and the server sees the others cancelled."""
    address, handler = counting
    handler.answers = 2
    rows = {"x": np.arange(40)}
    cancelled: list[bool] = []

    def wait_for_requests_in_flight() -> None:
        until = time.monotonic() + 5
        while handler.received < 3 and time.monotonic() < until:
            time.sleep(0.01)

    def wait() -> None:
        until = time.monotonic() + 5
        while not (all_of_them := 1 <= handler.cancelled == handler.received - 2):
            if time.monotonic() > until:
                break
            time.sleep(0.01)
        cancelled.append(all_of_them)

    async def run() -> None:
        async with kind(address) as client:
            iterator = client.predict_batches("m", rows, batch=1, in_flight=4)
            for _ in range(2):
                await anext(iterator)
            await asyncio.to_thread(wait_for_requests_in_flight)
            await iterator.aclose()
            await asyncio.to_thread(wait)

    if kind is AsyncPredictClient:
        asyncio.run(run())
    else:
        with kind(address) as client:
            iterator = client.predict_batches("m", rows, batch=1, in_flight=4)
            for _ in range(2):
                next(iterator)
            wait_for_requests_in_flight()
            iterator.close()
            wait()

    assert cancelled == [True]
    assert handler.received <= 6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("inputs", "settings", "error", "message"),
    [
        ({"x": np.ones(3)}, {"batch": 0}, ValueError, "batch is 0, expected 1 or more"),
        ({"x": np.ones(3)}, {"in_flight": 0}, ValueError, "in_flight is 0, expected 1 or more"),
        (np.ones(3), {}, TypeError, "inputs are an array, expected a mapping"),
        ([np.ones(3)], {}, TypeError, "item 0 of the inputs is of type ndarray"),
        ({"x": np.ones(3), "y": np.ones(2)}, {}, ValueError, r"row 0 on are x \(3,\), y \(2,\)"),
        ({"x": np.float32(1)}, {}, ValueError, r"x \(\); expected arrays whose first dimension"),
        ({}, {}, ValueError, "row 0 on are no array"),
    ],
)
def test_inputs_without_rows_are_refused(kind, inputs, settings, error, message):
    """The message says what was received, without a server."""
    with pytest.raises(error, match=message):
        answers(kind, "127.0.0.1:1", "m", inputs, **settings)


def test_contradictions_are_reported_before_the_first_answer(client):
    """predict_batches itself raises, and not its iterator."""
    with pytest.raises(ValueError, match="both given"):
        client.predict_batches("m", {}, version=1, version_label="a")
