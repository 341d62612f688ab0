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
from refusing_server import refusing

from serving.client import AsyncPredictClient, BatchError, PredictClient

KINDS = [PredictClient, AsyncPredictClient]


def answers(
    kind, target: str, model: str, inputs, *, most: int | None = None, got=None, **settings
) -> list:
    """Return the answers of predict_batches, at most `most`; `got` has those before an error."""
    got = [] if got is None else got

    async def run() -> None:
        async with kind(target) as client:
            iterator = client.predict_batches(model, inputs, **settings)
            async with contextlib.aclosing(iterator):
                async for answer in iterator:
                    got.append(answer)
                    if len(got) == most:
                        break

    if kind is AsyncPredictClient:
        asyncio.run(run())
        return got
    with kind(target) as client:
        for answer in client.predict_batches(model, inputs, **settings):
            got.append(answer)
            if len(got) == most:
                break
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
    """A server that answers late, and notes how many calls it has at a time."""

    def __init__(self) -> None:
        self.most = self.received = self.cancelled = 0
        self._open = 0
        self._lock = threading.Lock()
        self.release = threading.Event()

    def service(self, _call):
        """Answer every call."""
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, _body: bytes, context: grpc.ServicerContext) -> bytes:
        with self._lock:
            self._open += 1
            self.received += 1
            self.most = max(self.most, self._open)
        self.release.wait(0.05)
        with self._lock:
            self._open -= 1
            self.cancelled += not context.is_active()
        return b""


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
    got = answers(kind, address, "m", {"x": np.ones((40, 1))}, batch=1, in_flight=4)

    assert len(got) == 40
    assert handler.received == 40
    assert handler.most == 4


@pytest.mark.parametrize("kind", KINDS)
def test_an_iteration_that_ends_early_sends_no_more(counting, kind):
    """After the first answer the iteration ends: the requests in flight are the last."""
    address, handler = counting
    answers(kind, address, "m", {"x": np.ones((40, 1))}, batch=1, in_flight=4, most=1)
    time.sleep(0.3)

    assert 1 <= handler.received <= 5


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
