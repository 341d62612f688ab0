"""Fixtures: a run against the stub, what its stopwatch saw, and a plain client on the stub."""

import base64
import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import certificates
import numpy as np
import pytest
from calling import plain_client
from running import stub_server
from running.stub_server import Timed

from loadtest.transports.tfs_grpc import TfsGrpc

WARMUP = 10
# The load test sends one request before the warm-up.
UNCOUNTED = 1 + WARMUP
SECONDS = 60
_PERCENTS = (50, 90, 95, 99)
_NS_PER_MS = 1e6


@dataclass(frozen=True)
class Compared:
    """The latencies that a client measured, and those by the stub's stopwatch; both in ms.

    In an open loop they count from the time at which a request was due.
    """

    measured: np.ndarray
    expected: np.ndarray

    def excess(self, percent: float) -> float:
        """How much longer the client's percentile is, in milliseconds."""
        return _percentile(self.measured, percent) - _percentile(self.expected, percent)


@dataclass(frozen=True)
class Calibration:
    """A finished run, the requests by the stub's stopwatch, and a plain client's after it."""

    result: object
    timed: list[Timed]

    @property
    def codes(self) -> Counter[str]:
        """Number of requests by their code, as the stub gave them."""
        return Counter(timed.code for timed in self.timed)

    def reported_codes(self) -> Counter[str]:
        """Number of requests by their code, as the load test has them in its samples."""
        raw = self.result.raw
        return Counter(raw["codes"][raw["code"]].tolist())


@contextlib.contextmanager
def before_others() -> Iterator[None]:
    """Let the processes that are started here run before all others, if the system allows it.

    Otherwise the other programs of a busy machine delay stub and clients by milliseconds.
    """
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameter)


@pytest.fixture(scope="session")
def authority(tmp_path_factory) -> certificates.Authority:
    """A certificate authority."""
    return certificates.Authority(tmp_path_factory.mktemp("calibration") / "authority")


@pytest.fixture(scope="session")
def labelled_models_dir(split, tmp_path_factory) -> Path:
    """A metrics.json whose recorded predictions are the labels of the images."""
    metrics = {
        "data": {"variant": "image-folder", "sha256": split.sha256()},
        "variants": {
            "fp32": {
                "n": len(split),
                "top1": 1.0,
                "predictions": "".join(map(str, split.labels.tolist())),
            }
        },
    }
    folder = tmp_path_factory.mktemp("labelled")
    (folder / "stub" / "1").mkdir(parents=True)
    (folder / "stub" / "1" / "metrics.json").write_text(json.dumps(metrics))
    return folder


@pytest.fixture
def stub(split, tmp_path) -> Callable[..., contextlib.AbstractContextManager[tuple[str, Path]]]:
    """Return a function that starts a stub with given flags, and yields address and stopwatch.

    The stub's right answer to an image is its label.
    """
    of_first_red = dict(zip(split.images[:, 0, 0, 0].tolist(), split.labels.tolist(), strict=True))
    classes = ",".join(str(of_first_red[red]) for red in range(len(split)))

    @contextlib.contextmanager
    def start(*flags: object) -> Iterator[tuple[str, Path]]:
        stopwatch = tmp_path / "stopwatch"
        stopwatch.unlink(missing_ok=True)
        flags = (*flags, "--classes", classes, "--stopwatch", stopwatch, "--uncounted", UNCOUNTED)
        process = subprocess.Popen(
            [sys.executable, stub_server.__file__, *map(str, flags)],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield process.stdout.readline().strip(), stopwatch
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    return start


@pytest.fixture
def calibrate(run, stub, labelled_models_dir) -> Callable[..., Calibration]:
    """Return a function that measures a stub with the load test's command line."""

    def measure(stub_flags: tuple[object, ...], *run_flags: object) -> Calibration:
        with before_others(), stub(*stub_flags) as (target, stopwatch):
            result = run(
                *("--target", target, "--model", "stub", "--models-dir", labelled_models_dir),
                *("--connections", 1, "--warmup-requests", WARMUP, *run_flags),
            )
        return Calibration(result, stub_server.read(stopwatch))

    return measure


@pytest.fixture
def plain(stub, split, tmp_path) -> Callable[..., Compared]:
    """Return a function that measures a stub with a plain gRPC client."""
    api = TfsGrpc("stub", None)
    bodies = [api.payload({"images": split.images[[image]]}) for image in range(len(split))]
    text = "\n".join(base64.b64encode(body).decode() for body in bodies)
    red = split.images[:, 0, 0, 0].astype(np.int64)

    def measure(
        stub_flags: tuple[object, ...],
        requests: int,
        *client_flags: object,
        due_ns: np.ndarray | None = None,
    ) -> Compared:
        if due_ns is not None:
            file = tmp_path / "due.json"
            file.write_text(json.dumps(due_ns.tolist()))
            client_flags = (*client_flags, "--due", file)
        flags = (requests, *client_flags, "--uncounted", UNCOUNTED)
        with before_others(), stub(*stub_flags) as (target, stopwatch):
            output = subprocess.run(
                [sys.executable, plain_client.__file__, target, *map(str, flags)],
                input=text,
                capture_output=True,
                text=True,
                check=True,
                timeout=SECONDS,
            ).stdout
        latency_ns = np.array(json.loads(output))
        images = red[np.arange(requests) % len(red)]
        return compared(latency_ns, images, stub_server.read(stopwatch), due_ns)

    return measure


@pytest.fixture(scope="session")
def from_samples(split) -> Callable[[Calibration], Compared]:
    """Return a function that compares the answered requests of a run with the stub's stopwatch."""
    red = split.images[:, 0, 0, 0].astype(np.int64)

    def compare(calibration: Calibration) -> Compared:
        raw = calibration.result.raw
        answered = raw["latency_ns"] >= 0
        order = np.argsort(raw["sent_ns"][answered], kind="stable")
        due_ns = raw["due_ns"][answered][order] if str(raw["loop"]) == "open" else None
        return compared(
            raw["latency_ns"][answered][order],
            red[raw["image_ids"][answered, 0]][order],
            [timed for timed in calibration.timed if timed.code == "OK"],
            due_ns,
        )

    return compare


def compared(
    latency_ns: np.ndarray,
    first_red: np.ndarray,
    timed: list[Timed],
    due_ns: np.ndarray | None,
) -> Compared:
    """Compare latencies with the stub's stopwatch, request by request.

    The k-th request of a client with an image is the k-th that arrived with it. The clocks are the
    same, and due times count from an unknown moment: the one at which the fastest request would
    have needed no time to arrive.

    Args:
        latency_ns: Latencies of the client, in the order in which it sent the requests.
        first_red: First red value of the image of each.
        timed: The same requests by the stub.
        due_ns: Due times; None for a closed loop.
    """
    by_image = np.argsort(first_red, kind="stable")
    theirs = sorted(timed, key=lambda one: (one.image, one.number))
    assert first_red[by_image].tolist() == [one.image for one in theirs]
    arrived, ended = (np.array([getattr(one, name) for one in theirs]) for name in _ENDS)
    if due_ns is None:
        expected = ended - arrived
    else:
        due = due_ns[by_image]
        expected = ended - due - np.min(arrived - due)
    return Compared(latency_ns[by_image] / _NS_PER_MS, expected / _NS_PER_MS)


_ENDS = ("arrived_ns", "ended_ns")


@pytest.fixture(scope="session")
def disagreements() -> Callable[[Compared, Compared], list[str]]:
    """Return a function that lists the percentiles of a run that are wrong.

    A percentile may be above the stub's by 2 %, or by 0.3 ms more than the plain client's is. It is
    never below, because a client waits at least as long as the stub works.
    """

    def find(run: Compared, plain: Compared) -> list[str]:
        wrong = []
        for percent in _PERCENTS:
            excess, allowed = run.excess(percent), plain.excess(percent) + 0.3
            expected = _percentile(run.expected, percent)
            if not -0.001 <= excess <= max(0.02 * expected, allowed):
                wrong.append(
                    f"p{percent}: {excess:.3f} ms above the stub's {expected:.3f} ms, a plain "
                    f"client's {plain.excess(percent):.3f} ms"
                )
        return wrong

    return find


def _percentile(values: np.ndarray, percent: float) -> float:
    return float(np.percentile(values, percent, method="inverted_cdf"))
