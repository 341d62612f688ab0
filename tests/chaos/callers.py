"""Callers of a chaos run: each call has its own input, and each answer is checked."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
from abuse import polite
from chaos.ledger import Ledger

from serving.client import PredictClient, PredictError

# Longer than the supervisor's longest delay before it starts a worker again, and the start.
CALL_SECONDS = 120.0
_PAUSE_SECONDS = 0.01
# With this option channels do not share a connection.
_OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
_BROKEN = (ConnectionError, http.client.BadStatusLine, http.client.IncompleteRead)


class Pictures:
    """Pictures with the probabilities that ONNX Runtime itself computes for each of them."""

    def __init__(self, images: np.ndarray, graph: Path) -> None:
        """Run the graph on each of the images, uint8 (n, 32, 32, 3)."""
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        self._images = images
        self._probabilities = np.concatenate(
            [session.run(["probabilities"], {"images": image[None]})[0] for image in images]
        )

    def ask(self, client: PredictClient, number: int) -> tuple[bool, str]:
        """Classify one to four pictures; return whether the answer is right, and the answer."""
        chosen = np.arange(number, number + 1 + number % 4) % len(self._images)
        answer = client.predict("simcnn", {"images": self._images[chosen]}, timeout=CALL_SECONDS)
        expected = self._probabilities[chosen]
        right = (
            answer["classes"].tolist() == expected.argmax(axis=1).tolist()
            and answer["probabilities"].shape == expected.shape
            and np.allclose(answer["probabilities"], expected, atol=1e-5)
        )
        return right, f"pictures {chosen.tolist()}: {answer}"


def ask_identity(client: PredictClient, number: int) -> tuple[bool, str]:
    """Send a row that no other call sends."""
    answer = client.predict("identity", polite.inputs(number), timeout=CALL_SECONDS)
    return polite.is_right(number, answer), f"row {number}: {answer}"


def ask_rest(target: str, number: int) -> tuple[bool, str]:
    """Send such a row to the REST API, on a new connection."""
    rows = polite.inputs(number)["x"].tolist()
    connection = http.client.HTTPConnection(target, timeout=CALL_SECONDS)
    try:
        body = json.dumps({"instances": rows})
        connection.request("POST", "/v1/models/identity:predict", body)
        response = connection.getresponse()
        text = response.read()
        if response.status != http.client.OK:
            msg = f"status {response.status}: {text[:300]!r}"
            raise ValueError(msg)
        answer = {"y": np.array(json.loads(text)["predictions"], np.float32)}
        return polite.is_right(number, answer), f"row {number}: {text!r}"
    finally:
        connection.close()


class Callers:
    """Threads that call one server until they are told to stop."""

    def __init__(self, target: str, pictures: Pictures, ledger: Ledger) -> None:
        self._target = target
        self._pictures = pictures
        self._ledger = ledger
        self._stopping = threading.Event()

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Call while the block runs, and until each caller has its last answer."""
        kinds: list[tuple[str, Callable[[int], None]]] = [
            ("connected", partial(self._stay, "connected", ask_identity)),
            ("connected", partial(self._stay, "connected", ask_identity)),
            ("pictures", partial(self._stay, "pictures", self._pictures.ask)),
            ("new", self._come_anew),
            ("rest", self._use_rest),
        ]
        threads = [
            threading.Thread(target=work, args=(1_000_000 * index,), name=kind, daemon=True)
            for index, (kind, work) in enumerate(kinds)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join(CALL_SECONDS + 10)
            stuck = [thread.name for thread in threads if thread.is_alive()]
            assert not stuck, f"callers that wait for ever: {stuck}"

    def _once(self, kind: str, number: int, ask: Callable[[int], tuple[bool, str]]) -> None:
        began = time.monotonic()
        try:
            right, what = ask(number)
        except PredictError as error:
            broken = error.code is grpc.StatusCode.UNAVAILABLE and _is_of_transport(error)
            self._ledger.fail(kind, began, broken=broken, reason=str(error))
        except Exception as error:  # noqa: BLE001 - every problem is noted
            broken = isinstance(error, _BROKEN)
            self._ledger.fail(kind, began, broken=broken, reason=repr(error))
        else:
            self._ledger.answer(kind, right=right, what=what)
        time.sleep(_PAUSE_SECONDS)

    def _stay(
        self, kind: str, ask: Callable[[PredictClient, int], tuple[bool, str]], number: int
    ) -> None:
        with PredictClient(self._target, options=_OWN_CONNECTION) as client:
            while not self._stopping.is_set():
                number += 1
                self._once(kind, number, partial(ask, client))

    def _come_anew(self, number: int) -> None:
        while not self._stopping.wait(0.1):
            number += 1
            with PredictClient(self._target, options=_OWN_CONNECTION) as client:
                self._once("new", number, partial(ask_identity, client))

    def _use_rest(self, number: int) -> None:
        while not self._stopping.wait(0.05):
            number += 1
            self._once("rest", number, partial(ask_rest, self._target))


def _is_of_transport(error: PredictError) -> bool:
    """Return whether gRPC itself reports the error, not the server: its connection broke."""
    text = str(error)
    return not any(said in text for said in ("Servable", "servable", "queue", "about to stop"))
